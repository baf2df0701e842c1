"""Faster R-CNN: what is ours around the parts of torchvision, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from skysense.tasks.detection.boxes import Truth
from skysense.tasks.detection.config import FasterRcnnConfig
from skysense.tasks.detection.faster_rcnn import FasterRcnn
from tests.tasks.detection.scenes import WIDTHS, average_precision, fit, rectangles, tiny_swin

STRIDES = (4, 8, 16, 32)
SIZES = [(64, 64), (60, 50)]
SMALL = FasterRcnnConfig(
    channels=6,
    hidden=16,
    roi_size=3,
    roi_scale=4.0,
    anchors_sampled=10_000,
    anchors_positive=1.0,
    head_sampled=10_000,
    head_positive=1.0,
    proposals_per_level=16,
    proposals=14,
    score=0.2,
)


def small() -> FasterRcnn:
    torch.manual_seed(0)
    detector = FasterRcnn((3, 4, 5, 6), 2, STRIDES, SMALL).double().eval()
    with torch.no_grad():
        for name, weight in detector.named_parameters():
            if not name.startswith("pyramid"):
                weight.copy_(
                    torch.randn_like(weight) * (0.7 / math.sqrt(weight[0].numel()) if weight.ndim > 1 else 0.1)
                )
    return detector


def pyramid_maps() -> list[Tensor]:
    chance = torch.Generator().manual_seed(1)
    sides = ((3, 16), (4, 8), (5, 4), (6, 2))
    return [torch.randn(2, width, side, side, generator=chance, dtype=torch.float64) for width, side in sides]


def truth(boxes: list[list[float]], labels: list[int], ignore: list[bool]) -> Truth:
    return Truth(torch.tensor(boxes).double().reshape(-1, 4), torch.tensor(labels).long(), torch.tensor(ignore).bool())


TRUTHS = [truth([[4, 10, 40, 30], [30, 30, 60, 55]], [1, 0], [False, False]), truth([[12, 20, 48, 40]], [0], [False])]


def test_number_of_parameters():
    def count(module: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    detector = FasterRcnn((352, 704, 1408, 2816), 20)
    lateral = (352 + 704 + 1408 + 2816) * 256 + 4 * 256 + 4 * (9 * 256 * 256 + 256)
    assert count(detector.pyramid) == lateral == 3_713_024
    assert count(detector.rpn) == (9 * 256 * 256 + 256) + (256 * 3 + 3) + (256 * 12 + 12) == 593_935
    assert count(detector.heads) == (12_544 * 1024 + 1024) + (1024 * 1024 + 1024) + 1025 * 21 * 5 == 14_003_305


def test_boxes_end_at_the_rim_and_classes_count_from_zero():
    with torch.no_grad():
        found = small()(pyramid_maps(), SIZES)
    assert {label for one in found for label in one.label_N.tolist()} == {0, 1}
    for one, (height, width) in zip(found, SIZES, strict=True):
        x1, y1, x2, y2 = one.boxes_NP.unbind(1)
        assert len(x1) > 3 and float(x1.min()) >= 0 and float(y1.min()) >= 0
        assert float(x2.max()) <= width and float(y2.max()) <= height
        assert bool((one.scores_N.diff() <= 0).all()) and float(one.scores_N.min()) > 0.2


def test_cells_of_a_proposal_lie_where_its_pixels_are():
    """On maps that hold the x of the middle of each cell, the cells of a box have its x as their mean."""
    pool = small().heads.box_roi_pool
    maps = [((torch.arange(64 // stride) + 0.5) * stride).expand(1, 1, 64 // stride, -1).double() for stride in STRIDES]
    boxes = torch.tensor([[10.0, 10, 23, 20], [14, 8, 53, 40], [20, 3, 45, 60]]).double()
    found = pool(maps, [boxes], [(64, 64)])
    assert torch.allclose(found.mean(dim=(1, 2, 3)), torch.tensor([16.5, 33.5, 32.5]).double())


def test_losses_do_not_depend_on_the_mode_and_reach_every_parameter():
    detector, maps = small(), pyramid_maps()
    losses = detector(maps, SIZES, TRUTHS)
    assert list(losses) == ["rpn_objectness", "rpn_box", "head_class", "head_box"]
    again = detector.train()(maps, SIZES, TRUTHS)
    assert all(losses[name].item() == again[name].item() > 0 for name in losses)
    grads = torch.autograd.grad(sum(losses.values()), list(detector.parameters()))
    assert all(float(one.abs().max()) > 0 for one in grads)


def test_what_is_ignored_is_neither_wrong_nor_to_be_found():
    detector, maps = small(), pyramid_maps()
    everywhere, nothing = truth([[-300, -300, 400, 400]], [0], [True]), truth([], [], [])
    left_out = detector(maps, SIZES, [everywhere, everywhere])
    assert all(value.item() == 0 for value in left_out.values())
    empty = detector(maps, SIZES, [nothing, nothing])
    assert empty["rpn_objectness"] > 0.1 and empty["head_class"] > 0.1
    assert empty["rpn_box"] == 0 and empty["head_box"] == 0
    for losses in (left_out, empty):
        grads = torch.autograd.grad(sum(losses.values()), list(detector.parameters()))
        assert all(bool(torch.isfinite(one).all()) for one in grads)


def test_in_ignored_boxes_positives_still_count():
    """Where everything is ignored, boxes that find a truth count, and no others."""
    detector = small()
    ignored = truth([[4, 10, 40, 30], [-300, -300, 400, 400]], [1, 0], [False, True])
    wanted = truth([[4, 10, 40, 30]], [1], [False])
    with torch.no_grad():
        targets = [
            [{"boxes": one.wanted[0], "labels": one.wanted[1] + 1, "ignored": one.ignored_NP}]
            for one in (ignored, wanted)
        ]
        anchors = [torch.cat([torch.tensor([[2.0, 10, 40, 32]]), 200 * torch.rand(20, 4).sort(dim=1).values]).double()]
        (with_ignored,), _ = detector.rpn.assign_targets_to_anchors(anchors, targets[0])
        (without,), _ = detector.rpn.assign_targets_to_anchors(anchors, targets[1])
        kept = detector.heads._counted(anchors[0], targets[0][0])
    assert with_ignored[0] == without[0] == 1
    assert set(with_ignored[1:].tolist()) == {-1.0} and set(without[1:].tolist()) <= {0.0, -1.0}
    assert torch.equal(kept, anchors[0][:1])


def test_fine_strides_scale_boxes():
    """Objects of a map with cells of one pixel are found in the same places as of one with four, a quarter as large."""
    maps, detector = pyramid_maps(), small()
    fine = FasterRcnn((3, 4, 5, 6), 2, (1, 2, 4, 8), SMALL).double().eval()
    fine.load_state_dict(detector.state_dict())
    assert detector.rpn.strides == (4, 8, 16, 32, 64) and fine.rpn.strides == (1, 2, 4, 8, 16)
    with torch.no_grad():
        coarse_found = detector(maps, [(64, 64)] * 2)
        fine_found = fine(maps, [(16, 16)] * 2)
    for one, other in zip(coarse_found, fine_found, strict=True):
        torch.testing.assert_close(one.boxes_NP / 4, other.boxes_NP, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(one.scores_N, other.scores_N, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "whole"])
def test_in_bfloat16_coordinates_and_losses_stay_in_float32(whole):
    dtype = torch.bfloat16 if whole else torch.float32
    detector = FasterRcnn((3, 4, 5, 6), 2, STRIDES, replace(SMALL, score=0.1)).to(dtype).eval()
    maps = [one.to(dtype) for one in pyramid_maps()]
    truths = [Truth(one.boxes_NP.float(), one.label_N, one.ignore_N) for one in TRUTHS]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not whole), torch.no_grad():
        (found, _), losses = detector(maps, SIZES), detector(maps, SIZES, truths)
    assert len(found.scores_N) > 0
    assert found.boxes_NP.dtype == found.scores_N.dtype == torch.float32
    assert all(value.dtype == torch.float32 and bool(torch.isfinite(value)) for value in losses.values())


def test_it_learns_rectangles():
    torch.manual_seed(0)
    images, truths = rectangles(4, 128, oriented=False)
    encoder = tiny_swin()
    config = FasterRcnnConfig(
        channels=32, hidden=64, proposals_per_level=200, proposals=64, anchors_sampled=64, head_sampled=64
    )
    detector = FasterRcnn(WIDTHS, 2, config=config)
    history = fit(encoder, detector, images, truths, steps=50, rate=3e-3)
    assert history[-1] < history[0] / 2
    with torch.no_grad():
        found = detector.eval()(encoder.eval()(images), [(128, 128)] * 4)
    assert average_precision(found, truths, box_iou, 2) >= 0.9
