"""Where the files of DynamicEarthNet lie: by area and month, whatever their folders are called.

The published tree is not quite regular: areas are joined to their zone by an underscore or a hyphen, dates are written
either way, the level ``Labels`` may be missing, names of scenes cannot be computed, and of the Sentinel archives only
the ends of the file names are known. So files are found by the number of their area and the month in their name.
Archives may be unpacked into one folder, or each into a folder of its own name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skysense.data.places_layout import Split
from skysense.datasets.layout import find_root, need_files, there
from skysense.errors import InputError

MONTHS = tuple(f"{year}-{month:02d}" for year in (2018, 2019) for month in range(1, 13))
_LISTS: Mapping[Split, str] = {
    "train": """
        1311_3077_13 1417_3281_13 1487_3335_13 1700_3100_13 2006_3280_13 2029_3764_13 2065_3647_13 2235_3403_13
        2415_3082_13 2459_4406_13 2470_5030_13 2528_4620_13 2624_4314_13 2697_3715_13 2832_4366_13 2850_4139_13
        3002_4273_13 3998_3016_13 4127_2991_13 4169_3944_13 4223_3246_13 4240_3972_13 4254_2915_13 4397_4302_13
        4421_3800_13 4426_3835_13 4622_3159_13 4768_4131_13 4780_3377_13 4791_3920_13 4806_3588_13 4838_3506_13
        4856_4087_13 4881_3344_13 5111_4560_13 5125_4049_13 5863_3800_13 5926_3715_13 5989_3554_13 6204_3495_13
        6381_3681_13 6466_3380_13 6468_3360_13 6475_3361_13 6688_3456_13 6730_3430_13 6752_3115_13 6810_3478_13
        6813_3313_13 6824_4117_13 7026_3201_13 7312_3008_13 7367_5050_13 7513_4968_13 8077_5007_13
    """,
    "val": """
        1973_3709_13 2569_4513_13 2789_4694_13 4062_3943_13 4666_2369_13 5830_3834_13 6353_3661_13 6678_3579_13
        6761_3129_13 7517_4908_13
    """,
    "test": """
        1286_2921_13 1330_3107_13 2196_3885_13 3830_3914_13 4523_4210_13 4553_3325_13 5195_3388_13 5754_3601_13
        5912_3937_13 6752_3104_13
    """,
}
AREAS: Mapping[Split, tuple[str, ...]] = {split: tuple(names.split()) for split, names in _LISTS.items()}
"""The published split, by area; its first list of training areas lacked two of them."""
_SPLIT_OF = {area: split for split, areas in AREAS.items() for area in areas}
_AREA = re.compile(r"(?<!\d)(\d+_\d+_13)(?!\d)")
_LABELS = re.compile(r"(\d+_\d+_13)[_-](\d+[NS])$")
_MONTH = re.compile(r"(20\d\d)[_-](\d\d)$")
_FIRST_DAY = re.compile(r"(20\d\d)[_-](\d\d)[_-]01$")


@dataclass(frozen=True)
class Month:
    """The files of one area and month.

    Attributes:
        area: its number and zone, ``1311_3077_13_10N``.
        month: ``2018-01``.
        split: as published.
        label: what covers the land on the first day.
        images: by archive (``planet``, ``sentinel2``, ``sentinel1``); what is not there is left out.
    """

    area: str
    month: str
    split: Split
    label: Path
    images: Mapping[str, Path]

    @property
    def name(self) -> str:
        """Unique within the data set, whichever way the archives were unpacked."""
        return f"{self.area}/{self.month}"

    def follows(self, other: Month) -> bool:
        """Whether it is the month after another one of the same area."""
        return self.area == other.area and MONTHS.index(self.month) == MONTHS.index(other.month) + 1


def find_months(source: Path, archives: Sequence[str], name: str) -> tuple[list[Month], tuple[str, ...]]:
    """Every labelled month of a copy, by area and time.

    Args:
        source: the folder that a person gave.
        archives: whose images are wanted.
        name: of the data set, for messages.

    Returns:
        The months, and notes on areas that are left out because they have no label or no image of Planet.

    Raises:
        InputError: another version, an archive that is not there, areas that are none of the published ones, or areas
            of which months are missing that every copy has.
    """
    if (source / "split.json").is_file():
        raise InputError("is the JPEG copy of SitsSCD, whose values are 8-bit: not the published files", file=source)
    root = find_root(source, ("labels",), name)
    labels, zones = _labels(root)
    _check_labels(labels, root, name)
    files = {one: _planet(root, name) if one == "planet" else _sentinel(root, one, name) for one in archives}
    planet = files.get("planet", labels)
    kept = [area for area in labels if area in planet]
    if not kept:
        raise InputError(f"has no area with labels and images of Planet; {there(root)}", file=root)
    notes = []
    if len(kept) < len(labels):
        lacking = [area for area in labels if area not in planet]
        notes.append(f"{len(lacking)} areas without images of Planet are left out, first {lacking[0]}")
    absent = Counter(split for area, split in _SPLIT_OF.items() if area not in labels)
    notes += [
        f"{count} of {len(AREAS[split])} areas for {split} have no labels here" for split, count in absent.items()
    ]
    months = []
    for area in kept:
        if "planet" in files:
            need_files([planet[area][month] for month in labels[area]], f"images of Planet of {area}", root, name)
        for month, label in sorted(labels[area].items()):
            images = {archive: found[area][month] for archive, found in files.items() if month in found.get(area, ())}
            months.append(Month(f"{area}_{zones[area]}", month, _SPLIT_OF[area], label, images))
    return months, tuple(notes)


def _check_labels(labels: Mapping[str, Mapping[str, Path]], root: Path, name: str) -> None:
    """Refuse areas that nobody published, and areas that lack months which others have."""
    if not labels:
        raise InputError(
            f"has no label (labels/*/Labels/Raster/*/*-2018_01_01.tif); {there(root)}",
            file=root,
            fix=f"Unpack labels.zip. See the layout with: skysense datasets show {name}",
        )
    unknown = [area for area in labels if area not in _SPLIT_OF]
    if unknown:
        raise InputError(f"has labels of {unknown[0]}, which is none of the published areas", file=root)
    months = sorted({month for found in labels.values() for month in found})
    for found in labels.values():
        lacking = [month for month in months if month not in found]
        if lacking:
            raise InputError(
                f"has labels of {len(found)} of {len(months)} months; {lacking[0]} is missing",
                file=next(iter(found.values())).parent,
                fix="Unpack labels.zip again",
            )


def _labels(root: Path) -> tuple[dict[str, dict[str, Path]], dict[str, str]]:
    """Label files by area and month, and the zones of the areas."""
    found: dict[str, dict[str, Path]] = {}
    zones: dict[str, str] = {}
    for folder in _unpacked(root, "labels"):
        for place in sorted(folder.iterdir()):
            named = _LABELS.match(place.name)
            if named is None:
                continue
            for file in sorted([*place.glob("Raster/*/*.tif"), *place.glob("*/Raster/*/*.tif")]):
                zones[named[1]] = named[2]
                _add(found.setdefault(named[1], {}), _FIRST_DAY.search(file.stem), file)
    return dict(sorted(found.items())), zones


def _planet(root: Path, name: str) -> dict[str, dict[str, Path]]:
    """Images of the first day of every month by area."""
    found: dict[str, dict[str, Path]] = {}
    for folder in _unpacked(root, "planet"):
        for place in sorted(folder.glob("*/*/*/PF-SR")):
            area = place.parent.name
            if area in found:
                raise InputError(f"holds images of {area} twice", file=root)
            found[area] = {month: place / f"{month}-01.tif" for month in MONTHS}
        if not found and any(folder.glob("**/L3H-SR")):
            raise InputError("is the early release of EarthVision 2021 (L3H-SR), another product", file=folder)
    if not found:
        raise InputError(
            f"has no image of Planet (planet/*/*/*/PF-SR); {there(root)}",
            file=root,
            fix=f"Unpack the archives planet.*.zip. See the layout with: skysense datasets show {name}",
        )
    return found


def _sentinel(root: Path, archive: str, name: str) -> dict[str, dict[str, Path]]:
    """Images by area and month; months may be missing."""
    found: dict[str, dict[str, Path]] = {}
    for folder in _unpacked(root, archive):
        for file in sorted(folder.rglob("*.tif")):
            area = _AREA.search(file.relative_to(folder).as_posix())
            if area is not None:
                _add(found.setdefault(area[1], {}), _MONTH.search(file.stem), file)
    if not found:
        raise InputError(
            f"has no image of {archive} ({archive}/**/*_2018_01.tif); {there(root)}",
            file=root,
            fix=f"Unpack {archive}.zip. See the layout with: skysense datasets show {name}",
        )
    return found


def _add(months: dict[str, Path], date: re.Match[str] | None, file: Path) -> None:
    month = "" if date is None else f"{date[1]}-{date[2]}"
    if month not in MONTHS:
        return
    if month in months:
        raise InputError(f"and {months[month]} are both of {month}", file=file, fix="Keep one of them")
    months[month] = file


def _unpacked(root: Path, archive: str) -> Iterator[Path]:
    """Folders that an archive, or those of its parts, unpack to."""
    for outer in sorted([root / archive, *root.glob(f"{archive}.*")]):
        inner = outer / archive
        if inner.is_dir():
            yield inner
        elif outer.is_dir() and outer.name == archive:
            yield outer
