"""iSAID: images of DOTA with the classes of their objects as colours; whole images, or patches cut of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from rasterio.enums import ColorInterp

from skysense.data.geotiff import opened
from skysense.data.labelled.classes import MaskCode, MaskValues
from skysense.data.labelled.colours import MaskColours
from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import UNLABELLED
from skysense.data.labelled.imagery import Imagery
from skysense.data.labelled.masks import MaskReader
from skysense.data.labelled.pictures import Picture, lay_out
from skysense.data.places_layout import Split
from skysense.datasets.card import card
from skysense.datasets.layout import find_root, images_below, need_files, see, there
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX
from skysense.sensors import OPTICAL_HR

TILE = 896
"""Side of the patches that the field judges."""
PATCHES = "patches of 896 px"
"""Name of the version that holds patches instead of whole images."""
_SLOW = "are PNG, of which every window is decoded from the top: skysense datasets tile makes a copy that reads faster"
_SPLITS: tuple[Split, ...] = ("train", "val")
_COLOURS = "_instance_color_RGB"
_IMAGE = re.compile(r"P\d{4}")
_PATCH = re.compile(r"P\d{4}(_\d+){4}")


def read_isaid(source: Path, *, tile: int = TILE) -> LabelledData:
    """iSAID; the masks of its test images are withheld, so the validation images are what is judged.

    Args:
        source: the folder with ``train`` and ``val``, as the archives unpack or with all images of a split together;
            or the one with ``img_dir`` and ``ann_dir`` of patches of 896 px.
        tile: side in pixels of the windows that whole images are read in. They overlap by three sevenths of it, as the
            published patches do; those are read as they are.

    Raises:
        InputError: no copy, or one of which images or masks are missing.
    """
    about = card("isaid")
    if any((folder / "img_dir").is_dir() for folder in (source, *_folders(source))):
        return _patches(find_root(source, ("img_dir", "ann_dir"), about.name))
    root = find_root(source, _SPLITS, about.name)
    pictures: list[Picture] = []
    masks: dict[str, Path] = {}
    for split in _SPLITS:
        files = images_below(root / split, 3)
        stems = {stem.removesuffix(_COLOURS) for stem in files}
        whole = sorted(stem for stem in stems if _IMAGE.fullmatch(stem))
        if not whole:
            raise _no_image(root / split, stems)
        named = {stem: f"{split}/{stem}.png" for stem in whole}
        pictures += _pictures(named, files, split, root / split / "images")
        masks |= _masks(named, files, root / split / "images")
    need_files([picture.file for picture in pictures], "images", root, about.name)
    need_files([*masks.values()], "masks with the colours of classes", root, about.name)
    colours = MaskColours(tuple(map(tuple, about.values)))
    data = _data(pictures, masks, colours, tile)
    packed = sum(picture.file.suffix.lower() == ".png" for picture in pictures)
    return replace(data, notes=(*data.notes, f"{packed} images {_SLOW}")) if packed else data


def _patches(root: Path) -> LabelledData:
    """Patches whose masks hold numbers of classes, 255 for no label."""
    about = card("isaid")
    pictures: list[Picture] = []
    masks: dict[str, Path] = {}
    for split in _SPLITS:
        images, labels = images_below(root / "img_dir" / split, 0), images_below(root / "ann_dir" / split, 0)
        stems = sorted({*images, *(stem.removesuffix(_COLOURS) for stem in labels)})
        if not stems:
            raise InputError(f"holds no patch in img_dir/{split}; {there(root)}", file=root, fix=see(about.name))
        named = {stem: f"{split}/{stem}.png" for stem in stems}
        pictures += _pictures(named, images, split, root / "img_dir" / split)
        found = _masks(named, labels, root / "ann_dir" / split)
        masks |= found
        need_files([*found.values()], f"masks of patches for {split}", root, about.name)
        _refuse_collapsed(found[named[stems[0]]])
    need_files([picture.file for picture in pictures], "patches", root, about.name)
    data = _data(pictures, masks, MaskValues(tuple(range(len(about.classes))), (UNLABELLED,)), None)
    return replace(data, version=PATCHES)


def _data(pictures: list[Picture], masks: Mapping[str, Path], values: MaskCode, tile: int | None) -> LabelledData:
    about = card("isaid")
    imagery = Imagery(OPTICAL_HR, declared=True, grey=True)
    stride = None if tile is None else max(tile * 4 // 7 // CELL_HR_PX, 1) * CELL_HR_PX
    items, parts, notes = lay_out(pictures, imagery, tile, stride)
    reader = MaskReader(imagery, parts, masks, values)
    return LabelledData(about.title, about.task, about.classes, items, reader, notes=notes)


def _pictures(names: Mapping[str, str], files: Mapping[str, Path], split: Split, folder: Path) -> Iterable[Picture]:
    """Images by their stem; those that are missing are looked for in the folder, where they are not."""
    for stem, name in names.items():
        image = stem.split("_")[0]  # whose patches share ground
        yield Picture(name, files.get(stem, folder / f"{stem}.png"), split, f"{split}/{image}")


def _masks(names: Mapping[str, str], files: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    ends = {stem: f"{stem}{_COLOURS}" for stem in names}
    return {name: files.get(ends[stem], folder / f"{ends[stem]}.png") for stem, name in names.items()}


def _folders(source: Path) -> list[Path]:
    return [entry for entry in source.iterdir() if entry.is_dir()] if source.is_dir() else []


def _no_image(folder: Path, stems: Iterable[str]) -> InputError:
    """Why a split has no image."""
    if any(_PATCH.fullmatch(stem) for stem in stems):
        return InputError(
            "holds patches of 800 px (names as P0000_0_800_0_800.png), on which nobody judges segmentation",
            file=folder,
            fix="Give the whole images; windows are cut of them while reading",
        )
    within = folder / "images" if (folder / "images").is_dir() else folder
    return InputError(f"holds no image P0000.png; {there(within)}", file=folder, fix=see("isaid"))


def _refuse_collapsed(mask: Path) -> None:
    """Refuse masks that a converter wrote with a palette of two colours, so that every object is of the first class."""
    with opened(mask) as dataset:
        bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
        collapsed = bits == "1" and dataset.colorinterp[0] is ColorInterp.palette
    if collapsed:
        raise InputError(
            "holds one bit: the converter that cut the patches lost the classes (known of newer versions of Pillow)",
            file=mask,
            fix="Cut them again, or give the whole images",
        )
