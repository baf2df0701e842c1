"""fMoW-Sentinel: composites of Sentinel-2 at places of Functional Map of the World, in 62 classes of land use.

root/train.csv   root/val.csv   root/test_gt.csv
root/fmow-sentinel/train/airport/airport_0/airport_0_6.tif

The lists may also lie in ``fmow-sentinel``. There are 880,000 images: what the lists name is believed and not looked
for, and what they do not name (downloads that failed when the data set was made) is not read. Letters: N images.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.dataset import Item, ItemTable, LabelledData, split_code
from skysense.data.labelled.example import Example
from skysense.data.labelled.imagery import Imagery, Part
from skysense.data.places_layout import Split
from skysense.datasets.card import card
from skysense.datasets.layout import find_root
from skysense.errors import InputError
from skysense.sensors import SENTINEL2_L2A

BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
"""By position in the files, which do not name them."""
_LISTS: Mapping[str, Split] = {"train": "train", "val": "val", "test_gt": "test"}
_FOLDER = "fmow-sentinel"
_COLUMNS = ("category", "location_id", "image_id", "timestamp", "polygon")


@dataclass(frozen=True)
class CompositeReader:
    """Reads one image.

    Attributes:
        images: folder that holds those of the splits.
        imagery: how they are read.
        items: all of them.
        day_N: the middle of the 90 days that each is composed of.
        classes: indices by name.
    """

    images: str
    imagery: Imagery
    items: ItemTable
    day_N: NDArray[np.datetime64]
    classes: Mapping[str, int]

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        file = Path(self.images, item.name)
        image = self.imagery.read(Part(item.name, file), item)
        (series,) = image.sample.series.values()
        seen = series.valid & series.values.any(axis=1)  # what is zero in every band is a gap of the composite
        if not seen.any():
            raise InputError("holds no observed pixel (all zero)", file=file, fix="Leave it out")
        row = self.items.row(item.name)
        series = replace(series, valid=seen, dates=self.day_N[row : row + 1])
        sample = replace(image.sample, series={series.sensor.modality: series})
        label = self.classes[item.name.split("/")[1]]
        return Example(item.name, sample, label, image.per_cell, (image.area.height, image.area.width))

    def paths(self, item: Item) -> tuple[str, ...]:
        """The file of an item; see `skysense.datasets.listed.Listed`."""
        return (os.path.join(self.images, item.name),)


@dataclass(frozen=True)
class _List:
    """A list of images: names, how much of each names its place, positions, days."""

    name_N: NDArray[np.bytes_]
    group_N: NDArray[np.uint8]
    lonlat_N2: NDArray[np.float64]
    day_N: NDArray[np.datetime64]


def read_fmow_s2(source: Path) -> LabelledData:
    """fMoW-Sentinel with its own splits."""
    about = card("fmow-s2")
    root = find_root(source, [f"{stem}.csv" for stem in _LISTS], about.name)
    images = _images(root, about.name)
    classes = {name: index for index, name in enumerate(about.classes)}
    lists = [_read_list(root / f"{stem}.csv", stem, classes) for stem in _LISTS]
    splits = [
        np.full(len(one.name_N), split_code(split), np.int8) for one, split in zip(lists, _LISTS.values(), strict=True)
    ]
    name_N, first_N = np.unique(np.concatenate([one.name_N for one in lists]), return_index=True)
    items = ItemTable(
        name_N,
        np.concatenate(splits)[first_N],
        np.concatenate([one.group_N for one in lists])[first_N],
        np.concatenate([one.lonlat_N2 for one in lists])[first_N],
    )
    reader = CompositeReader(
        str(images),
        Imagery(SENTINEL2_L2A, declared=True, bands=BANDS),
        items,
        np.concatenate([one.day_N for one in lists])[first_N],
        classes,
    )
    twice = sum(len(one.name_N) for one in lists) - len(items)
    notes = (f"{twice:,} rows of the lists name an image a second time",) if twice else ()
    return LabelledData(about.title, about.task, about.classes, items, reader, notes=notes)


def _images(root: Path, name: str) -> Path:
    """The folder that holds ``train``: some unpack the archive into a folder of the name that it brings itself."""
    for folder in (root, root / _FOLDER, root / _FOLDER / _FOLDER):
        if (folder / "train").is_dir():
            return folder
    return find_root(root, [f"{_FOLDER}/train"], name)  # says what is missing


def _read_list(file: Path, stem: str, classes: Mapping[str, int]) -> _List:
    names: list[str] = []
    group: list[int] = []
    days: list[str] = []
    places: list[tuple[float, float]] = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.reader(lines, strict=True)
            head = next(table, [])
            missing = [column for column in _COLUMNS if column not in head]
            if missing:
                raise InputError(f"has no column {', '.join(missing)}; it has {', '.join(head)}", file=file)
            cells = itemgetter(*(head.index(column) for column in _COLUMNS))
            for row in table:
                category, location, image, stamp, polygon = cells(row)
                if category not in classes:
                    raise InputError(f"has the category {category!r}, which fMoW does not know", file=file)
                place = f"{stem}/{category}/{category}_{location}"
                names.append(f"{place}/{category}_{location}_{image}.tif")
                group.append(len(place))
                days.append(stamp[:10])
                places.append(_middle(polygon))
        if not names:
            raise InputError("names no image", file=file, fix="Get it again")
        day_N = np.array(days, "datetime64[D]")
        return _List(np.array(names, "S"), np.array(group, np.uint8), np.array(places).reshape(-1, 2), day_N)
    except OSError as error:
        raise InputError("cannot be read", file=file) from error
    except (ValueError, IndexError, csv.Error) as error:
        raise InputError("is no list of fMoW-Sentinel, or was not downloaded whole", file=file) from error


def _middle(polygon: str) -> tuple[float, float]:
    """Longitude and latitude of the middle of a box given as ``POLYGON ((lon lat, ...))``, five corners."""
    corners = polygon[polygon.index("((") + 2 :].split(",")
    west, south = corners[0].split()
    east, north = corners[2].split()
    return (float(west) + float(east)) / 2, (float(south) + float(north)) / 2
