"""Windows and mirror images give what the whole image gives, where the model allows a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skysense.geo import Window
from skysense.observation import Batch
from skysense.tasks.detection.boxes import Found
from skysense.tasks.heads import Answers
from skysense.tasks.pieces import Canvas, Piece, grouped, pieces_of
from skysense.tasks.predict import Predictor
from skysense.tasks.predictions import ChangeMap, ClassMap, ClassScores, Detections
from skysense.tasks.pyramid import Maps
from tests.tasks.labelled_samples import example, optical, series_example

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

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Answers:
        return {"mask": torch.cat([1 - maps.levels[0], maps.levels[0]], dim=1)}


class Rows(nn.Module):
    """Says the mean of the upper half of the image: a mirror image has another answer."""

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Answers:
        upper_B = maps.levels[0][:, 0, : grid[0] // 2].mean((1, 2))
        return {"classes": torch.stack([1 - upper_B, upper_B], dim=1)}


class Blobs(nn.Module):
    """Finds the rectangles of bright pixels exactly: connected rows of the examples of this test never touch."""

    def __init__(self, rotated: bool = False) -> None:
        super().__init__()
        self.rotated = rotated

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Answers:
        return [self._one(level) for level in maps.levels[0][:, 0]]

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


def test_windows_cover_the_image_and_share_a_quarter() -> None:
    pieces = pieces_of(0, example("segmentation", 0, side=320), "segmentation", 4)
    assert len(pieces) == 9 and {piece.overlap for piece in pieces} == {32}
    covered = np.zeros((320, 320), int)
    for piece in pieces:
        rows, cols = piece.window.slices()
        covered[rows, cols] += 1
        assert piece.window.row % 32 == 0 and piece.window.height == 128
    assert covered.min() == 1
    assert len(pieces_of(0, example("classification", 0, side=320), "classification", 4)) == 1
    assert len(pieces_of(0, series_example(0), "segmentation", 4)) == 9


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


def test_change_becomes_a_probability_and_two_maps() -> None:
    canvas = Canvas((4, 4), "semantic-change")
    piece = Piece(0, Window(0, 0, 4, 4), (4, 4), 0)
    changed = torch.rand(2, 4, 4).softmax(0)
    before, after = torch.rand(3, 4, 4), torch.rand(3, 4, 4)
    canvas.put(piece, {"changed": changed, "before": before, "after": after})
    found = canvas.prediction()
    assert isinstance(found, ChangeMap) and found.before_HW is not None and found.after_HW is not None
    np.testing.assert_allclose(found.changed_HW, changed[1])
    np.testing.assert_array_equal(found.before_HW, before.argmax(0))
    np.testing.assert_array_equal(found.after_HW, after.argmax(0))


def test_groups_have_one_shape_and_keep_the_order() -> None:
    shapes = [(1, 1), (2, 2), (1, 1), (1, 1), (2, 2)]
    found = list(grouped(range(5), 2, lambda number: shapes[number]))
    assert found == [[0, 2], [1, 4], [3]]
