"""Image files of a data set: which there are, which split their folder stands for, how they are cut into tiles.

root/images/a.png                        or, with splits,
root/train/images/a.png   root/images/train/a.png   (also val, valid, validation, test)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skysense.data.labelled.dataset import Item
from skysense.data.labelled.head import Head, read_head
from skysense.data.labelled.imagery import SUFFIXES, Imagery, Part
from skysense.data.places_layout import Split
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX, Window, cover

SPLIT_FOLDERS: Mapping[str, Split] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip
"""Names of folders that stand for a split."""
TILE_SIGN = "@"
"""Stands between the name of an image and the corner of a tile of it."""


@dataclass(frozen=True)
class Picture:
    """One image file.

    Attributes:
        name: unique within the data set: its path below the root.
        file: the image.
        split: what it is for, where the folders say so.
        group: images of one group show the same ground; the image itself by default.
        lon, lat: of its centre in WGS 84 degrees, where the data set knows; a georeferenced image knows itself.
    """

    name: str
    file: Path
    split: Split | None = None
    group: str | None = None
    lon: float | None = None
    lat: float | None = None


def image_files(folder: Path) -> list[Path]:
    """Images directly in a folder, sorted by name."""
    if not folder.is_dir():
        return []
    return sorted(
        entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".")
    )


def split_roots(root: Path, inside: Sequence[str]) -> list[tuple[Path, Split | None]]:
    """Where folders named ``inside`` lie: in the root itself, or in its split folders."""
    if all((root / name).is_dir() for name in inside):
        return [(root, None)]
    parts = [(root / name, split) for name, split in SPLIT_FOLDERS.items()]
    return [(part, split) for part, split in parts if all((part / name).is_dir() for name in inside)]


def folder_pairs(root: Path, inside: Sequence[str]) -> Iterator[tuple[list[Path], Split | None]]:
    """Folders named ``inside`` that belong together, split by split: split folders may lie above or below them."""
    for base, split in split_roots(root, inside):
        folders = [base / name for name in inside]
        below = [name for name in SPLIT_FOLDERS if split is None and (folders[0] / name).is_dir()]
        if not below:
            yield folders, split
        for name in below:
            yield [folder / name for folder in folders], SPLIT_FOLDERS[name]


def by_stem(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> dict[str, Path]:
    """Files of a folder by their name without ending.

    Raises:
        InputError: two files share a stem.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.suffix.lower() not in suffixes or file.name.startswith("."):
            continue
        if file.stem in found:
            raise InputError(f"{found[file.stem].name} and {file.name} have the same stem", file=folder)
        found[file.stem] = file
    return found


def check_tile(tile: int | None) -> None:
    """Refuse tiles that are not whole cells.

    Raises:
        InputError: no positive multiple of 32.
    """
    if tile is not None and (tile <= 0 or tile % CELL_HR_PX):
        raise InputError(f"tile={tile} must be a positive multiple of {CELL_HR_PX} pixels")


def tile_windows(height: int, width: int, tile: int) -> list[Window]:
    """Windows side by side on an image of this size, in pixels; those at the right and bottom edge are smaller."""
    whole = Window(0, 0, height, width)
    corners = [(row, col) for row in range(0, height, tile) for col in range(0, width, tile)]
    return [part for row, col in corners if (part := Window(row, col, tile, tile).intersect(whole))]


def tile_name(picture: str, window: Window) -> str:
    """Name of a tile of an image, by its upper left corner in pixels."""
    return f"{picture}{TILE_SIGN}{window.row},{window.col}"


def lay_out(
    pictures: Iterable[Picture],
    imagery: Imagery,
    tile: int | None,
    stride: int | None = None,
    *,
    placed: bool = True,
) -> tuple[tuple[Item, ...], dict[str, Part], tuple[str, ...]]:
    """What can be read of some images: the whole of each, or tiles of it.

    Tiles lie side by side, those at the right and bottom edge smaller; with a stride they begin every so many pixels,
    and the last of a row or column is moved back to end at the edge. Tiles of an image that knows its place are each
    their own group, because their positions tell which of them lie together; those of other images share the group of
    the image.

    Args:
        pictures: the images.
        imagery: how they are read.
        tile: side in pixels, a multiple of 32; None for whole images.
        stride: pixels from one tile to the next, at most their side.
        placed: ask every TIFF where it lies, for which it must be opened. Not worth it for tens of thousands of them
            whose splits are published; of tiles it is known anyway.

    Returns:
        The items, what each is read from, and notes.

    Raises:
        InputError: a side that is no multiple of 32, or two images of one name.
    """
    check_tile(tile)
    items: list[Item] = []
    parts: dict[str, Part] = {}
    empty = 0
    for picture in pictures:
        head = _head(picture) if tile is not None or (placed and _is_tiff(picture.file)) else None
        windows: list[Window | None] = [None]
        dark = 0
        if head is not None and tile is not None and max(head.height, head.width) > tile:
            windows, dark = _tiles(picture.file, head, tile, stride, imagery)
        empty += dark
        for window in windows:
            item = _item(picture, head, window)
            if item.name in parts:
                raise InputError(f"there are two images named {item.name!r}", file=picture.file)
            items.append(item)
            parts[item.name] = Part(picture.name, picture.file, window)
    notes = (f"{empty} tiles without any observed pixel are left out",) if empty else ()
    return tuple(items), parts, notes


def _item(picture: Picture, head: Head | None, window: Window | None) -> Item:
    name = picture.name if window is None else tile_name(picture.name, window)
    lon, lat = (None, None) if head is None else head.position(window or Window(0, 0, head.height, head.width))
    placed = lon is not None
    if not placed:
        lon, lat = picture.lon, picture.lat
    group = picture.group or (name if placed else picture.name)
    return Item(name, group, picture.split, lon, lat)


def _is_tiff(file: Path) -> bool:
    """Whether an image may know its place."""
    return file.suffix.lower() in (".tif", ".tiff")


def _head(picture: Picture) -> Head | None:
    """The head of an image; None of one that cannot be opened: reading says why."""
    try:
        return read_head(picture.file)
    except InputError:
        return None


def _tiles(file: Path, head: Head, tile: int, stride: int | None, imagery: Imagery) -> tuple[list[Window | None], int]:
    """Windows of an image on which anything is observed, and how many more there are."""
    whole = Window(0, 0, head.height, head.width)
    if stride is None:
        grid = tile_windows(head.height, head.width, tile)
    else:
        grid = [part for one in cover(head.height, head.width, tile, stride) if (part := one.intersect(whole))]
    kept: list[Window | None] = [*imagery.occupied(file, grid)]
    return kept or [None], len(grid) - len(kept)  # of an image without anything, reading it complains
