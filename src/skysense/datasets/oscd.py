"""OSCD: pairs of Sentinel-2 images of cities, a file per band, with what changed in town between them.

Letters: C bands, H W pixels of 10 m.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.classes import MaskValues, read_mask
from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.imagery import Image, Imagery, Part
from skysense.data.labelled.padding import pad_series
from skysense.data.labelled.pairs import Pair, PairReader
from skysense.data.labelled.pictures import Picture, lay_out
from skysense.data.places_layout import Split
from skysense.datasets.card import card
from skysense.datasets.changes import PaintedChange
from skysense.datasets.layout import find_root, need_files, read_list
from skysense.datasets.sentinel import read_bands
from skysense.errors import InputError
from skysense.files import read_json
from skysense.geo import Window, check_position
from skysense.observation import Sample
from skysense.sensors import SENTINEL2_L2A

_SPLITS: tuple[Split, ...] = ("train", "test")
_IMAGES, _TRAIN_LABELS, _TEST_LABELS = (
    f"Onera Satellite Change Detection dataset - {part}" for part in ("Images", "Train Labels", "Test Labels")
)
_FILES = {band: f"B{band[1:].zfill(2)}.tif" for band in SENTINEL2_L2A.bands}
_DATES = ("imgs_1_rect", "imgs_2_rect")


def read_oscd(source: Path, *, tile: int | None = None) -> LabelledData:
    """OSCD; of the registered images, the ten bands that the model knows. Names of items are those of cities.

    Args:
        source: the folder of the three unpacked archives, or one with a folder per city and the two lists.
        tile: side in pixels of the tiles that cities are cut into, side by side.

    Raises:
        InputError: no copy, or one of which lists, bands or masks are missing.
    """
    about = card("oscd")
    root, images, labels = _folders(source)
    cities: dict[str, Split] = {city: split for split in _SPLITS for city in _listed(images / f"{split}.txt")}
    need_files([images / city for city in cities], "cities", root, about.name)
    folders = {city: [images / city / date for date in _DATES] for city in cities}
    bands = [folder / file for both in folders.values() for folder in both for file in _FILES.values()]
    need_files(bands, "bands of registered images", root, about.name)
    masks = {city: _mask(labels[split] / city / "cm", city) for city, split in cities.items()}
    need_files([*masks.values()], "masks", root, about.name)

    pictures: list[Picture] = []
    pairs: dict[str, Pair] = {}
    days: dict[Path, np.datetime64] = {}
    first = _FILES[SENTINEL2_L2A.bands[0]]
    for city, split in cities.items():
        before, after = (folder / first for folder in folders[city])
        lon, lat = _position(images / city / f"{city}.geojson")
        pictures.append(Picture(city, before, split, lon=lon, lat=lat))
        pairs[city] = Pair(after, masks[city], None)
        days |= zip(folders[city], _days(images / city / "dates.txt"), strict=True)
    imagery = BandFiles(SENTINEL2_L2A, declared=True, days=days)
    items, parts, notes = lay_out(pictures, imagery, tile)
    undated = sum(np.isnat(days[both[0]]) for both in folders.values())
    if undated:
        notes = (*notes, f"{undated} cities without dates.txt: for them the date embedding is left out")
    reader = PairReader(imagery, parts, pairs, CityChange(), None)
    return LabelledData(about.title, about.task, about.classes, items, reader, notes=notes)


@dataclass(frozen=True)
class BandFiles(Imagery):
    """Images whose bands lie in files of one folder, all on one grid. A part names the file of the first band.

    Attributes:
        days: when the images of a folder were taken, NaT where nobody knows.
    """

    days: Mapping[Path, np.datetime64] = field(default_factory=dict)

    def read(self, part: Part, item: Item) -> Image:
        """See `Imagery.read`."""
        folder = part.file.parent
        files = [folder / _FILES[band] for band in self.sensor.bands]
        series, head = read_bands(files, self.sensor, self.days[folder], part.window, one_grid=True)
        sample = Sample(item.name, {self.sensor.modality: pad_series(series)}, lon=item.lon, lat=item.lat)
        return Image(sample, part.area(head.height, head.width), (head.height, head.width))

    def occupied(self, file: Path, windows: Sequence[Window]) -> list[Window]:
        """All of the windows: the files say nothing about what was observed."""
        return list(windows)


@dataclass(frozen=True)
class CityChange:
    """Masks of both kinds: ``cm.png`` with 0 and 255, and TIFFs with 1 and 2 (a few people found 0 and 1)."""

    def read(self, file: Path, area: Window, whole: tuple[int, int]) -> NDArray[np.uint8]:
        """See `skysense.data.labelled.classes.MaskCode.read`."""
        if file.suffix.lower() == ".png":
            return PaintedChange().read(file, area, whole)
        mask_HW = read_mask(file, None, whole)  # all of it: a part that is 1 everywhere would not tell what 1 means
        coded = MaskValues((0, 1) if np.any(mask_HW == 0) else (1, 2))
        return coded.decode(mask_HW[area.slices()], file)


def _folders(source: Path) -> tuple[Path, Path, dict[Split, Path]]:
    """The folder of a copy, that of the images, and those of the masks by split."""
    name = "oscd"
    inside = [source, *source.iterdir()] if source.is_dir() else []
    if any((folder / _IMAGES).is_dir() for folder in inside):
        root = find_root(source, (_IMAGES, _TRAIN_LABELS, _TEST_LABELS), name)
        images, train, test = (_inner(root / part) for part in (_IMAGES, _TRAIN_LABELS, _TEST_LABELS))
        return root, images, {"train": train, "test": test}
    root = find_root(source, [f"{split}.txt" for split in _SPLITS], name)
    return root, root, {"train": root, "test": root}


def _inner(folder: Path) -> Path:
    """Some unpack an archive into a folder of its name and find another one of that name inside."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder


def _listed(file: Path) -> list[str]:
    """Names of cities: one line, with commas between them.

    Raises:
        InputError: the list is missing or names none.
    """
    found = [name for line in read_list(file) for name in re.split(r"[,\s]+", line) if name]
    if not found:
        raise InputError("names no city", file=file, fix="Get it again")
    return found


def _mask(folder: Path, city: str) -> Path:
    painted, coded = folder / "cm.png", folder / f"{city}-cm.tif"
    return coded if coded.exists() and not painted.exists() else painted


def _days(file: Path) -> list[np.datetime64]:
    """Days of both images, NaT if there is no file.

    Raises:
        InputError: a file without two dates.
    """
    if not file.exists():
        return [np.datetime64("NaT", "D")] * 2
    found = [re.fullmatch(r"date_[12]:\s*(\d{4})(\d{2})(\d{2})", line) for line in read_list(file)]
    try:
        first, second = (np.datetime64("-".join(one.groups()), "D") for one in found if one)
    except ValueError as error:
        raise InputError("must hold date_1: YYYYMMDD and date_2: YYYYMMDD", file=file) from error
    return [first, second]


def _position(file: Path) -> tuple[float | None, float | None]:
    """Longitude and latitude of the middle of a region, which is drawn for some cities only.

    No pixel is found by it, but validation is taken from training by position where any is known.
    """
    try:
        points = [*_points(read_json(file))]
        lon, lat = ((min(axis) + max(axis)) / 2 for axis in zip(*points, strict=True))
        check_position(lon, lat)
    except (InputError, ValueError):
        return None, None
    return lon, lat


def _points(content: Any) -> Iterator[tuple[float, float]]:
    """Every pair of coordinates of a GeoJSON, however deep."""
    if isinstance(content, dict):
        for key in ("features", "geometry", "coordinates"):
            yield from _points(content.get(key, ()))
    elif isinstance(content, list):
        if len(content) >= 2 and all(isinstance(one, int | float) for one in content):
            yield content[0], content[1]
        else:
            for one in content:
                yield from _points(one)
