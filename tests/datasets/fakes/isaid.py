"""A tiny iSAID: whole images with masks of classes and of instances and their lists; or patches with classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from tests.data.labelled.files import write as save
from tests.datasets.fakes import drawing
from tests.datasets.truth import Truth

COLOURS = {
    "unlabeled": (0, 0, 0), "ship": (0, 0, 63), "storage_tank": (0, 63, 63), "baseball_diamond": (0, 63, 0),
    "tennis_court": (0, 63, 127), "basketball_court": (0, 63, 191), "Ground_Track_Field": (0, 63, 255),
    "Bridge": (0, 127, 63), "Large_Vehicle": (0, 127, 127), "Small_Vehicle": (0, 0, 127), "Helicopter": (0, 0, 191),
    "Swimming_pool": (0, 0, 255), "Roundabout": (0, 191, 127), "Soccer_ball_field": (0, 127, 191),
    "plane": (0, 127, 255), "Harbor": (0, 100, 155),
}  # fmt: skip
CLASSES = tuple(COLOURS)
# The lists of instances number the classes otherwise, each split in its own way. That of val was seen in part only:
# from "Harbor" on the order is a guess.
NUMBERED = {
    "train": ("storage_tank", "Large_Vehicle", "Small_Vehicle", "plane", "ship", "Swimming_pool", "Harbor",
              "tennis_court", "Ground_Track_Field", "Soccer_ball_field", "baseball_diamond", "Bridge",
              "basketball_court", "Roundabout", "Helicopter"),
    "val": ("Small_Vehicle", "Large_Vehicle", "plane", "storage_tank", "ship", "Swimming_pool", "Harbor",
            "tennis_court", "Ground_Track_Field", "Soccer_ball_field", "baseball_diamond", "Bridge",
            "basketball_court", "Roundabout", "Helicopter"),
}  # fmt: skip
DATED = {"train": "iSAID_train_20190823_114751.json", "val": "iSAID_val_20190823_114742.json"}
# Who is where goes through the numbers without order: P0000 and P0002 train, P0003 val, P0006 test.
_TURNS = ("train", "train", "train", "val", "val", "train", "test")
_SEMANTIC, _INSTANCE = "_instance_color_RGB.png", "_instance_id_RGB.png"


@dataclass
class _Image:
    split: str
    name: str
    pixels: NDArray
    classes: NDArray  # (H, W), index into CLASSES
    numbers: NDArray  # (H, W), of the instance, 0: none
    objects: list[dict[str, Any]] = field(default_factory=list)  # name, number, parts: boxes x0, y0, x1, y1


def write(
    root: Path, *, seed: int = 0, train: int = 3, val: int = 2, test: int = 1, size: int = 160, objects: int = 8,
    merged: bool = True, odd_bands: bool = False,
) -> Truth:  # fmt: skip
    """Write whole images of different sizes with everything that is published about them.

    Truth: keys are paths of images; labels of an image are indexes into the classes (none in test); under the path of a
    mask of instances lie its numbers ``(H, W)``; under that of a list, what it says: for each file name (class, box
    x, y, w, h, pixels).

    Args:
        root: folder that then holds ``train``, ``val`` and ``test``.
        seed: of everything random.
        train: images.
        val: images.
        test: images, without labels.
        size: about the side in pixels; 800 to 13,000 in the original.
        objects: in each image; classes take turns through the whole set.
        merged: masks beside the images, as tools want them; else as the archives unpack, each in its folder.
        odd_bands: one image of train has a fourth band (opaque), one of val has one band only.
    """
    truth = Truth(CLASSES)
    lists: dict[str, list[_Image]] = {"train": [], "val": []}
    folders = dict.fromkeys(("images", "semantic", "instance"), "images")
    if not merged:
        folders = {"images": "images/images", "semantic": "Semantic_masks/images", "instance": "Instance_masks/images"}
    for image in _images(seed, {"train": train, "val": val, "test": test}, size, objects, odd_bands=odd_bands):
        place = {kind: f"{image.split}/{folder}/{image.name}" for kind, folder in folders.items()}
        key = f"{place['images']}.png"
        save(root / key, image.pixels)
        truth.pixels[key], truth.splits[key] = image.pixels, image.split
        if image.split == "test":  # a test_info.json comes with these; what it says is not described
            continue
        semantic, instance = place["semantic"] + _SEMANTIC, place["instance"] + _INSTANCE
        save(root / semantic, np.moveaxis(np.array(list(COLOURS.values()), np.uint8)[image.classes], -1, 0))
        save(root / instance, np.stack([image.numbers >> shift & 255 for shift in (0, 8, 16)]).astype(np.uint8))
        truth.labels[key], truth.labels[instance] = image.classes, image.numbers
        lists[image.split].append(image)
    for split, images in lists.items():
        # Descriptions disagree which of the two lacks the sizes; most lately it was the one without a date.
        for file, sized in ((f"iSAID_{split}.json", False), (DATED[split], True)):
            path = f"{split}/Annotations/{file}"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            said = _list(images, NUMBERED[split], sized=sized)
            (root / path).write_text(json.dumps(said), "utf-8")
            truth.labels[path] = _said(images)
    return truth


def write_patches(
    root: Path, *, seed: int = 0, train: int = 3, val: int = 2, test: int = 1, size: int = 160, objects: int = 8,
    patch: int = 56, bmp: bool = False, collapsed: bool = False,
) -> Truth:  # fmt: skip
    """Write the patches of the semantic masks, cut from the images of `write` with the same seed.

    Windows begin every ``patch * 4 / 7`` pixels (every 512 for 896); the last ones slide back to the border; what is
    smaller than a patch is padded at the right and the bottom, pixels with 0 and labels with 255.

    Truth: keys are paths of patches; labels are indexes into the classes, 255 padding. Images of test are whole and
    have no labels.

    Args:
        root: folder that then holds ``img_dir`` and ``ann_dir``.
        seed: of everything random.
        train: images that are cut.
        val: images that are cut.
        test: images.
        size: about their side in pixels.
        objects: in each of them.
        patch: side of a patch in pixels, a multiple of 7; 896 in the original.
        bmp: images are BMP under names that end in ``.png``, as some releases of the converter wrote them.
        collapsed: labels have become 0 and 1 in files of one bit, as newer libraries of images spoil them (truth has
            them unspoilt).
    """
    truth = Truth(CLASSES)
    step = patch * 4 // 7
    (root / "ann_dir/test").mkdir(parents=True)
    for image in _images(seed, {"train": train, "val": val, "test": test}, size, objects, odd_bands=False):
        if image.split == "test":
            key = f"img_dir/test/{image.name}.png"
            save(root / key, image.pixels)
            truth.pixels[key], truth.splits[key] = image.pixels, "test"
            continue
        missing = [(0, max(patch - side, 0)) for side in image.classes.shape]
        pixels = np.pad(image.pixels, [(0, 0), *missing])
        classes = np.pad(image.classes, missing, constant_values=255)
        height, width = classes.shape
        for y in _starts(height, patch, step):
            for x in _starts(width, patch, step):
                name = f"{image.name}_{y}_{y + patch}_{x}_{x + patch}"
                key = f"img_dir/{image.split}/{name}.png"
                cut = (..., slice(y, y + patch), slice(x, x + patch))
                _write_as(root / key, pixels[cut], "BMP" if bmp else "PNG")
                label = root / f"ann_dir/{image.split}/{name}{_SEMANTIC}"
                _write_label(label, classes[cut], bits=1 if collapsed else 8)
                truth.pixels[key], truth.labels[key], truth.splits[key] = pixels[cut], classes[cut], image.split
    return truth


def _images(seed: int, counts: dict[str, int], size: int, objects: int, *, odd_bands: bool) -> Iterator[_Image]:
    left = dict(counts)
    number = turn = 0
    while any(left.values()):
        split = _TURNS[number % len(_TURNS)]
        if left[split]:
            first = left[split] == counts[split]
            left[split] -= 1
            rng = np.random.default_rng([seed, number])
            # One in three has a side that is smaller than a patch of the size that stands by default.
            height, width = (size // 4, size * 5 // 4) if number % 3 == 2 else (size, size * 7 // 8)
            image = _Image(
                split, f"P{number:04d}", drawing.smooth(rng, 3, height, width),
                np.zeros((height, width), np.uint8), np.zeros((height, width), np.int32),
            )  # fmt: skip
            _fill(image, rng, objects, turn)
            turn += objects
            if odd_bands and first and split == "train":
                image.pixels = np.concatenate([image.pixels, np.full((1, height, width), 255, np.uint8)])
            if odd_bands and first and split == "val":
                image.pixels = image.pixels[:1]
            yield image
        number += 1


def _fill(image: _Image, rng: np.random.Generator, objects: int, turn: int) -> None:
    height, width = image.classes.shape
    numbers = np.cumsum(rng.integers(1, 400_000, objects)) + 1000  # below 1000 is left out by the published tool
    for index, corners in enumerate(drawing.scattered(rng, objects, height, width, turned=False)):
        (x0, y0), (x1, y1) = corners[0].astype(int), corners[2].astype(int)
        parts = [(x0, y0, x1, y1)]
        if index == 0 and x1 - x0 >= 5:  # something passes above it: one instance in two parts
            middle = (x0 + x1) // 2
            parts = [(x0, y0, middle - 1, y1), (middle + 1, y0, x1, y1)]
        name = CLASSES[1 + (turn + index) % (len(CLASSES) - 1)]
        colour = rng.integers(30, 225, 3)
        for x, y, right, bottom in parts:
            image.pixels[:, y:bottom, x:right] = colour[:, None, None]
            image.classes[y:bottom, x:right] = CLASSES.index(name)
            image.numbers[y:bottom, x:right] = numbers[index]
        image.objects.append({"name": name, "number": int(numbers[index]), "parts": parts})


def _starts(length: int, patch: int, step: int) -> list[int]:
    starts = [min(start, length - patch) for start in range(0, length, step)]
    return sorted(set(starts))


def _list(images: list[_Image], numbered: tuple[str, ...], *, sized: bool) -> dict[str, Any]:
    """In the form of COCO, without ``info``, ``licenses`` and ``supercategory``; images are counted from 0."""
    records, annotations = [], []
    for index, image in enumerate(images):
        size = {"width": image.classes.shape[1], "height": image.classes.shape[0]} if sized else {}
        names = {"ins_file_name": image.name + _INSTANCE, "seg_file_name": image.name + _SEMANTIC}
        records.append({"id": index, **size, "file_name": f"{image.name}.png", **names})
        for thing, (name, box, area) in zip(image.objects, _said([image])[f"{image.name}.png"], strict=True):
            outlines = [_outline(*part) for part in thing["parts"]]
            annotations.append({
                "id": len(annotations) + 1, "image_id": index, "segmentation": outlines,
                "category_id": numbered.index(name) + 1, "category_name": name, "iscrowd": 0, "area": area,
                "bbox": list(box),
            })  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(numbered, start=1)]
    return {"images": records, "categories": categories, "annotations": annotations}


def _said(images: list[_Image]) -> dict[str, list[tuple[str, tuple[int, int, int, int], int]]]:
    said: dict[str, list[tuple[str, tuple[int, int, int, int], int]]] = {}
    for image in images:
        said[f"{image.name}.png"] = []
        for thing in image.objects:
            ys, xs = np.nonzero(image.numbers == thing["number"])
            box = (int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1)
            said[f"{image.name}.png"].append((thing["name"], box, len(xs)))
    return said


def _outline(x0: int, y0: int, x1: int, y1: int) -> list[float]:
    """Every pixel along the border of a box, x and y in turn: down, right, up, left."""
    points = [(x0, y) for y in range(y0, y1)] + [(x, y1 - 1) for x in range(x0 + 1, x1)]
    points += [(x1 - 1, y) for y in range(y1 - 2, y0 - 1, -1)] + [(x, y0) for x in range(x1 - 2, x0, -1)]
    return [float(value) for point in points for value in point]


def _write_as(path: Path, pixels: NDArray, driver: str) -> None:
    """Write what the name does not say."""
    _, height, width = pixels.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver=driver, count=3, height=height, width=width, dtype=np.uint8) as file:
        file.write(pixels)


def _write_label(path: Path, label: NDArray, bits: int) -> None:
    """One band of numbers with a palette, as the converter leaves it; of ``bits`` = 1 only "zero or not" remains."""
    values = label if bits == 8 else (label > 0).astype(np.uint8)
    height, width = label.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "PNG", "count": 1, "height": height, "width": width, "dtype": np.uint8}
    with rasterio.open(path, "w", **profile, **({"nbits": bits} if bits < 8 else {})) as file:
        file.write(values, 1)
        file.write_colormap(1, {grey: (grey, grey, grey, 255) for grey in range(2**bits)})
