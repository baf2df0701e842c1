"""FAIR1M: oriented boxes of 37 kinds of ships, aircraft, vehicles, courts and roads, in large images."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.imagery import Imagery
from skysense.data.labelled.objects import ObjectReader
from skysense.data.labelled.pictures import Picture, by_stem, lay_out
from skysense.data.places_layout import Split
from skysense.datasets.card import card
from skysense.datasets.layout import find_root, need_files
from skysense.datasets.xml_objects import XmlObjects, number
from skysense.errors import InputError
from skysense.sensors import OPTICAL_HR

_NAME = "fair1m"
_TEST_OF_1_0 = 8137
"""Images that the test of the first version has at most."""


def read_fair1m(source: Path, *, tile: int | None = None) -> LabelledData:
    """FAIR1M, whose folder ``validation`` is val; images of ``test`` have no labels and are left out.

    Items are called by split and number, ``train/0.tif``, whichever way the archives were unpacked.

    Args:
        source: with ``train`` and, of version 2.0, ``validation``.
        tile: side in pixels of the tiles that images are cut into, for which each is opened.
    """
    about = card(_NAME)
    root = find_root(source, ("train",), _NAME)
    parts, notes = _folders(root)
    pictures: list[Picture] = []
    files: dict[str, Path] = {}
    for folder, split in parts:
        images, labels = _images_and_labels(folder)
        stems = by_stem(images, (".tif", ".tiff"))
        if not stems:
            raise InputError("holds no image (.tif)", file=images, fix="Unpack the archive again")
        part = folder.relative_to(root).as_posix()
        need_files([labels / f"{stem}.xml" for stem in stems], f"labels of {part}", root, _NAME)
        described = [stems.get(stem, images / f"{stem}.tif") for stem in by_stem(labels, (".xml",))]
        need_files(described, f"images of labels in {part}", root, _NAME)
        for stem, file in stems.items():
            name = f"{split}/{stem}.tif"
            pictures.append(Picture(name, file, split))
            files[name] = labels / f"{stem}.xml"
    pictures.sort(key=lambda one: one.name)  # parts of train that were put together are listed in another order
    objects = XmlObjects(files, about, "objects/object", "possibleresult/name", _corners)
    objects[pictures[0].name]  # the first of them says whether they are of this data set at all
    imagery = Imagery(OPTICAL_HR, declared=True)
    items, laid, dark = lay_out(pictures, imagery, tile, placed=False)
    reader = ObjectReader(imagery, laid, objects, about.task, drop_faulty=True)
    return LabelledData(about.title, about.task, about.classes, items, reader, notes=(*notes, *dark))


def _folders(root: Path) -> tuple[list[tuple[Path, Split]], tuple[str, ...]]:
    """Folders with labels, what they are for, and which version this looks like."""
    both = [root / "train" / "part1", root / "train" / "part2"]
    in_parts = any(part.is_dir() for part in both)
    if in_parts:
        need_files(both, "parts of train", root, _NAME)
    train: list[tuple[Path, Split]] = [(part, "train") for part in (both if in_parts else [root / "train"])]
    validation = next((root / name for name in ("validation", "val") if (root / name).is_dir()), None)
    if validation is not None:
        return [*train, (validation, "val")], ()
    tests = len(by_stem(root / "test" / "images", (".tif", ".tiff")))
    if tests > _TEST_OF_1_0:
        raise InputError(
            f"is FAIR1M 2.0 ({tests:,} images in test) without its folder validation",
            file=root,
            fix="Unpack the archives of validation, too",
        )
    return train, ("no folder validation: this is FAIR1M 1.0, or a part of 2.0; nothing is left to measure on",)


def _images_and_labels(folder: Path) -> tuple[Path, Path]:
    """The two folders of a part; archives unpack into names with and without an s, or one level deeper."""
    images = _inner(folder, "images")
    labels = folder / "labelXmls"
    if not by_stem(labels, (".xml",)):
        labels = _inner(folder, "labelXml")
    return images, labels


def _inner(folder: Path, name: str) -> Path:
    """A folder of a part, which may lie in another one."""
    found = [one.relative_to(folder).as_posix() for one in sorted(folder.glob(f"[!.]*/{name}"))]
    if len(found) > 1 and not (folder / name).exists():
        raise InputError(f"holds several folders {name}: {', '.join(found)}", file=folder, fix="Put them into one")
    return find_root(folder, (name,), _NAME) / name


def _corners(one: Element) -> list[tuple[float, float]]:
    """x, y of four corners: most outlines are closed, so that a fifth repeats one of them."""
    unit = one.findtext("coordinate", "pixel").strip()
    if unit != "pixel":
        raise ValueError(f"its coordinates are in {unit!r} and not in pixels")
    points = [_point(point.text or "") for point in one.findall("points/point")]
    corners = list(dict.fromkeys(points))
    if not 4 <= len(points) <= 5 or len(corners) > 4:
        raise ValueError(f"it has {len(points)} points, {len(corners)} of which differ; it should have four corners")
    return corners + corners[-1:] * (4 - len(corners))


def _point(text: str) -> tuple[float, float]:
    x, comma, y = text.partition(",")
    if not comma:
        raise ValueError(f"its point {text.strip()!r} is not 'x,y'")
    return number(x, "x of a point"), number(y, "y of a point")
