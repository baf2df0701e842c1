"""What a rotated box is, and its other forms: corners, horizontal boxes, the canonical 'le90'.

Letters: 5 is (cx, cy, w, h, θ), 4 is (x1, y1, x2, y2), 42 are four corners of (x, y), 6 lines through two of them.
Leading axes are free (``...``) or one axis N.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_QUARTER = math.pi / 2
_WALKS = ((0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3))
"""Pairs of four points; the sides of their hull are among them, whatever their order."""


def canonical(boxes_5: Tensor) -> Tensor:
    """The same boxes with w >= h and θ in [-π/2, π/2) ('le90').

    A square stands for itself at two angles; it keeps the one it has.

    Args:
        boxes_5: ``(..., 5)``, any angle.
    """
    cx, cy, w, h, angle = boxes_5.unbind(-1)
    upright = w < h
    turned = torch.where(upright, angle + _QUARTER, angle)
    return torch.stack([cx, cy, torch.where(upright, h, w), torch.where(upright, w, h), half_turn(turned)], dim=-1)


def half_turn(angle: Tensor) -> Tensor:
    """An angle in radians plus the multiple of π that brings it into [-π/2, π/2)."""
    turned = angle - math.pi * torch.floor((angle + _QUARTER) / math.pi)
    # rounding can end on either side of the range, and would change angles that are in it
    turned = torch.where(turned >= _QUARTER, turned - math.pi, turned).clamp(min=-_QUARTER)
    return torch.where((angle >= -_QUARTER) & (angle < _QUARTER), angle, turned)


def area(boxes_5: Tensor) -> Tensor:
    """Areas in square pixels, ``(...)``; zero where a side is not positive."""
    return boxes_5[..., 2].clamp(min=0) * boxes_5[..., 3].clamp(min=0)


def corners(boxes_5: Tensor) -> Tensor:
    """Corners of boxes, clockwise as seen on the screen.

    Args:
        boxes_5: ``(..., 5)``.

    Returns:
        ``(..., 4, 2)``: of a box with θ = 0 the upper left corner, the upper right, the lower right, the lower left.
    """
    centre, w, h, angle = boxes_5[..., None, :2], boxes_5[..., 2:3], boxes_5[..., 3:4], boxes_5[..., 4:]
    cos, sin = angle.cos(), angle.sin()
    along = torch.cat([cos, sin], dim=-1) * (w / 2)
    across = torch.cat([-sin, cos], dim=-1) * (h / 2)
    return centre + torch.stack([-along - across, along - across, along + across, across - along], dim=-2)


def enclosing_horizontal(boxes_5: Tensor) -> Tensor:
    """The smallest horizontal boxes around rotated ones, ``(..., 4)``."""
    cos, sin = boxes_5[..., 4:].cos().abs(), boxes_5[..., 4:].sin().abs()
    w, h = boxes_5[..., 2:3] / 2, boxes_5[..., 3:4] / 2
    reach = torch.cat([w * cos + h * sin, w * sin + h * cos], dim=-1)
    return torch.cat([boxes_5[..., :2] - reach, boxes_5[..., :2] + reach], dim=-1)


def from_horizontal(boxes_4: Tensor) -> Tensor:
    """Horizontal boxes as rotated ones in le90, ``(..., 5)``; an upright one lies at θ = -π/2."""
    centre = (boxes_4[..., :2] + boxes_4[..., 2:]) / 2
    sides = boxes_4[..., 2:] - boxes_4[..., :2]
    return canonical(torch.cat([centre, sides, torch.zeros_like(sides[..., :1])], dim=-1))


def smallest_rectangles(quads_42: Tensor) -> Tensor:
    """The rectangles of least area around four points each, exact for the corners of a rectangle.

    A rectangle of least area has a side along a side of the convex hull, and this is one of the six lines through two
    of the points; so the least of six is taken, and no hull is built. The points may come in any order and coincide.

    Args:
        quads_42: ``(..., 4, 2)``, finite.

    Returns:
        ``(..., 5)`` in le90; points on a line give h = 0, one point gives w = h = 0.
    """
    quads_N42 = quads_42.reshape(-1, 4, 2)
    middle_N12 = quads_N42.mean(dim=1, keepdim=True)
    points_N42 = quads_N42 - middle_N12  # small numbers keep their digits
    walks_N62 = torch.stack([points_N42[:, end] - points_N42[:, start] for start, end in _WALKS], dim=1)
    length_N61 = walks_N62.norm(dim=-1, keepdim=True)
    along_N62 = walks_N62 / torch.where(length_N61 > 0, length_N61, 1)
    across_N62 = torch.stack([-along_N62[..., 1], along_N62[..., 0]], dim=-1)
    axes_N622 = torch.stack([along_N62, across_N62], dim=2)
    reach_N624 = axes_N622 @ points_N42.transpose(1, 2)[:, None]
    low_N62, high_N62 = reach_N624.amin(dim=-1), reach_N624.amax(dim=-1)
    sides_N62 = high_N62 - low_N62
    best = torch.where(length_N61[..., 0] > 0, sides_N62.prod(dim=-1), math.inf).argmin(dim=1)
    one = torch.arange(len(best), device=best.device)
    axes_N22, middles_N21 = axes_N622[one, best], (low_N62 + high_N62)[one, best][..., None] / 2
    centre_N2 = middle_N12[:, 0] + (middles_N21 * axes_N22).sum(dim=1)
    angle_N1 = torch.atan2(axes_N22[:, 0, 1], axes_N22[:, 0, 0])[:, None]
    boxes_N5 = canonical(torch.cat([centre_N2, sides_N62[one, best], angle_N1], dim=1))
    return boxes_N5.view(*quads_42.shape[:-2], 5)
