"""How a network says a rotated box: as numbers relative to one it starts from.

Two codes: five numbers relative to a rotated proposal (second stage of a detector), and six relative to a horizontal
anchor, the midpoint offsets of Oriented R-CNN (first stage).

Letters: 5 is (cx, cy, w, h, θ), 4 is (x1, y1, x2, y2), 6 are the midpoint offsets. Leading axes are free and are
broadcast against one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skysense.tasks.rotated.boxes import canonical

_QUARTER = math.pi / 2
_STRETCH = math.log(1000 / 16)
"""Greatest logarithm of a ratio of sides that is believed: an untrained network could ask for infinite boxes."""
_AXIS = 1e-5
"""Radians: a box that lies with its sides this near the axes counts as lying on them."""

# so scaled, the numbers of usual proposals and anchors spread about as much as one another
DELTA_STDS = (0.1, 0.1, 0.2, 0.2, 0.1)
MIDPOINT_STDS = (1.0, 1.0, 1.0, 1.0, 0.5, 0.5)


def encode_rotated(
    proposals_5: Tensor, boxes_5: Tensor, means: Sequence[float] = (0.0,) * 5, stds: Sequence[float] = DELTA_STDS
) -> Tensor:
    """Boxes relative to rotated proposals: (dx, dy, dw, dh, dθ).

    The offset is measured along the sides of the proposal and in units of them, the sides as logarithms of ratios. A
    box has two descriptions, a quarter turn apart; the one with the angle nearer that of the proposal is coded, so dθ
    is in [-π/4, π/4] before it is normalised, and a small turn is always a small number.

    Args:
        proposals_5: ``(..., 5)``, sides positive.
        boxes_5: ``(..., 5)``, sides positive, any angle.
        means: subtracted from the numbers,
        stds: by which they are divided then.

    Returns:
        ``(..., 5)``.
    """
    px, py, pw, ph, p_angle = proposals_5.unbind(-1)
    x, y, w, h, angle = boxes_5.unbind(-1)
    w, h, turn = _turned(w, h, angle - p_angle, ((angle - p_angle) / _QUARTER).round())
    cos, sin = p_angle.cos(), p_angle.sin()
    along, down = cos * (x - px) + sin * (y - py), cos * (y - py) - sin * (x - px)
    deltas = torch.stack([along / pw, down / ph, (w / pw).log(), (h / ph).log(), turn], dim=-1)
    return (deltas - deltas.new_tensor(means)) / deltas.new_tensor(stds)


def decode_rotated(
    proposals_5: Tensor, deltas_5: Tensor, means: Sequence[float] = (0.0,) * 5, stds: Sequence[float] = DELTA_STDS
) -> Tensor:
    """The boxes that `encode_rotated` made numbers of, ``(..., 5)`` in le90.

    Args:
        proposals_5: ``(..., 5)``.
        deltas_5: ``(..., 5)``; sides more than 62.5 times those of the proposal, or less than a 62.5th, are cut to it.
        means: as in encoding.
        stds: as in encoding.
    """
    deltas_5 = deltas_5 * deltas_5.new_tensor(stds) + deltas_5.new_tensor(means)
    px, py, pw, ph, p_angle = proposals_5.unbind(-1)
    dx, dy, dw, dh, turn = deltas_5.unbind(-1)
    cos, sin = p_angle.cos(), p_angle.sin()
    along, down = dx * pw, dy * ph
    w, h = (side * stretch.clamp(-_STRETCH, _STRETCH).exp() for side, stretch in ((pw, dw), (ph, dh)))
    x, y = px + cos * along - sin * down, py + sin * along + cos * down
    return canonical(torch.stack([x, y, w, h, p_angle + turn], dim=-1))


def encode_midpoint(
    anchors_4: Tensor, boxes_5: Tensor, means: Sequence[float] = (0.0,) * 6, stds: Sequence[float] = MIDPOINT_STDS
) -> Tensor:
    """Rotated boxes relative to horizontal anchors: (δx, δy, δw, δh, δα, δβ) (arXiv 2108.05699, section 3.1).

    The first four are the enclosing horizontal box relative to the anchor. δα is where the uppermost corner is on the
    upper side of it, from the middle of that side, and δβ where the rightmost corner is on the right side; in units of
    the width and the height of it, so both are in [-0.5, 0.5].

    A box along the axes has two uppermost corners; of these the right one is meant, and the lower of the rightmost, so
    that such boxes, the commonest there are, always have the same numbers.

    Args:
        anchors_4: ``(..., 4)``, not empty.
        boxes_5: ``(..., 5)``, sides positive.
        means: subtracted from the numbers,
        stds: by which they are divided then.

    Returns:
        ``(..., 6)``.
    """
    x, y, w, h, angle = boxes_5.unbind(-1)
    # with the direction of a side in (0, π/2] the uppermost corner is always the same one of the four
    w, h, turn = _turned(w, h, angle, ((angle - _AXIS) / _QUARTER).ceil() - 1)
    cos, sin = turn.cos(), turn.sin()
    wide, high = w * cos.abs() + h * sin, w * sin + h * cos.abs()
    top, right = (h * sin - w * cos) / 2, (w * sin - h * cos) / 2
    ax, ay, aw, ah = _centred(anchors_4)
    deltas = torch.stack(
        [(x - ax) / aw, (y - ay) / ah, (wide / aw).log(), (high / ah).log(), top / wide, right / high], dim=-1
    )
    return (deltas - deltas.new_tensor(means)) / deltas.new_tensor(stds)


def decode_midpoint(
    anchors_4: Tensor, deltas_6: Tensor, means: Sequence[float] = (0.0,) * 6, stds: Sequence[float] = MIDPOINT_STDS
) -> Tensor:
    """Rotated boxes from midpoint offsets (arXiv 2108.05699, section 3.1), ``(..., 5)`` in le90.

    Six numbers say a parallelogram; its shorter diagonal is lengthened to the longer, which makes a rectangle of it.

    Args:
        anchors_4: ``(..., 4)``.
        deltas_6: ``(..., 6)``; offsets beyond the ends of a side are cut to them, and sides more than 62.5 times those
            of the anchor, or less than a 62.5th, to that.
        means: as in encoding.
        stds: as in encoding.
    """
    deltas_6 = deltas_6 * deltas_6.new_tensor(stds) + deltas_6.new_tensor(means)
    ax, ay, aw, ah = _centred(anchors_4)
    dx, dy, dw, dh, d_top, d_right = deltas_6.unbind(-1)
    w, h = aw * dw.clamp(-_STRETCH, _STRETCH).exp(), ah * dh.clamp(-_STRETCH, _STRETCH).exp()
    # from the centre to the uppermost corner and to the rightmost
    up = torch.stack([d_top.clamp(-0.5, 0.5) * w, -h / 2], dim=-1)
    out = torch.stack([w / 2, d_right.clamp(-0.5, 0.5) * h], dim=-1)
    up_length, out_length = up.norm(dim=-1, keepdim=True), out.norm(dim=-1, keepdim=True)
    radius = torch.maximum(up_length, out_length)
    up, out = up * (radius / up_length), out * (radius / out_length)
    one, two = out - up, out + up
    angle = torch.atan2(one[..., 1], one[..., 0])
    centre = torch.stack([ax + dx * aw, ay + dy * ah], dim=-1)
    sides = torch.stack([one.norm(dim=-1), two.norm(dim=-1), angle], dim=-1)
    return canonical(torch.cat([centre, sides], dim=-1))


def _turned(w: Tensor, h: Tensor, angle: Tensor, quarters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sides and angle of the same box, described some quarter turns back."""
    odd = quarters.remainder(2) == 1
    return torch.where(odd, h, w), torch.where(odd, w, h), angle - quarters * _QUARTER


def _centred(boxes_4: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre x, centre y, width, height."""
    x1, y1, x2, y2 = boxes_4.unbind(-1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
