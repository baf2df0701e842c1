"""Oriented R-CNN: its size, one forward and one loss against plain loops, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skysense.errors import ConfigError, InputError
from skysense.tasks.detection.boxes import Truth
from skysense.tasks.detection.config import OrientedRcnnConfig
from skysense.tasks.detection.oriented_head import OrientedHead
from skysense.tasks.detection.oriented_rcnn import OrientedRcnn
from skysense.tasks.detection.oriented_rpn import OrientedRpn
from skysense.tasks.rotated.iou import rotated_iou
from tests.tasks.detection import oriented_reference as reference
from tests.tasks.detection.scenes import WIDTHS, average_precision, fit, rectangles, tiny_swin

STRIDES = (4, 8, 16, 32)
SIZES = [(64, 64), (60, 50)]
SMALL = OrientedRcnnConfig(
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


def small(seed: int = 0) -> OrientedRcnn:
    torch.manual_seed(seed)
    detector = OrientedRcnn((3, 4, 5, 6), 2, STRIDES, SMALL).double().eval()
    with torch.no_grad():
        for name, weight in detector.named_parameters():
            if not name.startswith("pyramid"):
                weight.copy_(
                    torch.randn_like(weight) * (0.7 / math.sqrt(weight[0].numel()) if weight.ndim > 1 else 0.1)
                )
    return detector


def pyramid_maps(count: int = 2) -> list[Tensor]:
    chance = torch.Generator().manual_seed(1)
    sides = ((3, 16), (4, 8), (5, 4), (6, 2))
    return [torch.randn(count, width, side, side, generator=chance, dtype=torch.float64) for width, side in sides]


def truth(boxes: list[list[float]], labels: list[int], ignore: list[bool]) -> Truth:
    return Truth(torch.tensor(boxes).double().reshape(-1, 5), torch.tensor(labels).long(), torch.tensor(ignore).bool())


TRUTHS = [
    truth([[20, 22, 30, 14, 0.4], [44, 40, 26, 22, -1.1], [45, 12, 16, 12, 0.2]], [1, 0, 0], [False, False, True]),
    # no anchor overlaps the second by 0.7
    truth([[30, 30, 36, 20, 1.3], [24, 50, 44, 5, 0.1]], [0, 1], [False, False]),
]


def test_number_of_parameters():
    def count(module: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    rpn = OrientedRpn(OrientedRcnnConfig(), (4, 8, 16, 32, 64))
    # 3x3 convolution, three logits, eighteen offsets
    assert count(rpn) == (9 * 256 * 256 + 256) + (256 * 3 + 3) + (256 * 18 + 18) == 595_477
    head = OrientedHead(OrientedRcnnConfig(), STRIDES, classes=15)
    # 7 * 7 * 256 = 12544 cells
    assert (
        count(head) == (12_544 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * 16 + 16) + (1024 * 5 + 5) == 13_917_205
    )
    d, h, s, k = SMALL.channels, SMALL.hidden, SMALL.roi_size, 2
    lateral = sum(width * d + d for width in (3, 4, 5, 6)) + 4 * (9 * d * d + d)
    expected = lateral + 9 * d * d + d + 7 * 3 * (d + 1) + (d * s * s + 1) * h + (h + 1) * h + (h + 1) * (k + 1 + 5)
    assert count(small()) == expected


@torch.no_grad()
def test_forward_equals_plain_loops():
    detector, maps = small(), pyramid_maps()
    weights = dict(detector.named_parameters())
    levels = reference.pyramid(weights, maps)
    ours = detector.pyramid(maps)
    logits, offsets, anchors = detector.rpn(ours)
    proposals = detector.rpn.propose(logits, offsets, anchors, SIZES)
    found = detector(maps, SIZES)
    for image, size in enumerate(SIZES):
        per_level = reference.rpn(weights, levels, image, (*STRIDES, 64), SMALL.anchor_scale, SMALL.anchor_ratios)
        rows = [row for level in per_level for row in level]
        close(torch.cat(anchors), [row[0] for row in rows])
        close(logits[image], torch.stack([row[1] for row in rows]))
        close(offsets[image], torch.stack([row[2] for row in rows]))
        expected = reference.proposals(per_level, size, SMALL)
        assert len(expected) == SMALL.proposals
        close(proposals[image], expected)
        cells = torch.stack([reference.cells(levels, image, box, STRIDES, SMALL) for box in expected])
        their_logits, their_deltas = reference.head(weights, cells)
        our_logits, our_deltas = detector.head(
            ours[:-1], [proposals[i] if i == image else proposals[i][:0] for i in (0, 1)]
        )
        close(our_logits, their_logits)
        close(our_deltas, their_deltas)
        seen = reference.detections(expected, their_logits, their_deltas, size, SMALL)
        assert len(seen) > 3
        close(found[image].boxes_NP, [row[0] for row in seen])
        close(found[image].scores_N, [row[1] for row in seen])
        assert found[image].label_N.tolist() == [row[2] for row in seen]


def test_losses_equal_plain_loops():
    detector, maps = small(), pyramid_maps()
    weights = dict(detector.named_parameters())
    levels = reference.pyramid(weights, maps)
    wanted = [[tuple(row) for row in one.wanted[0].tolist()] for one in TRUTHS]
    ignored = [[tuple(row) for row in one.ignored_NP.tolist()] for one in TRUTHS]
    images, rows = [], []
    for image, size in enumerate(SIZES):
        per_level = reference.rpn(weights, levels, image, (*STRIDES, 64), SMALL.anchor_scale, SMALL.anchor_ratios)
        images.append([row for level in per_level for row in level])
        proposals = reference.proposals(per_level, size, SMALL)
        boxes, numbers = reference.head_samples(proposals, wanted[image], ignored[image], SMALL)
        assert sum(number >= 0 for number in numbers) >= len(wanted[image])
        cells = torch.stack([reference.cells(levels, image, box, STRIDES, SMALL) for box in boxes])
        logits, deltas = reference.head(weights, cells)
        labels = TRUTHS[image].wanted[1].tolist()
        for box, logit, delta, number in zip(boxes, logits, deltas, numbers, strict=True):
            is_one = number >= 0
            label, box_wanted = (labels[number], wanted[image][number]) if is_one else (None, None)
            rows.append((box, logit, delta, label, box_wanted))
    losses = detector(maps, SIZES, TRUTHS)
    objectness, offsets = reference.rpn_losses(images, wanted, ignored, SMALL)
    classes, deltas = reference.head_losses(rows)
    assert list(losses) == ["rpn_objectness", "rpn_box", "head_class", "head_box"]
    for name, value in zip(losses, (objectness, offsets, classes, deltas), strict=True):
        assert value > 0.01
        close(losses[name], value)
    ours = torch.autograd.grad(sum(losses.values()), list(detector.parameters()))
    theirs = torch.autograd.grad(objectness + offsets + classes + deltas, list(weights.values()))
    for one, other in zip(ours, theirs, strict=True):
        assert one.abs().max() > 0
        close(one, other)


def test_what_is_ignored_is_neither_wrong_nor_to_be_found():
    detector, maps = small(), pyramid_maps()
    everywhere = truth([[32, 32, 400, 400, 0.0]], [0], [True])
    nothing = truth([], [], [])
    left_out = detector(maps, SIZES, [everywhere, everywhere])
    assert all(value.item() == 0 for value in left_out.values())
    empty = detector(maps, SIZES, [nothing, nothing])
    assert empty["rpn_objectness"] > 0.1 and empty["head_class"] > 0.1
    assert empty["rpn_box"] == 0 and empty["head_box"] == 0
    for losses in (left_out, empty):
        grads = torch.autograd.grad(sum(losses.values()), list(detector.parameters()))
        assert all(bool(torch.isfinite(one).all()) for one in grads)


def test_no_proposal_gives_no_detection():
    detector, maps = small(), pyramid_maps()
    with torch.no_grad():
        detector.rpn.offsets.bias[::6] = 1e4  # all far to the right of the image
        found = detector(maps, SIZES)
        losses = detector(maps, SIZES, [truth([], [], []), TRUTHS[1]])
    assert [len(one.scores_N) for one in found] == [0, 0]
    assert found[0].boxes_NP.shape == (0, 5)
    assert losses["head_class"] > 0  # the truths alone


def test_detections_outside_the_image_are_left_out():
    detector, maps = small(), pyramid_maps()
    with torch.no_grad():
        detector.head.deltas.bias[0] = 1e4
        assert [len(one.scores_N) for one in detector(maps, SIZES)] == [0, 0]


def test_a_shift_by_cells_shifts_what_is_found():
    torch.manual_seed(3)
    detector = small(3)
    side, step = 256, 64
    maps = []
    for width, stride in zip((3, 4, 5, 6), STRIDES, strict=True):
        grid = torch.zeros(1, width, side // stride, side // stride, dtype=torch.float64)
        middle = slice(96 // stride, 160 // stride)
        grid[:, :, middle, middle] = torch.randn(grid[:, :, middle, middle].shape, dtype=torch.float64)
        maps.append(grid)
    moved = [one.roll((step // stride, -step // stride), (2, 3)) for one, stride in zip(maps, STRIDES, strict=True)]
    with torch.no_grad():
        (before,), (after,) = (_scored(detector, one, side) for one in (maps, moved))
    assert len(before) > 3
    shift = torch.tensor([-step, step, 0, 0, 0, 0], dtype=torch.float64)
    for row in before + shift:
        assert float((after - row).abs().amax(dim=1).min()) < 1e-6


def _scored(detector: OrientedRcnn, maps: list[Tensor], side: int) -> list[Tensor]:
    """The proposals and what the head says of each: boxes and first logit."""
    levels = detector.pyramid(maps)
    logits, offsets, anchors = detector.rpn(levels)
    (proposals,) = detector.rpn.propose(logits, offsets, anchors, [(side, side)])
    return [torch.cat([proposals, detector.head(levels[:-1], [proposals])[0][:, :1]], dim=1)]


@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "whole"])
def test_in_bfloat16_coordinates_and_losses_stay_in_float32(whole):
    dtype = torch.bfloat16 if whole else torch.float32
    detector = OrientedRcnn((3, 4, 5, 6), 2, STRIDES, replace(SMALL, score=0.1)).to(dtype).eval()
    maps = [one.to(dtype) for one in pyramid_maps()]
    truths = [Truth(one.boxes_NP.float(), one.label_N, one.ignore_N) for one in TRUTHS]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not whole), torch.no_grad():
        (found, _), losses = detector(maps, SIZES), detector(maps, SIZES, truths)
    assert len(found.scores_N) > 0
    assert found.boxes_NP.dtype == found.scores_N.dtype == torch.float32
    assert all(value.dtype == torch.float32 and bool(torch.isfinite(value)) for value in losses.values())


def test_wrong_maps_and_strides_are_told():
    with pytest.raises(InputError, match="reads maps of"):
        small()(pyramid_maps()[:3], SIZES)
    with pytest.raises(ConfigError, match="double"):
        OrientedRcnn((3, 4), 2, strides=(4, 12))
    with pytest.raises(ConfigError, match="ascend"):
        OrientedRcnnConfig(anchor_negative=0.8)
    OrientedRcnn((3, 4), 2, strides=(1, 2), config=SMALL)


def test_it_learns_rectangles():
    torch.manual_seed(0)
    images, truths = rectangles(4, 128, oriented=True)
    encoder = tiny_swin()
    config = OrientedRcnnConfig(
        channels=32, hidden=64, proposals_per_level=200, proposals=64, anchors_sampled=64, head_sampled=64
    )
    detector = OrientedRcnn(WIDTHS, 2, config=config)
    history = fit(encoder, detector, images, truths, steps=50, rate=3e-3)
    assert history[-1] < history[0] / 2
    with torch.no_grad():
        found = detector.eval()(encoder.eval()(images), [(128, 128)] * 4)
    assert average_precision(found, truths, rotated_iou, 2) >= 0.9


def close(ours: Tensor, theirs) -> None:
    torch.testing.assert_close(ours, torch.as_tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-9)
