"""RoIAlign equals torchvision's where that goes, and a loop over samples where it does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.tasks.rotated.align import rotated_roi_align


def maps(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, 13, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def rois(count: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Boxes in an image of 104 x 136 pixels, of which many reach over the border."""
    draw = torch.rand(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scale = torch.tensor([2, 136, 104, 90, 70, 2 * math.pi], dtype=torch.float64)
    out = draw * scale - torch.tensor([0, 0, 0, 0, 0, math.pi], dtype=torch.float64)
    out[:, 0] = out[:, 0].floor()
    return out.to(dtype)


def sample(map_HW: Tensor, x: float, y: float) -> float:
    """Between four pixels; the border goes on for one pixel, then come zeros."""
    height, width = map_HW.shape
    if not (-1 <= x <= width and -1 <= y <= height):
        return 0.0
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, upper = min(int(x), width - 2), min(int(y), height - 2)
    u, v = x - left, y - upper
    values = map_HW[upper : upper + 2, left : left + 2].tolist()
    return (1 - v) * ((1 - u) * values[0][0] + u * values[0][1]) + v * ((1 - u) * values[1][0] + u * values[1][1])


def by_loop(features: Tensor, roi: list[float], rows: int, columns: int, scale: float, ratio: int) -> Tensor:
    image, cx, cy, w, h, angle = roi
    cos, sin = math.cos(angle), math.sin(angle)
    out = torch.zeros(features.shape[1], rows, columns, dtype=torch.float64)
    for channel in range(features.shape[1]):
        for row in range(rows * ratio):
            for column in range(columns * ratio):
                u = w * scale * ((column + 0.5) / (columns * ratio) - 0.5)
                v = h * scale * ((row + 0.5) / (rows * ratio) - 0.5)
                x, y = cx * scale - 0.5 + cos * u - sin * v, cy * scale - 0.5 + sin * u + cos * v
                value = sample(features[int(image), channel], x, y)
                out[channel, row // ratio, column // ratio] += value / ratio**2
    return out


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("size", "ratio"), [(7, 2), ((2, 5), 3), ((4, 1), 1)])
def test_straight_boxes_as_torchvision_does(aligned: bool, size: int | tuple[int, int], ratio: int) -> None:
    ops = pytest.importorskip("torchvision.ops")
    boxes = rois(200)
    boxes[:, 5] = 0
    if aligned:
        boxes[:5, 3:5] /= 50
    else:
        boxes[:, 3:5] += 8  # smaller ones torchvision widens to the right, and not on both sides
    corners = torch.cat([boxes[:, :1], boxes[:, 1:3] - boxes[:, 3:5] / 2, boxes[:, 1:3] + boxes[:, 3:5] / 2], dim=1)
    ours = rotated_roi_align(maps(), boxes, size, 1 / 8, ratio, aligned)
    theirs = ops.roi_align(maps(), corners, size, 1 / 8, ratio, aligned)
    torch.testing.assert_close(ours, theirs)
    single = rotated_roi_align(maps(torch.float32), boxes.float(), size, 1 / 8, ratio, aligned)
    torch.testing.assert_close(single, theirs.float(), atol=1e-4, rtol=1e-4)


def test_turned_boxes_as_the_loop_does() -> None:
    boxes = rois(25)
    ours = rotated_roi_align(maps(), boxes, (3, 4), 1 / 8)
    theirs = torch.stack([by_loop(maps(), roi, 3, 4, 1 / 8, 2) for roi in boxes.tolist()])
    torch.testing.assert_close(ours, theirs)


def test_the_same_box_a_quarter_turn_on_gives_the_same_features_turned() -> None:
    boxes = rois(20)
    turned = boxes[:, [0, 1, 2, 4, 3, 5]] + torch.tensor([0, 0, 0, 0, 0, math.pi / 2], dtype=torch.float64)
    # the side w now points where the side h pointed: its columns are the rows of before, counted from the other end
    expected = rotated_roi_align(maps(), boxes, (3, 4), 1 / 8).transpose(2, 3).flip(2)
    torch.testing.assert_close(rotated_roi_align(maps(), turned, (4, 3), 1 / 8), expected)


def test_columns_go_along_the_side_w() -> None:
    ramp = torch.arange(20.0).expand(1, 1, 20, 20).contiguous()  # grows to the right
    down = rotated_roi_align(ramp.transpose(2, 3).contiguous(), torch.tensor([[0, 10, 10, 8, 4, math.pi / 2]]), 2, 1.0)
    torch.testing.assert_close(down[0, 0], torch.tensor([[7.5, 11.5], [7.5, 11.5]]))


def test_gradients_are_right() -> None:
    features, boxes = maps()[:, :2, :6, :5].clone(), rois(4)
    boxes[:, 1:5] = torch.tensor([[20.3, 22.1, 17.0, 13.0], [9.0, 30, 22, 9], [25, 10, 7, 19], [37, 45, 30, 20]])
    images, boxes = boxes[:, :1], boxes[:, 1:]

    def align(features: Tensor, boxes: Tensor) -> Tensor:
        return rotated_roi_align(features, torch.cat([images, boxes], dim=1), 2, 1 / 8)

    assert torch.autograd.gradcheck(align, (features.requires_grad_(), boxes.requires_grad_()))


def test_a_small_box_of_old_is_a_pixel_wide_about_its_centre() -> None:
    small, pixel = torch.tensor([[0.0, 40, 40, 2, 1, 0.3]]), torch.tensor([[0.0, 40, 40, 8, 8, 0.3]])
    features = maps(torch.float32)
    one, two = (rotated_roi_align(features, boxes, 2, 1 / 8, aligned=False) for boxes in (small, pixel))
    torch.testing.assert_close(one, two)


def test_half_precision_keeps_its_places() -> None:
    boxes = rois(20, dtype=torch.float32)
    half = rotated_roi_align(maps().bfloat16(), boxes, 3, 1 / 8)
    assert half.dtype == torch.bfloat16
    whole = rotated_roi_align(maps().bfloat16().float(), boxes, 3, 1 / 8)
    torch.testing.assert_close(half.float(), whole, atol=0.03, rtol=0.03)


def test_no_boxes() -> None:
    assert rotated_roi_align(maps(), torch.zeros(0, 6), (3, 4), 1 / 8).shape == (0, 3, 3, 4)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(R, 6\)"):
        rotated_roi_align(maps(), torch.ones(2, 5), 7, 1 / 8)
    with pytest.raises(InputError, match="0 samples"):
        rotated_roi_align(maps(), torch.ones(2, 6), 7, 1 / 8, sampling_ratio=0)


class Align(nn.Module):
    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        return rotated_roi_align(features, boxes, (3, 4), 1 / 8)


def test_a_graph_is_open_to_any_number_of_boxes() -> None:
    n = torch.export.Dim("n")
    given = (maps(torch.float32), rois(5, dtype=torch.float32))
    program = torch.export.export(Align(), given, dynamic_shapes=({}, {0: n})).module()
    for count in (5, 40):
        boxes = rois(count, 3, torch.float32)
        torch.testing.assert_close(program(given[0], boxes), Align()(given[0], boxes))
