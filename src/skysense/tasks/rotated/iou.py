"""Overlap of rotated boxes, exact and differentiable.

In the frame of one box, which is then [-p, p] x [-q, q], the area it shares with another is a line integral round the
other alone (Green's theorem): of minus clamp(y, -q, q) dx over the parts of its four edges with x in [-p, p]. Every
edge is a straight line, so its part is a closed form. No vertices are sorted, no edge of the first box is followed, and
edges that lie on one another are no special case, because the integrand is continuous.

Letters: 5 is (cx, cy, w, h, θ), N and M boxes, P pairs, K = 5 corners of a box, the first again at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skysense.errors import InputError
from skysense.tasks.rotated.boxes import enclosing_horizontal
from skysense.tasks.rotated.pairs import Sweep

_CHUNK = {"cpu": 1 << 14, "cuda": 1 << 20}
"""Pairs at a time: on a CPU what they take stays in its cache, elsewhere a kernel is filled."""
_FEW = 1 << 12  # pairs that cost less than finding out which of them can meet
_DENSE = 0.3  # share of the pairs above which picking them out costs more than it saves
_SIGNS = ((-1.0, 1.0, 1.0, -1.0, -1.0), (-1.0, -1.0, 1.0, 1.0, -1.0))  # of both half axes, corner by corner
_NOISE = 8.0  # roundings of a unit that the area of the first box enters with


class _Frames(NamedTuple):
    """Boxes as what the integral needs: centre, half sides, direction of the side w."""

    x: Tensor
    y: Tensor
    p: Tensor
    q: Tensor
    cos: Tensor
    sin: Tensor


def rotated_iou(a_N5: Tensor, b_M5: Tensor) -> Tensor:
    """Intersection over union of every pair of two sets.

    Pairs whose enclosing horizontal boxes do not meet cost next to nothing, except in an exported graph, which looks at
    all of them. Matching wants no gradients: under `torch.no_grad` the memory is that of the result.

    Args:
        a_N5: boxes, finite, at any angle; a side that is not positive makes a box of no area.
        b_M5: others.

    Returns:
        ``(N, M)`` in [0, 1], in at least float32; 0 where a box has no area. Its gradient is finite everywhere.

    Raises:
        InputError: not ``(N, 5)`` and ``(M, 5)``.
    """
    a_N5, b_M5 = _joined(a_N5, b_M5)
    if torch.compiler.is_exporting():
        return _of_all(a_N5, b_M5)
    count = len(a_N5) * len(b_M5)
    if count > _FEW:
        sweep = Sweep(reach(a_N5), reach(b_M5))
        if sweep.count < _DENSE * count:
            return _of_those(a_N5, b_M5, sweep)
    rows = max(1, _chunk(a_N5) // max(1, len(b_M5)))
    return torch.cat([_of_all(part, b_M5) for part in a_N5.split(rows)])


def paired_rotated_iou(a_N5: Tensor, b_N5: Tensor) -> Tensor:
    """Intersection over union of the boxes of two lists one by one, ``(N,)``; otherwise as `rotated_iou`.

    Raises:
        InputError: not ``(N, 5)`` twice.
    """
    a_N5, b_N5 = _joined(a_N5, b_N5)
    if a_N5.shape != b_N5.shape:
        raise InputError(f"{len(a_N5)} boxes cannot be paired with {len(b_N5)}")
    one, two = _frames(a_N5), _frames(b_N5)
    if torch.compiler.is_exporting():
        return _iou(one, two)
    size = _chunk(a_N5)
    parts = zip(*(column.split(size) for column in one), *(column.split(size) for column in two), strict=True)
    return torch.cat([_iou(_Frames(*part[:6]), _Frames(*part[6:])) for part in parts])


def overlap_of_pairs(a_N5: Tensor, b_M5: Tensor, i_P: Tensor, j_P: Tensor) -> Tensor:
    """Intersection over union of picked pairs, ``(P,)``.

    Args:
        a_N5: boxes.
        b_M5: others, of the same dtype.
        i_P: places in the first.
        j_P: places in the second.
    """
    one, two = torch.stack(_frames(a_N5)), torch.stack(_frames(b_M5))  # reckoned once per box, not once per pair
    size = _chunk(a_N5)
    return torch.cat(
        [_iou(_Frames(*one[:, i]), _Frames(*two[:, j])) for i, j in zip(i_P.split(size), j_P.split(size), strict=True)]
    )


def checked(boxes_N5: Tensor) -> Tensor:
    """Boxes in at least float32.

    Raises:
        InputError: not ``(N, 5)``.
    """
    if boxes_N5.ndim != 2 or boxes_N5.shape[1] != 5:
        raise InputError(f"rotated boxes are an array of (N, 5), not of {tuple(boxes_N5.shape)}")
    return boxes_N5.to(torch.promote_types(boxes_N5.dtype, torch.float32))


def _joined(a_N5: Tensor, b_M5: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype."""
    a_N5, b_M5 = checked(a_N5), checked(b_M5)
    dtype = torch.promote_types(a_N5.dtype, b_M5.dtype)
    return a_N5.to(dtype), b_M5.to(dtype)


def _chunk(boxes: Tensor) -> int:
    return _CHUNK.get(boxes.device.type, _CHUNK["cuda"])


def reach(boxes_N5: Tensor) -> Tensor:
    """Enclosing horizontal boxes ``(N, 4)`` without gradient, wider by what rounding may have taken."""
    box = enclosing_horizontal(boxes_N5.detach())
    slack = 4 * torch.finfo(box.dtype).eps * box.abs().amax(dim=1, keepdim=True)
    return torch.cat([box[:, :2] - slack, box[:, 2:] + slack], dim=1)


def _of_all(a_N5: Tensor, b_M5: Tensor) -> Tensor:
    one, two = _frames(a_N5), _frames(b_M5)
    return _iou(_Frames(*(column[:, None] for column in one)), _Frames(*(column[None] for column in two)))


def _of_those(a_N5: Tensor, b_M5: Tensor, sweep: Sweep) -> Tensor:
    """The overlaps of the pairs that can meet, and zero for all others."""
    shape = (len(a_N5), len(b_M5))
    out = a_N5.new_zeros(shape[0] * shape[1])
    for i_P, j_P in sweep:
        out.index_put_((i_P * shape[1] + j_P,), overlap_of_pairs(a_N5, b_M5, i_P, j_P))
    return out.view(shape)


def _frames(boxes_N5: Tensor) -> _Frames:
    x, y, w, h, angle = boxes_N5.unbind(-1)
    return _Frames(x, y, w.clamp(min=0) / 2, h.clamp(min=0) / 2, angle.cos(), angle.sin())


def _iou(a: _Frames, b: _Frames) -> Tensor:
    """Of boxes that are broadcast against one another."""
    area_a, area_b = 4 * a.p * a.q, 4 * b.p * b.q
    shared = _shared(a, b)
    # what rounding alone can leave of boxes that are apart is none
    shared = torch.where(shared > _NOISE * torch.finfo(shared.dtype).eps * area_a, shared, 0)
    shared = torch.minimum(shared, torch.minimum(area_a, area_b))
    union = area_a + area_b - shared
    return shared / torch.where(union > 0, union, 1)


def _shared(a: _Frames, b: _Frames) -> Tensor:
    """The area two boxes share, up to rounding, which can make it negative."""
    x, y = b.x - a.x, b.y - a.y  # first of all: far from the origin the digits are in the difference
    x, y = a.cos * x + a.sin * y, a.cos * y - a.sin * x
    cos, sin = a.cos * b.cos + a.sin * b.sin, a.cos * b.sin - a.sin * b.cos
    shape = (-1, *([1] * x.ndim))
    along, across = (x.new_tensor(signs).view(shape) for signs in _SIGNS)
    x_K = x + along * (b.p * cos) - across * (b.q * sin)
    y_K = y + along * (b.p * sin) + across * (b.q * cos)
    # the part of each edge with x in [-p, p]
    inside_K = torch.clamp(x_K, -a.p, a.p)
    slope = _ratio(y_K[1:] - y_K[:-1], x_K[1:] - x_K[:-1])
    off_K = inside_K - x_K
    start, stop = y_K[:-1] + off_K[:-1] * slope, y_K[1:] + off_K[1:] * slope
    # the mean of clamp(y) along it: by the share of it with y in [-q, q] between that of y and that of the clamped ends
    low, high = torch.clamp(start, -a.q, a.q), torch.clamp(stop, -a.q, a.q)
    share = _ratio(high - low, stop - start)
    ends = low + high
    mean = ends + (start + stop - ends) * share
    return ((inside_K[:-1] - inside_K[1:]) * mean).sum(dim=0) / 2


def _ratio(one: Tensor, two: Tensor) -> Tensor:
    """A quotient, and where the second is as good as zero the first: there it is multiplied by zero."""
    return one / torch.where(two.abs() > torch.finfo(two.dtype).tiny ** 0.5, two, 1)
