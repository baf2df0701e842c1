"""ISPRS Potsdam: aerial orthophotos of a town with six classes as colours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

from rasterio.crs import CRS

from skysense.data.labelled.colours import MaskColours
from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.head import read_head
from skysense.data.labelled.imagery import Imagery
from skysense.data.labelled.masks import MaskReader
from skysense.data.labelled.pictures import Picture, lay_out
from skysense.data.places_layout import Split
from skysense.datasets.card import card
from skysense.datasets.layout import images_below, need_files, see, there
from skysense.errors import InputError
from skysense.geo import Window
from skysense.sensors import OPTICAL_HR

TILE = 512
"""Side of the windows that the field cuts the images into."""


def _block(rows: Iterable[int], cols: Iterable[int]) -> set[str]:
    return {f"{row}_{col}" for row, col in product(rows, cols)}


TRAIN = frozenset(_block((2, 3, 4, 5), (10, 11, 12)) | _block((6, 7), range(7, 13)))
"""Images, by row and column, whose labels were given to those who took part in the contest."""
TEST = frozenset(_block((2, 3), (13, 14)) | _block((4, 5, 6), (13, 14, 15)) | {"7_13"})
"""Images that the contest was judged on."""
_IMAGE = re.compile(r"top_potsdam_(\d+_\d+)_RGB")
_LABEL = re.compile(r"top_potsdam_(\d+_\d+)_label_noBoundary")
_BORDER = (0, 0, 0)
_HALF = 127  # some labels went through a lossy format: colours near those of the classes, none near the middle
_CRS = CRS.from_epsg(32633)


def read_potsdam(source: Path, *, tile: int = TILE) -> LabelledData:
    """ISPRS Potsdam; the labels without boundaries of objects, which are those that papers judge.

    Args:
        source: the folder of the archives, each unpacked into its own folder or all into one.
        tile: side in pixels of the windows that images are read in, side by side; the last of a row or column are
            smaller, so that every pixel counts once.

    Raises:
        InputError: no copy, or one of which images or labels are missing.
    """
    about = card("potsdam")
    if not source.is_dir():
        raise InputError("is not a folder", file=source, fix=see(about.name))
    files = images_below(source, 3)
    images, labels = _numbered(files, _IMAGE), _numbered(files, _LABEL)
    if not images:
        raise _no_image(source, files)
    numbers = sorted({*images, *labels})
    foreign = [number for number in numbers if number not in TRAIN | TEST]
    if foreign:
        raise InputError(f"holds {', '.join(foreign[:3])}, which is no image of {about.title}", file=source)
    folders = source / "2_Ortho_RGB", source / "5_Labels_all_noBoundary"
    missing = [folders[0] / f"top_potsdam_{number}_RGB.tif" for number in numbers if number not in images]
    need_files([*images.values(), *missing], "images in red, green and blue", source, about.name)
    missing = [folders[1] / f"top_potsdam_{number}_label_noBoundary.tif" for number in numbers if number not in labels]
    need_files([*labels.values(), *missing], "labels without boundaries", source, about.name)
    pictures = [_picture(number, images[number]) for number in numbers]
    masks = {picture.name: labels[number] for number, picture in zip(numbers, pictures, strict=True)}
    imagery = Imagery(OPTICAL_HR, declared=True)
    items, parts, notes = lay_out(pictures, imagery, tile)
    colours = MaskColours(tuple(map(tuple, about.values)), (_BORDER,), _HALF)
    reader = MaskReader(imagery, parts, masks, colours)
    return LabelledData(about.title, about.task, about.classes, items, reader, notes=notes)


def _numbered(files: Mapping[str, Path], pattern: re.Pattern[str]) -> dict[str, Path]:
    """Files by their row and column, as ``2_10``."""
    return {found[1]: file for stem, file in files.items() if (found := pattern.fullmatch(stem))}


def _picture(number: str, file: Path) -> Picture:
    """An image; world files give coordinates without saying in which system: UTM zone 33 north."""
    split: Split = "train" if number in TRAIN else "test"
    try:
        head = read_head(file)
    except InputError:  # reading it will say
        return Picture(f"top_potsdam_{number}_RGB.tif", file, split)
    lon, lat = None, None
    if head.crs is None and not head.transform.is_identity:
        lon, lat = replace(head, crs=_CRS).position(Window(0, 0, head.height, head.width))
    return Picture(f"top_potsdam_{number}_RGB.tif", file, split, lon=lon, lat=lat)


def _no_image(source: Path, files: Mapping[str, Path]) -> InputError:
    """Why a folder holds no image."""
    what = "holds no image as top_potsdam_2_10_RGB.tif"
    if any(stem.startswith("top_mosaic_09cm_") for stem in files):
        return InputError(f"{what}: it looks like ISPRS Vaihingen", file=source)
    if (source / "img_dir").is_dir():
        fix = "Give the whole images; windows of 512 px are cut of them while reading"
        return InputError(f"{what}: it holds patches, whose numbering of classes is not told", file=source, fix=fix)
    if any(stem.startswith("top_potsdam_") for stem in files):
        return InputError(f"{what}, only other bands of them", file=source, fix="Unpack 2_Ortho_RGB.zip")
    return InputError(f"{what}; {there(source)}", file=source, fix=see("potsdam"))
