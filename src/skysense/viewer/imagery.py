"""Plain GeoTIFF images, one or a series of dates, with levels as if they had overviews.

Letters: K bands shown (three, or one) and a last one that says what was observed; h w pixels.
"""

from __future__ import annotations

import datetime
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.data.geotiff import alpha_is_data, band_names, opened
from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid

SUFFIXES = (".tif", ".tiff")
_COARSEST = 512  # pixels along the longer side of the coarsest level
_SOON = 3  # levels of an image that is read as a whole in no time
_SPOTS, _SPOT = 4, 128  # places along each side of a larger one, and their pixels
_STRETCH = (2.0, 98.0)  # percentiles that become black and white
_NATURAL = (("R", "G", "B"), ("B4", "B3", "B2"), ("B04", "B03", "B02"))
_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?(\d\d)[-_]?(\d\d)(?!\d)")


@dataclass(frozen=True)
class Frame:
    """One image.

    Attributes:
        path: the GeoTIFF.
        day: ``YYYY-MM-DD``, empty if nobody knows.
        grid: of its pixels.
        indexes: 1-based, of the bands that are shown.
        alpha: 1-based, of the band that says what was observed, if there is one.
        nodata: the number that stands for no data, if there is one.
        masked: whether a mask, inside the file or beside it, says what was observed.
        overviews: whether the file has any.
    """

    path: Path
    day: str
    grid: Grid
    indexes: tuple[int, ...]
    alpha: int | None
    nodata: float | None
    masked: bool
    overviews: bool

    @property
    def title(self) -> str:
        """Its day, or else the name of the file."""
        return self.day or self.path.stem

    @property
    def levels(self) -> int:
        """Down to `_COARSEST` pixels."""
        return 1 + max(0, math.ceil(math.log2(max(self.grid.height, self.grid.width) / _COARSEST)))

    def level(self, level: int) -> Grid:
        """The grid of a level."""
        return self.grid.coarser(2**level)

    def read(self, window: Window, level: int = 0) -> NDArray:
        """Numbers ``(K + 1, h, w)`` of a window of a level, in the type of the file; the last band is 1 if observed.

        Raises:
            InputError: the file cannot be read there.
        """
        factor = 2**level
        height = min(window.height * factor, self.grid.height - window.row * factor)
        width = min(window.width * factor, self.grid.width - window.col * factor)
        box = RasterWindow(window.col * factor, window.row * factor, width, height)
        indexes = [*self.indexes, self.alpha] if self.alpha else list(self.indexes)
        try:
            with opened(self.path) as dataset:
                read = dataset.read(
                    indexes, window=box, out_shape=(len(indexes), window.height, window.width),
                    resampling=Resampling.nearest if level == 0 else Resampling.average,
                )  # fmt: skip
                mask = dataset.read_masks(1, window=box, out_shape=read.shape[1:]) > 0 if self.masked else None
        except RasterioError as error:
            raise InputError("cannot be read (truncated or damaged)", file=self.path) from error
        shown = read[: len(self.indexes)]
        seen = read[-1] > 0 if self.alpha else np.ones(shown.shape[1:], bool)
        if mask is not None:
            seen &= mask
        if self.nodata is not None and math.isfinite(self.nodata):
            seen &= (shown != self.nodata).any(axis=0)
        if shown.dtype.kind == "f":
            seen &= np.isfinite(shown).all(axis=0)
        return np.concatenate([shown, seen[None].astype(shown.dtype)])

    def sample(self) -> NDArray[np.float32]:
        """Numbers ``(K, N)`` of observed pixels: of the coarsest level, or of some places where that takes too long.

        Raises:
            InputError: the file cannot be read.
        """
        level = self.levels - 1 if self.overviews or self.levels <= _SOON else 0
        grid = self.level(level)
        whole = Window(0, 0, grid.height, grid.width)
        some = [
            Window(int(row), int(col), _SPOT, _SPOT)
            for row in np.linspace(0, grid.height - _SPOT, _SPOTS)
            for col in np.linspace(0, grid.width - _SPOT, _SPOTS)
        ]
        read = [self.read(window, level) for window in ([whole] if level == self.levels - 1 else some)]
        return np.concatenate([numbers[:-1, numbers[-1] > 0].astype(np.float32) for numbers in read], axis=1)


class Imagery:
    """Images of one place, in the order of their days.

    Args:
        path: the file or folder they were given by.
        frames: one or more.
        name: for people.

    Attributes:
        path: see above.
        frames: see above.
        name: see above.
    """

    def __init__(self, path: Path, frames: Sequence[Frame], name: str) -> None:
        self.path, self.name = path, name
        self.frames = tuple(sorted(frames, key=lambda frame: (frame.day, frame.path.name)))

    def pixels(self, layer: str, level: int = 0) -> Grid:
        """The grid of a frame, by its number as text, at a level."""
        return self.frames[int(layer)].level(level)

    def levels(self, layer: str) -> int:
        """How many levels a frame has."""
        return self.frames[int(layer)].levels

    def read(self, layer: str, window: Window, level: int = 0) -> NDArray:
        """See `Frame.read`."""
        return self.frames[int(layer)].read(window, level)

    @cached_property
    def stretch(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lowest and highest number ``(K, 1, 1)`` of the colours: the same for all days, or they could not be compared.

        Raises:
            InputError: a file that cannot be read, or nothing observed in any.
        """
        picked = [self.frames[at] for at in np.unique(np.linspace(0, len(self.frames) - 1, 8).round().astype(int))]
        values_KN = np.concatenate([frame.sample() for frame in picked], axis=1)
        if not values_KN.size:
            raise InputError("holds no observed pixel (all no-data)", file=picked[0].path)
        low, high = np.percentile(values_KN, _STRETCH, axis=1).astype(np.float32)[..., None, None]
        return low, np.maximum(high, low + 1e-6)


def open_frame(path: Path) -> Frame:
    """Understand a GeoTIFF as an image: natural colours by name, else the first three bands, else the first one.

    Raises:
        InputError: not a raster, or one without a place on Earth.
    """
    with opened(path) as dataset:
        if dataset.crs is None or dataset.transform.is_identity:
            raise InputError(
                "has no CRS or no geotransform, so it has no place on a map",
                file=path,
                fix=f"Assign them: rio edit-info --crs EPSG:32632 --transform '[...]' {path.name}",
            )
        names = band_names(dataset)
        natural = next((three for three in _NATURAL if set(three) <= set(names)), ())
        no_alpha, _ = alpha_is_data(dataset)
        marked = [at for at, meaning in enumerate(dataset.colorinterp, 1) if meaning == ColorInterp.alpha]
        alpha = marked[0] if marked and not no_alpha else None
        others = [index for index in dataset.indexes if index != alpha]
        return Frame(
            path=path,
            day=_day(dataset, path),
            grid=Grid(dataset.crs, dataset.transform, dataset.height, dataset.width),
            indexes=tuple(names.index(one) + 1 for one in natural) or tuple(others[: 3 if len(others) >= 3 else 1]),
            alpha=alpha,
            nodata=dataset.nodata,
            masked=MaskFlags.per_dataset in dataset.mask_flag_enums[0] and not marked,
            overviews=bool(dataset.overviews(1)),
        )


def open_folder(folder: Path) -> Imagery:
    """A folder of GeoTIFFs as a series.

    Raises:
        InputError: no GeoTIFF in it, or one of them is no image with a place.
    """
    files = sorted(file for file in folder.glob("[!.]*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError("holds no GeoTIFF", file=folder, fix="Give a folder of .tif files, or a file")
    return Imagery(folder, [open_frame(file) for file in files], folder.name)


def group(frames: Sequence[Frame]) -> list[Imagery]:
    """Images given one by one: a series if every one has another day, otherwise each for itself."""
    days = {frame.day for frame in frames}
    if len(frames) > 1 and "" not in days and len(days) == len(frames):
        return [Imagery(frames[0].path, frames, _common([frame.path.stem for frame in frames]))]
    return [Imagery(frame.path, [frame], frame.path.name) for frame in frames]


def _common(names: Sequence[str]) -> str:
    """What names of files begin with, without half a date."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip("0123456789-_. ") or names[0]


def _day(dataset: Any, path: Path) -> str:
    """From the tags, else from the name of the file."""
    tags = {key.upper(): value for key, value in dataset.tags().items()}
    stamp = tags.get("SKYSENSE_DATE") or tags.get("TIFFTAG_DATETIME", "").replace(":", "-")
    for text in (stamp, path.stem):
        for year, month, day in _DAY.findall(text):
            try:
                return datetime.date(int(year), int(month), int(day)).isoformat()
            except ValueError:
                continue
    return ""
