"""DIOR and DIOR-R: the same images and lists; one has horizontal, the other oriented boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.imagery import Imagery
from skysense.data.labelled.objects import ObjectReader
from skysense.data.labelled.pictures import Picture, lay_out
from skysense.data.places_layout import Split
from skysense.datasets.card import Card, card
from skysense.datasets.layout import find_root, need_files, read_list
from skysense.datasets.xml_objects import XmlObjects, number
from skysense.errors import InputError
from skysense.sensors import OPTICAL_HR

_LISTS = "ImageSets/Main"
_HORIZONTAL, _ORIENTED = "Annotations/Horizontal Bounding Boxes", "Annotations/Oriented Bounding Boxes"
_LAST_OF_TRAIN = "05862"
_CORNERS = ("left_top", "right_top", "right_bottom", "left_bottom")


def read_dior(source: Path, *, tile: int | None = None) -> LabelledData:
    """DIOR, of the download with both kinds of boxes or of the older one; ``tile`` cuts the images, in pixels."""
    return _read(source, card("dior"), _HORIZONTAL, _upright, tile)


def read_dior_r(source: Path, *, tile: int | None = None) -> LabelledData:
    """DIOR-R; ``tile`` cuts the images, in pixels."""
    return _read(source, card("dior-r"), _ORIENTED, _turned, tile)


def _read(
    source: Path, about: Card, boxes: str, corners: Callable[[Element], Sequence[float]], tile: int | None
) -> LabelledData:
    if (source / "sample_df.csv").is_file() and not (source / _LISTS).is_dir():
        raise InputError(
            "is the copy of DIOR on Hugging Face, whose test images have no labels",
            file=source,
            fix=f"Get the official archives; see skysense datasets show {about.name}",
        )
    root = find_root(source, (_LISTS, "Annotations"), about.name)
    old = (root / "JPEGImages").is_dir() and not (root / "JPEGImages-trainval").is_dir()
    if old and about.name == "dior-r":
        raise InputError(
            "is the older download of DIOR, which has horizontal boxes only",
            file=root,
            fix="Get the archive Annotations.zip of the newer one; see skysense datasets show dior-r",
        )
    annotations = root / ("Annotations" if old else boxes)
    need_files([annotations], "folders of boxes", root, about.name)
    pictures, files, notes = [], {}, []
    for split, stem in _splits(root / _LISTS, old):
        folder = "JPEGImages" if old else "JPEGImages-test" if split == "test" else "JPEGImages-trainval"
        name = f"{stem}.jpg"  # of the number alone, which is unique: the same in both downloads
        pictures.append(Picture(name, root / folder / name, split))
        files[name] = annotations / f"{stem}.xml"
    need_files([one.file for one in pictures], "images", root, about.name)
    need_files(list(files.values()), "annotations", root, about.name)
    objects = XmlObjects(files, about, "object", "name", corners)
    objects[pictures[0].name]  # the first of them says whether they are of this data set at all
    imagery = Imagery(OPTICAL_HR, declared=True)
    items, parts, dark = lay_out(pictures, imagery, tile)
    if old:
        notes.append("the older download, which lists train and val as one: divided as the newer one does")
    reader = ObjectReader(imagery, parts, objects, about.task, drop_faulty=True)
    return LabelledData(about.title, about.task, about.classes, items, reader, notes=(*notes, *dark))


def _splits(folder: Path, old: bool) -> list[tuple[Split, str]]:
    """Splits and stems of the images as the lists have them."""
    if old and not (folder / "train.txt").exists():
        both = read_list(folder / "trainval.txt")
        listed: dict[Split, list[str]] = {
            "train": [stem for stem in both if stem <= _LAST_OF_TRAIN],
            "val": [stem for stem in both if stem > _LAST_OF_TRAIN],
        }
    else:
        listed = {"train": read_list(folder / "train.txt"), "val": read_list(folder / "val.txt")}
    listed["test"] = read_list(folder / "test.txt")
    for split, stems in listed.items():
        if not stems:
            raise InputError(f"names no image for {split}", file=folder / f"{split}.txt", fix="Get it again")
    return [(split, stem) for split, stems in listed.items() for stem in stems]


def _upright(one: Element) -> list[float]:
    """x1, y1, x2, y2 of an object; a few are given by four corners instead."""
    box = one.find("bndbox")
    if box is None and one.find("robndbox") is not None:
        corners = _turned(one)
        return [min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2])]
    if box is None:
        raise ValueError("it has no <bndbox>")
    return [number(box.findtext(tag), f"<{tag}>") for tag in ("xmin", "ymin", "xmax", "ymax")]


def _turned(one: Element) -> list[float]:
    """x, y of the four corners of an object; a few are given by a horizontal box instead."""
    box = one.find("robndbox")
    if box is None and one.find("bndbox") is not None:
        x1, y1, x2, y2 = _upright(one)
        return [x1, y1, x2, y1, x2, y2, x1, y2]
    if box is None:
        raise ValueError("it has no <robndbox>")
    return [number(box.findtext(f"{axis}_{at}"), f"<{axis}_{at}>") for at in _CORNERS for axis in ("x", "y")]
