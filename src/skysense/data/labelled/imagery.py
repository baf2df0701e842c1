"""Reading image files of one data set: PNG, JPEG and TIFF of one sensor, whole or a part.

What the sensor is, is decided once, from the first file or by the person; every file must then be of it. Letters: C
bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.data.geotiff import (
    STRICT,
    acquisition_day,
    alpha_is_data,
    band_names,
    check_unit,
    choose_sensor,
    known_sensor,
    observed,
    opened,
    scale_note,
    suits,
)
from skysense.data.labelled.dataset import Item
from skysense.data.labelled.head import Head, head_of
from skysense.data.labelled.padding import grown, pad_series
from skysense.data.labelled.photograph import read_photograph
from skysense.errors import InputError
from skysense.geo import Window
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, OPTICAL_HR_NIR, SENTINEL1, SENTINEL2_10M, SENTINEL2_L2A, Sensor, Unit

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Endings of image files, whatever their case."""

_GREY = ((ColorInterp.gray,), (ColorInterp.gray, ColorInterp.alpha))
_RICHEST_FIRST = (SENTINEL2_L2A, SENTINEL2_10M, SENTINEL1, OPTICAL_HR_NIR, OPTICAL_HR)


@dataclass(frozen=True)
class Part:
    """What one example is read from.

    Attributes:
        picture: name of the image among those of the data set.
        file: the image.
        window: the part of it, in pixels; all of it if None.
    """

    picture: str
    file: Path
    window: Window | None = None

    def area(self, height: int, width: int) -> Window:
        """The part that lies on an image of this size."""
        everything = Window(0, 0, height, width)
        return everything if self.window is None else self.window.intersect(everything) or everything


@dataclass(frozen=True)
class Image:
    """Imagery that was read.

    Attributes:
        sample: padded to whole windows.
        area: the part of the image that it shows, in pixels.
        whole: height and width of the image.
    """

    sample: Sample
    area: Window
    whole: tuple[int, int]

    @property
    def per_cell(self) -> Literal[1, 32]:
        """Pixels along a 10 m cell of the lattice, which are also those of the labels: 32 or 1."""
        return 32 if "hr" in self.sample.series else 1

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width in pixels, with padding."""
        (series,) = self.sample.series.values()
        return series.values.shape[2], series.values.shape[3]


@dataclass(frozen=True)
class Imagery:
    """How the image files of a data set are read.

    Attributes:
        sensor: what they are of.
        declared: whether a person named the sensor, and with it the unit.
        stretch: values that become 0 and 255, for imagery of more than 8 bits; None for none.
        bands: names of all bands of a file in their order, where it is known and the files do not say it.
        grey: an image of one grey band stands for one whose bands are all the same.
    """

    sensor: Sensor
    declared: bool = False
    stretch: tuple[float, float] | None = None
    bands: tuple[str, ...] = ()
    grey: bool = False

    def __post_init__(self) -> None:
        if self.stretch is not None and not self.stretch[0] < self.stretch[1]:
            raise InputError(f"stretch={self.stretch} must be (low, high) with low < high")
        if self.stretch is not None and self.sensor.unit is not Unit.UINT8:
            raise InputError(f"stretch makes 8-bit imagery; {self.sensor.name} is {self.sensor.unit}")

    def read(self, part: Part, item: Item) -> Image:
        """Read an image or a part of it.

        Args:
            part: which.
            item: gives the name, and the position where the image does not know its own.

        Raises:
            InputError: missing, truncated or foreign, bands, number type or unit of another sensor, nothing observed,
                or values that the sensor cannot measure.
        """
        photograph_HWC = read_photograph(part.file) if self.sensor == OPTICAL_HR and self.stretch is None else None
        if photograph_HWC is not None:
            return self._photograph(part, item, photograph_HWC)
        with rasterio.Env(**STRICT), opened(part.file) as dataset:
            area = part.area(dataset.height, dataset.width)
            box = _box(area)
            indexes, no_alpha = self._bands(dataset, part.file)
            try:
                values_CHW = dataset.read(indexes, window=box)
                seen_HW = observed(dataset, indexes, self.sensor, box, ignore_alpha=no_alpha)
            except (RasterioError, MemoryError) as error:
                raise InputError("is truncated or damaged", file=part.file, fix="Get it again") from error
            tags = {key.upper(): value for key, value in dataset.tags().items()}
            day, _ = acquisition_day(None, tags, part.file)
            head = head_of(dataset)
        if values_CHW.dtype.kind == "f":
            seen_HW &= np.isfinite(values_CHW).all(axis=0)
            values_CHW = np.where(seen_HW, values_CHW, 0).astype(np.float32)
        if self.stretch is not None:
            values_CHW = stretched(values_CHW, *self.stretch)
        if not seen_HW.any():
            raise InputError("holds no observed pixel (all no-data)", file=part.file, fix="Leave it out")
        series = Series(self.sensor, values_CHW[None], np.array([day], "datetime64[D]"), seen_HW[None])
        series.check(str(part.file))
        return self._image(item, pad_series(series), head, area)

    def occupied(self, file: Path, windows: Sequence[Window]) -> list[Window]:
        """The parts of an image where anything was observed; all of them if it cannot be read, which reading says.

        Args:
            file: the image.
            windows: parts of it, in pixels.
        """
        try:
            with opened(file) as dataset:
                indexes, no_alpha = self._bands(dataset, file)
                return [
                    one
                    for one in windows
                    if observed(dataset, indexes, self.sensor, _box(one), ignore_alpha=no_alpha).any()
                ]
        except (InputError, RasterioError):
            return list(windows)

    def _photograph(self, part: Part, item: Item, image_HWC: NDArray[np.uint8]) -> Image:
        """A part of an image that says nothing but its colours."""
        height, width, _ = image_HWC.shape
        head = Head(height, width, crs=None, transform=rasterio.Affine.identity())
        area = part.area(head.height, head.width)
        rows, cols = area.slices()
        values_CHW = image_HWC[rows, cols].transpose(2, 0, 1)
        if values_CHW.size < image_HWC.size:
            values_CHW = values_CHW.copy()  # or the whole image would stay in memory
        seen_HW = np.ones(values_CHW.shape[1:], bool)
        series = Series(self.sensor, values_CHW[None], np.array(["NaT"], "datetime64[D]"), seen_HW[None])
        return self._image(item, pad_series(series), head, area)

    def _image(self, item: Item, series: Series, head: Head, area: Window) -> Image:
        lon, lat = head.position(area)
        if lon is None:
            lon, lat = item.lon, item.lat
        ground = head.footprint(area)
        if ground is not None:
            height, width = series.values.shape[-2:]
            ground = grown(ground, height / area.height, width / area.width)
        sample = Sample(item.name, {self.sensor.modality: series}, lon=lon, lat=lat, footprint=ground)
        return Image(sample, area, (head.height, head.width))

    def _bands(self, dataset: Any, path: Path) -> tuple[list[int], bool]:
        """1-based positions of the sensor's bands in a file, and whether what is marked as alpha is none."""
        names, count = list(self.bands) or band_names(dataset), len(self.sensor.bands)
        if len(names) != dataset.count:
            raise InputError(f"has {dataset.count} bands; it should have {len(names)}: {', '.join(names)}", file=path)
        ignore_alpha = bool(self.bands) or alpha_is_data(dataset)[0]
        if suits(self.sensor, names):
            picked = self.sensor.select(np.arange(1, len(names) + 1), names, axis=0)
            indexes = [int(index) for index in picked]
        elif self.grey and tuple(dataset.colorinterp) in _GREY:
            indexes = [1] * count
        elif len(names) == count and _nameless(dataset):
            indexes, ignore_alpha = list(range(1, count + 1)), True
        else:
            self.sensor.select(np.arange(len(names)), names, axis=0, file=path)  # says what is missing
            raise AssertionError
        self._check_numbers(dataset, indexes, path)
        return indexes, ignore_alpha

    def _check_numbers(self, dataset: Any, indexes: Sequence[int], path: Path) -> None:
        dtypes = {dataset.dtypes[index - 1] for index in indexes}
        if self.sensor.unit is Unit.UINT8:
            if self.stretch is None and dtypes != {"uint8"}:
                raise InputError(
                    f"{self.sensor.name} is 8-bit; found {', '.join(sorted(dtypes))}",
                    file=path,
                    fix="Convert it to 8 bit, or say which values become 0 and 255: option stretch "
                    "(--labels.stretch '[0, 3000]')",
                )
            return
        tags = {key.upper(): value for key, value in dataset.tags().items()}
        unit = tags.get("SKYSENSE_UNIT") or (self.sensor.unit if self.declared else None)
        if unit is None:
            raise InputError(
                f"does not say its unit; {self.sensor.name} must be {self.sensor.unit.value!r}",
                file=path,
                fix=f"If that is what it holds, name the sensor: option sensor (--labels.sensor {self.sensor.name})",
            )
        check_unit(self.sensor, unit, dtypes, path)


def understand(
    files: Iterable[Path], *, sensor: Sensor | str | None = None, stretch: tuple[float, float] | None = None
) -> tuple[Imagery, tuple[str, ...]]:
    """Decide what the images of a data set are, by the first that can be opened.

    Args:
        files: the images.
        sensor: a sensor or its name, which also declares the unit; if None, the tag ``SKYSENSE_SENSOR`` or the names of
            the bands decide, and three nameless bands are red, green and blue.
        stretch: see `Imagery`.

    Returns:
        How to read them, and what a person should know about how they were understood.

    Raises:
        InputError: no file, none that can be opened, or bands that suit no sensor.
    """
    paths = list(files)
    if not paths:
        raise InputError("no image to read")
    path = next((one for one in paths if _opens(one)), paths[0])
    with opened(path) as dataset:
        chosen, notes = _recognised(dataset, sensor, path)
        ground = scale_note(dataset, chosen) if head_of(dataset).crs is not None else ()
    if stretch is not None:
        notes = (*notes, f"values {stretch[0]:g} .. {stretch[1]:g} are stretched to 0 .. 255")
    return Imagery(chosen, sensor is not None, stretch), (*notes, *ground)


def _opens(path: Path) -> bool:
    try:
        with opened(path):
            return True
    except InputError:
        return False


def _recognised(dataset: Any, wanted: Sensor | str | None, path: Path) -> tuple[Sensor, tuple[str, ...]]:
    names = band_names(dataset)
    if wanted is None:
        wanted = {key.upper(): value for key, value in dataset.tags().items()}.get("SKYSENSE_SENSOR")
    fitting = [sensor for sensor in _RICHEST_FIRST if suits(sensor, names)]
    _, notes = alpha_is_data(dataset)
    if wanted is not None:
        chosen = known_sensor(wanted, path)
        if not suits(chosen, names) and len(names) == len(chosen.bands) and _nameless(dataset):
            notes = (f"bands have no names: taken as {', '.join(chosen.bands)}, in this order",)
        return chosen, notes
    if len({sensor.modality for sensor in fitting}) == 1:
        if len(fitting) > 1:
            others = ", ".join(sensor.name for sensor in fitting[1:])
            notes = (*notes, f"taken as {fitting[0].name}; the bands would also suit {others}: name it as the sensor")
        return fitting[0], notes
    if not fitting and len(names) == 3 and _nameless(dataset):
        return OPTICAL_HR, ("the three bands have no names: taken as red, green and blue",)
    return choose_sensor(None, names, _RICHEST_FIRST, path), notes


def _box(window: Window) -> RasterWindow:
    return RasterWindow(window.col, window.row, window.width, window.height)


def _nameless(dataset: Any) -> bool:
    """Whether no band has a description, and no band is a palette (whose numbers are no brightness)."""
    return not any(dataset.descriptions) and ColorInterp.palette not in dataset.colorinterp


def stretched(values: NDArray, low: float, high: float) -> NDArray[np.uint8]:
    """Values between low and high as 0 .. 255, those beyond cut off."""
    scaled = (values.astype(np.float32) - low) * (255 / (high - low))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)
