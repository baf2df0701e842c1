"""Both detectors learn eight tiles of real buildings by heart, with the tiny encoder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning
from torch import Tensor
from torchvision.ops import box_iou

from skysense.tasks.detection.boxes import Truth
from skysense.tasks.detection.config import FasterRcnnConfig, OrientedRcnnConfig
from skysense.tasks.detection.faster_rcnn import FasterRcnn
from skysense.tasks.detection.oriented_rcnn import OrientedRcnn
from skysense.tasks.rotated.boxes import smallest_rectangles
from skysense.tasks.rotated.iou import rotated_iou
from tests.tasks.detection.scenes import WIDTHS, average_precision, fit, tiny_swin

TILES = 8
SIDE = 256
STEPS = 150
RATE = 3e-3
SMALL = {
    "channels": 32,
    "hidden": 64,
    "proposals_per_level": 500,
    "proposals": 200,
    "anchors_sampled": 128,
    "head_sampled": 128,
}


@pytest.mark.long
def test_faster_rcnn_learns_eight_tiles(kit: Path):
    images, rows = _tiles(kit / "buildings" / "aoi1_zanzibar")
    truths = []
    for mine in rows:
        boxes_N4 = torch.tensor([one["bbox"] for one in mine])
        boxes_N4[:, 2:] += boxes_N4[:, :2]
        # As in the oriented labels, what is cut off to a sliver at the rim of a tile is not asked for.
        ignore_N = torch.tensor([one["visible_fraction"] < 0.3 for one in mine])
        truths.append(Truth(boxes_N4, torch.zeros(len(boxes_N4), dtype=torch.long), ignore_N))
    torch.manual_seed(0)
    detector = FasterRcnn(WIDTHS, 1, config=FasterRcnnConfig(**SMALL))
    assert _precision(detector, images, truths, box_iou) >= 0.9


@pytest.mark.long
def test_oriented_rcnn_learns_eight_tiles(kit: Path):
    folder = kit / "buildings" / "aoi1_zanzibar"
    images, rows = _tiles(folder)
    truths = []
    for mine in rows:
        name = Path(mine[0]["image"]).stem
        lines = [line.split() for line in (folder / "labels_obb" / f"{name}.txt").read_text().splitlines()]
        quads_N42 = torch.tensor([[float(one) for one in line[:8]] for line in lines]).view(-1, 4, 2)
        ignore_N = torch.tensor([line[9] == "1" for line in lines])
        truths.append(Truth(smallest_rectangles(quads_N42), torch.zeros(len(lines), dtype=torch.long), ignore_N))
    torch.manual_seed(0)
    detector = OrientedRcnn(WIDTHS, 1, config=OrientedRcnnConfig(**SMALL))
    assert _precision(detector, images, truths, rotated_iou) >= 0.9


def _tiles(folder: Path) -> tuple[Tensor, list[list[dict]]]:
    """The tiles with the most buildings, roughly normalised, and their annotations."""
    content = json.loads((folder / "annotations.json").read_text())
    rows = []
    for image in content["images"]:
        mine = [one | {"image": image["file_name"]} for one in content["annotations"] if one["image_id"] == image["id"]]
        rows.append(mine)
    rows = sorted(rows, key=len, reverse=True)[:TILES]
    images = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for mine in rows:
            with rasterio.open(folder / mine[0]["image"]) as file:
                images.append(torch.from_numpy(file.read([1, 2, 3])))
    return (torch.stack(images).float() - 120) / 60, rows


def _precision(detector, images: Tensor, truths: list[Truth], overlap) -> float:
    encoder = tiny_swin()
    history = fit(encoder, detector, images, truths, STEPS, RATE)
    assert max(history[STEPS // 2 :]) < history[0]
    with torch.no_grad():
        found = detector.eval()(encoder.eval()(images), [(SIDE, SIDE)] * len(images))
    value = average_precision(found, truths, overlap, 1)
    return value
