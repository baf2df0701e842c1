"""A tiny DIOR and DIOR-R: the same images and lists, horizontal and oriented boxes beside one another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.data.labelled.files import write as save
from tests.datasets.fakes import drawing
from tests.datasets.truth import Truth

CLASSES = (
    "airplane", "airport", "baseballfield", "basketballcourt", "bridge", "chimney", "dam", "Expressway-Service-area",
    "Expressway-toll-station", "golffield", "groundtrackfield", "harbor", "overpass", "ship", "stadium", "storagetank",
    "tenniscourt", "trainstation", "vehicle", "windmill",
)  # fmt: skip
FIRST = {"train": 1, "val": 5863, "test": 11726}  # one range of numbers over all splits
HORIZONTAL, ORIENTED = "Annotations/Horizontal Bounding Boxes", "Annotations/Oriented Bounding Boxes"
Box = tuple[str, NDArray, bool]


def write(
    root: Path, *, seed: int = 0, train: int = 3, val: int = 2, test: int = 2, size: int = 160, objects: int = 8,
    old: bool = False, trainval_list: bool = False, faults: bool = False,
) -> Truth:  # fmt: skip
    """Write images (JPEG, ``size`` x ``size``) with both kinds of boxes.

    Truth: keys are paths of images; labels of an image are the horizontal boxes; under the path of an annotation file
    lies what that file says. Boxes are (class, corners (4, 2), difficult), also those that ``faults`` spoils.

    Args:
        root: folder that then holds ``ImageSets``.
        seed: of everything random.
        train: images.
        val: images.
        test: images.
        size: side in pixels; 800 in the original.
        objects: in each image; classes take turns through the whole set.
        old: the older download, without oriented boxes: one folder of images, flat annotations, ``trainval`` list.
        trainval_list: whether ``trainval.txt`` is there as well (descriptions disagree; most likely it is not).
        faults: as in the original, the last training image is a pixel wider than its XML says; of its oriented objects
            one leaves the image, one has no area and one is given by ``bndbox``.
    """
    rng = np.random.default_rng(seed)
    truth = Truth(CLASSES)
    turn = 0
    for split, count in {"train": train, "val": val, "test": test}.items():
        for number in range(FIRST[split], FIRST[split] + count):
            stem = f"{number:05d}"
            folder = "JPEGImages" if old else "JPEGImages-test" if split == "test" else "JPEGImages-trainval"
            image = f"{folder}/{stem}.jpg"
            spoiled = faults and number == train
            picture = drawing.smooth(rng, 3, size, size + spoiled)
            boxes: list[Box] = []
            for corners in drawing.scattered(rng, objects, size, size, turned=True):
                corners = corners if turn % 3 else drawing.around(corners)  # some stand upright, as in the original
                boxes.append((CLASSES[turn % len(CLASSES)], corners, bool(turn % 4 == 3)))
                drawing.paint(picture, corners, rng.integers(30, 225, 3))
                turn += 1
            upright = [(name, drawing.around(corners), False) for name, corners, _ in boxes]  # its XML knows no others
            if spoiled and objects >= 3:
                boxes[0] = (boxes[0][0], boxes[0][1] + (-size // 2, 0), boxes[0][2])
                boxes[1] = (boxes[1][0], np.repeat(boxes[1][1][:1], 4, axis=0), boxes[1][2])
                boxes[2] = (boxes[2][0], drawing.around(boxes[2][1]), boxes[2][2])
            truth.pixels[image] = drawing.decoded(save(root / image, picture, quality=95))
            truth.splits[image] = "trainval" if old and split != "test" else split
            truth.labels[image] = upright
            flat = "Annotations" if old else HORIZONTAL
            _text(truth, root, f"{flat}/{stem}.xml", upright, _horizontal(stem, size, upright))
            if not old:
                form = _oriented(stem, size, boxes, upright_at=2 if spoiled else None)
                _text(truth, root, f"{ORIENTED}/{stem}.xml", boxes, form)
    _lists(truth, root, old=old, trainval=trainval_list and not old)
    return truth


def _text(truth: Truth, root: Path, path: str, boxes: Any, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, "utf-8")
    truth.labels[path] = boxes


def _lists(truth: Truth, root: Path, *, old: bool, trainval: bool) -> None:
    folder = root / "ImageSets/Main"
    folder.mkdir(parents=True)
    stems: dict[str, list[str]] = {split: [] for split in (("trainval", "test") if old else FIRST)}
    for image, split in truth.splits.items():
        stems[split].append(Path(image).stem)
    if trainval:
        stems["trainval"] = stems["train"] + stems["val"]
    for split in stems:
        (folder / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems[split]), "utf-8")


def _horizontal(stem: str, size: int, boxes: list[Box]) -> str:
    """DIOR: indented with tabs, no declaration, no ``difficult``."""
    lines = [
        "<annotation>",
        f"\t<filename>{stem}.jpg</filename>",
        "\t<source>\n\t\t<database>DIOR</database>\n\t</source>",
        f"\t<size>\n\t\t<width>{size}</width>\n\t\t<height>{size}</height>\n\t\t<depth>3</depth>\n\t</size>",
        "\t<segmented>0</segmented>",
    ]
    for name, corners, _ in boxes:
        lines += ["\t<object>", f"\t\t<name>{name}</name>", "\t\t<pose>Unspecified</pose>"]
        lines += [_bndbox(corners, "\t"), "\t</object>"]
    return "\n".join([*lines, "</annotation>"]) + "\n"


def _bndbox(corners: NDArray, indent: str) -> str:
    values = zip(("xmin", "ymin", "xmax", "ymax"), (*corners[0], *corners[2]), strict=True)
    inner = [f"{indent * 3}<{tag}>{value:.0f}</{tag}>" for tag, value in values]
    return "\n".join([f"{indent * 2}<bndbox>", *inner, f"{indent * 2}</bndbox>"])


def _oriented(stem: str, size: int, boxes: list[Box], *, upright_at: int | None) -> str:
    """DIOR-R: indented with blanks, corners by name; ``upright_at`` is given as ``bndbox`` all the same."""
    place = "/JPEGImages-trainval.zip/JPEGImages-trainval/JPEGImages-trainval"
    size_lines = [f"        <{tag}>{v}</{tag}>" for tag, v in (("width", size), ("height", size), ("depth", 3))]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<annotation>",
        f"    <folder>{place}</folder>",
        f"    <filename>{stem}.jpg</filename>",
        f"    <path>{place}</path>",
        "    <source>\n        <database>Unknown</database>\n    </source>",
        *("    <size>", *size_lines, "    </size>"),
        "    <segmented>0</segmented>",
    ]
    for index, (name, corners, difficult) in enumerate(boxes):
        lines += ["    <object>", f"        <type>{'bndbox' if index == upright_at else 'robndbox'}</type>"]
        lines += [f"        <name>{name}</name>", "        <pose>Unspecified</pose>"]
        lines += ["        <truncated>0</truncated>", f"        <difficult>{difficult:d}</difficult>"]
        if index == upright_at:
            lines.append(_bndbox(corners, "    "))
        else:
            tags = ("left_top", "right_top", "right_bottom", "left_bottom")
            lines.append("        <robndbox>")
            for tag, (x, y) in zip(tags, corners, strict=True):
                lines += [f"            <x_{tag}>{x:.0f}</x_{tag}>", f"            <y_{tag}>{y:.0f}</y_{tag}>"]
            lines.append("        </robndbox>")
        # The unit of this angle is not documented and nobody reads it: degrees here.
        run = corners[1] - corners[0]
        lines += [f"        <angle>{math.degrees(math.atan2(run[1], run[0])):.0f}</angle>", "    </object>"]
    return "\n".join([*lines, "</annotation>"]) + "\n"
