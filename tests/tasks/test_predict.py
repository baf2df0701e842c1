"""Windows and mirror images give what the whole image gives, where the model allows a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skysense.data.labelled.example import Example
from skysense.observation import Batch
from skysense.tasks import pieces
from skysense.tasks.augment import cropped
from skysense.tasks.detection.boxes import Found
from skysense.tasks.heads import Answer
from skysense.tasks.predict import Predictor, _boxes_back
from skysense.tasks.predictions import ClassMap, ClassScores, Detections
from skysense.tasks.pyramid import Maps
from tests.tasks.labelled_samples import both_example, example, optical, series_example, trimmed

PX = 256


class Pixels(nn.Module):
    """An encoder whose only level is the brightness of every pixel."""

    def __init__(self, per_cell: int = 32) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, batch: Batch) -> Maps:
        values = next(iter(batch.frames.values())).values_BTCHW
        level = values[:, 0, 1:2].float() / 255
        self.shapes.append(tuple(level.shape))
        return Maps([level], torch.ones(level.shape[0], 1, 1, dtype=torch.bool))


class Brightness(nn.Module):
    """Says how likely each pixel is bright, from the pixel alone."""

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Iterator[Answer]:
        return ({"mask": torch.cat([1 - bright, bright])} for bright in maps.levels[0])


class Rows(nn.Module):
    """Says the mean of the upper half of the image: a mirror image has another answer."""

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Iterator[Answer]:
        upper_B = maps.levels[0][:, 0, : grid[0] // 2].mean((1, 2))
        return ({"classes": torch.stack([1 - upper, upper])} for upper in upper_B)


class Blobs(nn.Module):
    """Finds the rectangles of bright pixels exactly: connected rows of the examples of this test never touch."""

    def __init__(self, rotated: bool = False) -> None:
        super().__init__()
        self.rotated = rotated

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Iterator[Answer]:
        return (self._one(level) for level in maps.levels[0][:, 0])

    def _one(self, level_HW: Tensor) -> Found:
        from scipy import ndimage

        names, _ = ndimage.label(level_HW.numpy() > 0.6)
        boxes = [[c.start, r.start, c.stop, r.stop] for r, c in ndimage.find_objects(names)]
        found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        if self.rotated:
            low, high = found[:, :2], found[:, 2:]
            found = torch.cat([(low + high) / 2, high - low, torch.zeros(len(found), 1)], dim=1)
        return Found(found, torch.full((len(found),), 0.9), torch.zeros(len(found), dtype=torch.long))


def predictor(head: nn.Module, task: str, window_cells: int = 4, flips: bool = False) -> Predictor:
    return Predictor(Pixels(), head, task, window_cells=window_cells, batch_size=3, flips=flips)  # type: ignore[arg-type]


def test_a_blended_map_of_a_pixelwise_model_is_that_of_the_whole() -> None:
    examples = [example("segmentation", index, side=side) for index, side in enumerate((256, 128, 320))]
    judge = predictor(Brightness(), "segmentation")
    whole = predictor(Brightness(), "segmentation", window_cells=16)
    for found, wanted in zip(judge(examples), whole(examples), strict=True):
        assert isinstance(found, ClassMap) and isinstance(wanted, ClassMap)
        np.testing.assert_allclose(found.confidence_HW, wanted.confidence_HW, atol=1e-6)
        assert (found.answer_HW == wanted.answer_HW).mean() > 0.9999  # where both are equally likely
    assert {shape[2:] for shape in judge.encoder.shapes} == {(128, 128)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("rotated", [False, True])
def test_detections_are_found_once_whatever_window_they_are_in(rotated: bool) -> None:
    pixels = np.full((PX, PX, 3), 80, np.uint8)
    wanted = []
    for row in range(6, PX - 20, 26):
        for col in range(6, PX - 20, 26):
            pixels[row : row + 12, col : col + 18] = 200
            wanted.append([col, row, col + 18, row + 12])
    base = example("detection", 0, side=PX)
    image = replace(base, sample=replace(base.sample, series={"hr": optical(pixels)}))
    task = "oriented-detection" if rotated else "detection"
    for flips in (False, True):
        (found,) = predictor(Blobs(rotated), task, flips=flips)([image])
        assert isinstance(found, Detections)
        boxes = found.boxes_N
        if rotated:
            assert np.abs(boxes[:, 4]).max() < 1e-6
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], axis=1)
        order = np.lexsort((boxes[:, 0].round(), boxes[:, 1].round()))
        np.testing.assert_allclose(boxes[order], sorted(wanted, key=lambda box: (box[1], box[0])), atol=1e-3)


def test_mirror_images_are_averaged() -> None:
    examples = [example("classification", index) for index in range(2)]
    (found, _) = predictor(Rows(), "classification", flips=True)(examples)
    assert isinstance(found, ClassScores)
    level = examples[0].sample.series["hr"].values[0, 1] / 255
    np.testing.assert_allclose(found.scores_K[1], level.mean(), atol=1e-5)
    (plain, _) = predictor(Rows(), "classification")(examples)
    assert isinstance(plain, ClassScores)
    np.testing.assert_allclose(plain.scores_K[1], level[:64].mean(), atol=1e-5)
    (mask, _) = predictor(Brightness(), "segmentation", flips=True)(examples)
    (same, _) = predictor(Brightness(), "segmentation")(examples)
    assert isinstance(mask, ClassMap) and isinstance(same, ClassMap)
    np.testing.assert_allclose(mask.confidence_HW, same.confidence_HW, atol=1e-6)


class Inside(nn.Module):
    """Finds rectangles of bright pixels in what is no padding, as detectors do, and remembers what that was."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Iterator[Answer]:
        self.sizes += sizes
        shown = torch.zeros_like(maps.levels[0])
        for to, level, (height, width) in zip(shown, maps.levels[0], sizes, strict=True):
            to[:, :height, :width] = level[:, :height, :width]
        return Blobs().answers(Maps([shown], maps.occupied_Bhw), grid, sizes)


def test_mirror_images_of_a_padded_image_are_those_of_its_real_part() -> None:
    masked = [trimmed(example("segmentation", 0), 100, 70), trimmed(example("segmentation", 1), 128, 90)]
    (mirrored, other), (plain, _) = (
        predictor(Brightness(), "segmentation", flips=flips)(masked) for flips in (True, False)
    )
    assert isinstance(mirrored, ClassMap) and isinstance(plain, ClassMap) and isinstance(other, ClassMap)
    np.testing.assert_allclose(mirrored.confidence_HW[:100, :70], plain.confidence_HW[:100, :70], atol=1e-6)
    shown = masked[1].sample.series["hr"].values[0, 1, :, :90] > 127
    np.testing.assert_array_equal(other.answer_HW[:, :90] == 1, shown)

    head = Inside()
    image = trimmed(example("detection", 3), 100, 120)
    (found,) = predictor(head, "detection", flips=True)([image])
    assert head.sizes == [(100, 120)] * 4
    (wanted,) = predictor(Inside(), "detection")([image])
    assert isinstance(found, Detections) and isinstance(wanted, Detections) and len(wanted.boxes_N) >= 2
    order = [np.lexsort(one.boxes_N.T) for one in (found, wanted)]
    np.testing.assert_allclose(found.boxes_N[order[0]], wanted.boxes_N[order[1]])


def test_a_mirrored_upright_box_keeps_the_canonical_angle() -> None:
    upright = Found(
        torch.tensor([[30.0, 40, 20, 8, -math.pi / 2], [30, 40, 20, 8, 0.3]]), torch.ones(2), torch.zeros(2)
    )
    back = _boxes_back(upright, 4, (100, 80)).boxes_NP
    np.testing.assert_allclose(back, [[50, 40, 20, 8, -math.pi / 2], [50, 40, 20, 8, -0.3]], rtol=1e-6)


@pytest.mark.parametrize(("low", "high", "kept"), [(75, 155, (96, 155)), (60, 127, (60, 127)), (100, 200, (100, 200))])
def test_an_object_across_a_seam_is_found_once_as_far_as_one_window_sees_it(
    low: int, high: int, kept: tuple[int, int]
) -> None:
    """Windows 0 .. 128 and 96 .. 224."""
    pixels = np.full((224, 224, 3), 80, np.uint8)
    pixels[20:60, low:high] = 200
    base = example("detection", 0, side=224)
    image = replace(base, sample=replace(base.sample, series={"hr": optical(pixels)}))
    (found,) = predictor(Blobs(), "detection")([image])
    assert isinstance(found, Detections)
    np.testing.assert_allclose(found.boxes_N, [[kept[0], 20, kept[1], 60]])


def test_windows_are_cut_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = predictor(Brightness(), "segmentation")
    waiting: list[int] = []

    def cut(*place: Any) -> Example:
        waiting.append(sum(1 for _ in waiting) + 1 - sum(shape[0] for shape in judge.encoder.shapes))  # type: ignore[attr-defined]
        return cropped(*place)

    monkeypatch.setattr(pieces, "cropped", cut)
    judge([example("segmentation", 0, side=320), example("segmentation", 1, side=320)])
    assert len(waiting) == 18 and max(waiting) == 3


def test_places_with_and_without_the_image_are_judged_by_their_cells() -> None:
    fine = both_example(0)
    coarse = replace(series_example(1, cells=128), target=1)  # as many label pixels, other cells
    judge = predictor(Rows(), "classification")
    assert [type(one) for one in judge([fine, coarse])] == [ClassScores, ClassScores]
