"""A tiny FAIR1M, 1.0 or 2.0: folders are splits, numbers begin again in each, boxes are closed polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from tests.data.labelled.files import write as save
from tests.datasets.fakes import drawing
from tests.datasets.truth import Truth

CLASSES = (
    "Passenger Ship", "Motorboat", "Fishing Boat", "Tugboat", "other-ship", "Engineering Ship", "Liquid Cargo Ship",
    "Dry Cargo Ship", "Warship",
    "Small Car", "Bus", "Cargo Truck", "Dump Truck", "other-vehicle", "Van", "Trailer", "Tractor", "Excavator",
    "Truck Tractor",
    "Boeing737", "Boeing747", "Boeing777", "Boeing787", "ARJ21", "C919", "A220", "A321", "A330", "A350",
    "other-airplane",
    "Baseball Field", "Basketball Court", "Football Field", "Tennis Court",
    "Roundabout", "Intersection", "Bridge",
)  # fmt: skip
PART2 = 1732  # train goes through both parts in one range of numbers


def write(
    root: Path, *, version: Literal["1.0", "2.0"] = "2.0", seed: int = 0, part1: int = 3, part2: int = 2,
    validation: int = 2, test: int = 2, size: int = 120, objects: int = 10, label_folder: str = "labelXml",
    faults: bool = False,
) -> Truth:  # fmt: skip
    """Write images (TIFF) of different sizes and their labels; those of test have none.

    Truth: keys are paths of images; labels are lists of (class, corners (4, 2), False), also those that ``faults``
    spoils. The last image of each part has no objects, where it has another one.

    Args:
        root: folder that then holds ``train``, ``test`` and, of 2.0, ``validation``.
        version: 1.0 is train and test alone; train is the same in both.
        seed: of everything random.
        part1: images of train that are numbered from 0.
        part2: images of train that are numbered from 1732.
        validation: images, of 2.0 only, numbered from 0 again.
        test: images, numbered from 0 again. In the original 8,137 of 1.0 and 18,021 of 2.0.
        size: height in pixels, the width is that or four thirds of it; 600 to 10,000 in the original.
        objects: in each image that has some; classes take turns through the whole set.
        label_folder: below each part; ``labelXmls/labelXml`` where an archive was unpacked into a folder of its
            name.
        faults: as in the original, the first image has an object whose corners all coincide.
    """
    truth = Truth(CLASSES)
    parts = {"train/part1": (0, part1), "train/part2": (PART2, part2), "validation": (0, validation), "test": (0, test)}
    turn = 0
    for place, (part, (first, count)) in enumerate(parts.items()):
        if part == "validation" and version == "1.0":
            continue
        (root / part / "images").mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            rng = np.random.default_rng([seed, place, number])  # train is the same in both versions
            height, width = size, size * 4 // 3 if number % 2 else size
            empty = count > 1 and number == first + count - 1
            picture = drawing.smooth(rng, 3, height, width)
            boxes: list[tuple[str, NDArray, bool]] = []
            for corners in drawing.scattered(rng, 0 if empty else objects, height, width, turned=True):
                drawing.paint(picture, corners, rng.integers(30, 225, 3))
                boxes.append((CLASSES[turn % len(CLASSES)], _as_written(rng, corners), False))
                turn += 1
            if faults and place == 0 and number == 0 and boxes:
                boxes[0] = (boxes[0][0], np.repeat(boxes[0][1][:1], 4, axis=0), False)
            key = f"{part}/images/{number}.tif"
            # Some carry a place on the ground and some do not; how they are compressed is not described.
            ground = {"crs": "EPSG:4326", "transform": Affine(6e-6, 0, 116.5, 0, -6e-6, 40.0)} if number % 2 else {}
            save(root / key, picture, **ground)
            truth.pixels[key], truth.splits[key] = picture, part.split("/")[0]
            if part != "test":
                path = root / part / label_folder / f"{number}.xml"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_label(number, height, width, boxes), "utf-8")
                truth.labels[key] = boxes
    return truth


def _as_written(rng: np.random.Generator, corners: NDArray) -> NDArray:
    """The same box from any corner in either direction: no order is promised."""
    corners = np.roll(corners, rng.integers(4), axis=0)
    return corners[::-1].copy() if rng.integers(2) else corners


def _label(number: int, height: int, width: int, boxes: list[tuple[str, NDArray, bool]]) -> str:
    # That "research" stands in the labels of train as it does in those that are handed in is likely, not verified.
    research = {
        "version": "1.0", "provider": "FAIR1M", "author": "Cyber", "pluginname": "FAIR1M",
        "pluginclass": "object detection", "time": "2021-03-21",
    }  # fmt: skip
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<annotation>",
        f"\t<source>\n\t\t<filename>{number}.tif</filename>\n\t\t<origin>GF2/GF3</origin>\n\t</source>",
        *("\t<research>", *(f"\t\t<{tag}>{text}</{tag}>" for tag, text in research.items()), "\t</research>"),
        f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>",
        "\t<objects>",
    ]
    for name, corners, _ in boxes:
        lines += ["\t\t<object>", "\t\t\t<coordinate>pixel</coordinate>", "\t\t\t<type>rectangle</type>"]
        lines += ["\t\t\t<description>None</description>"]
        lines += [f"\t\t\t<possibleresult>\n\t\t\t\t<name>{name}</name>\n\t\t\t</possibleresult>", "\t\t\t<points>"]
        lines += [f"\t\t\t\t<point>{x:.6f},{y:.6f}</point>" for x, y in [*corners, corners[0]]]
        lines += ["\t\t\t</points>", "\t\t</object>"]
    return "\n".join([*lines, "\t</objects>", "</annotation>"]) + "\n"
