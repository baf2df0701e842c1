"""One GeoTIFF of one sensor, read window by window on the lattice.

Nothing about the file is guessed: bands go by name, the unit is 8-bit or declared, no-data comes from the file's own
mask, nodata value or alpha band. Letters: C bands, H W pixels, h w cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.data.geotiff import (
    acquisition_day,
    alpha_is_data,
    band_names,
    check_unit,
    choose_sensor,
    observed,
    opened,
    scale_note,
)
from skysense.errors import InputError
from skysense.geo import Window
from skysense.observation import Sample, Series
from skysense.sensors import PUBLISHED, Sensor, Unit, looks_offset

_PROBE_WINDOWS = 36  # observed windows over which unit and offset are judged before anything is computed


class UnreadableWindow(InputError):
    """Part of a scene that cannot be used; the rest of the scene can."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known of a scene without reading its pixels.

    Attributes:
        path: the GeoTIFF.
        sensor: what its pixels are.
        indexes: 1-based positions of the sensor's bands in the file, in the sensor's order.
        height, width: pixels.
        crs: of the file, as rasterio gives it.
        transform: the full affine of the file (origin, pixel size, rotation).
        date: acquisition day, NaT if unknown (no date embedding then).
        alpha_is_data: a band is marked as alpha but has another name, so it is no mask.
        notes: what a person should know about how the file was understood.
    """

    path: Path
    sensor: Sensor
    indexes: tuple[int, ...]
    height: int
    width: int
    crs: Any
    transform: Any
    date: np.datetime64
    alpha_is_data: bool = False
    simulated: bool = False
    notes: tuple[str, ...] = ()

    @property
    def cell_px(self) -> int:
        """Pixels along the side of one output cell: 32 for high-resolution imagery, 1 for Sentinel."""
        return self.sensor.cell_px

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of the output grid (h, w); a ragged last cell counts."""
        return math.ceil(self.height / self.cell_px), math.ceil(self.width / self.cell_px)

    @property
    def cell_transform(self) -> Any:
        """Affine of the output grid: same origin and rotation, pixel size times `cell_px`."""
        a, b, c, d, e, f = self.transform[:6]
        k = self.cell_px
        return Affine(a * k, b * k, c, d * k, e * k, f)

    @contextmanager
    def open(self) -> Iterator[SceneReader]:
        """Open the file for reading windows. A reader belongs to the thread that opened it."""
        with opened(self.path) as dataset:
            yield SceneReader(self, dataset)


class SceneReader:
    """Reads windows of an open scene."""

    def __init__(self, scene: Scene, dataset: Any) -> None:
        self.scene = scene
        self._dataset = dataset
        self.pixels_not_finite = 0

    def read(self, window: Window) -> Sample:
        """Read the pixels under a window of cells; what lies outside the scene is padded and marked as not observed.

        A pixel is observed if the file's mask says so, see `observed`. NaN and infinite values never are.

        Args:
            window: in cells; may hang over the right and bottom edge.

        Returns:
            A sample of one frame without position; the caller knows the region.

        Raises:
            UnreadableWindow: the file is damaged there, or holds values that the sensor cannot measure.
        """
        scene = self.scene
        wanted = window.scaled(scene.cell_px)
        inside = wanted.intersect(Window(0, 0, scene.height, scene.width))
        if inside is None:
            raise UnreadableWindow(f"window {window} lies outside the scene", file=scene.path)
        box = RasterWindow(inside.col, inside.row, inside.width, inside.height)
        try:
            read_CHW = self._dataset.read(scene.indexes, window=box)
            seen_HW = observed(self._dataset, scene.indexes, scene.sensor, box, ignore_alpha=scene.alpha_is_data)
        except (RasterioError, MemoryError) as error:
            where = f"rows {inside.row}.. columns {inside.col}.."
            raise UnreadableWindow(f"{where} cannot be read", file=scene.path) from error
        if read_CHW.dtype.kind == "f":
            finite_HW = np.isfinite(read_CHW).all(axis=0)
            self.pixels_not_finite += int((seen_HW & ~finite_HW).sum())
            seen_HW &= finite_HW
            read_CHW = np.where(seen_HW, read_CHW, 0).astype(np.float32)
        self._check_range(read_CHW, seen_HW, inside)
        size = (wanted.height, wanted.width)
        values = np.zeros((1, len(scene.indexes), *size), read_CHW.dtype)
        valid = np.zeros((1, *size), bool)
        values[0, :, : inside.height, : inside.width] = read_CHW
        valid[0, : inside.height, : inside.width] = seen_HW
        series = Series(scene.sensor, values, np.array([scene.date], "datetime64[D]"), valid)
        return Sample(f"{scene.path.name} {window.row},{window.col}", {scene.sensor.modality: series})

    def _check_range(self, values_CHW: NDArray, seen_HW: NDArray[np.bool_], where: Window) -> None:
        if values_CHW.dtype == np.uint8 or not seen_HW.any():
            return
        seen = values_CHW[:, seen_HW]
        low, high = self.scene.sensor.plausible
        if seen.min() < low or seen.max() > high:
            raise UnreadableWindow(
                f"rows {where.row}.. columns {where.col}.. hold {seen.min():g} .. {seen.max():g}; "
                f"{self.scene.sensor.name} lies within {low:g} .. {high:g} {self.scene.sensor.unit}",
                file=self.scene.path,
            )


def open_scene(
    path: str | Path,
    *,
    sensor: Sensor | str | None = None,
    unit: Unit | str | None = None,
    date: str | None = None,
    among: Sequence[Sensor] = PUBLISHED,
) -> Scene:
    """Understand a GeoTIFF: its sensor, bands, unit, date and place.

    Args:
        path: a GeoTIFF with a CRS.
        sensor: a sensor or its name; if None, the tag ``SKYSENSE_SENSOR`` or the band names decide.
        unit: unit of the stored numbers; if None, the tag ``SKYSENSE_UNIT``. High-resolution imagery is 8-bit and needs
            none.
        date: ``YYYY-MM-DD``; if None, the tag ``SKYSENSE_DATE`` or ``TIFFTAG_DATETIME``, if there.
        among: sensors that the band names may decide for.

    Raises:
        InputError: not a readable raster, no CRS or geotransform, unknown sensor, bands that are missing or have no
            name, a unit that is missing or another one, a number type that does not fit, a date that is none.
    """
    path = Path(path)
    with opened(path) as dataset:
        tags = {key.upper(): value for key, value in dataset.tags().items()}
        _check_place(dataset, path)
        names = band_names(dataset)
        chosen = choose_sensor(sensor if sensor is not None else tags.get("SKYSENSE_SENSOR"), names, among, path)
        positions = np.arange(1, dataset.count + 1)
        indexes = tuple(int(index) for index in chosen.select(positions, names, axis=0, file=path))
        check_unit(chosen, unit or tags.get("SKYSENSE_UNIT"), {dataset.dtypes[index - 1] for index in indexes}, path)
        day, note = acquisition_day(date, tags, path)
        scene = Scene(
            path=path,
            sensor=chosen,
            indexes=indexes,
            height=dataset.height,
            width=dataset.width,
            crs=dataset.crs,
            transform=dataset.transform,
            date=day,
            simulated=tags.get("SKYSENSE_SIMULATED") == "yes",
        )
        no_alpha, alpha_note = alpha_is_data(dataset)
        return replace(scene, alpha_is_data=no_alpha, notes=(note, *alpha_note, *scale_note(dataset, chosen)))


def probe(scene: Scene, windows: Iterable[Window]) -> tuple[str, ...]:
    """Look at some windows before computing anything: is there an observed pixel, and do they suit the unit?

    Args:
        scene: an opened scene.
        windows: in the order to look at; reading stops once enough of them held observed pixels.

    Returns:
        Notes about the values.

    Raises:
        InputError: nothing readable, nothing observed, or values that the unit cannot hold.
    """
    seen: list[Series] = []
    tried, reason = 0, None
    enough = 1 if scene.sensor.unit is Unit.UINT8 else _PROBE_WINDOWS
    with scene.open() as reader:
        for window in windows:
            tried += 1
            try:
                series = reader.read(window).series[scene.sensor.modality]
            except UnreadableWindow as error:
                reason = error
                continue
            if series.valid.any():
                seen.append(series)
            if len(seen) == enough:
                break
    if not seen and reason is not None:
        raise InputError(
            f"none of its {tried} windows could be used; the last one: {reason.what}",
            file=scene.path,
            fix="The file is truncated or damaged, or its values are not in the declared unit: get it again",
        ) from reason
    if not seen:
        raise InputError("holds no observed pixel (all no-data)", file=scene.path, fix="Check its no-data")
    values = np.concatenate([series.values for series in seen])
    valid = np.concatenate([series.valid for series in seen])
    scene.sensor.check(values, valid, file=scene.path)
    if scene.sensor.unit is Unit.REFLECTANCE_1E4 and looks_offset(values, valid):
        return (
            "every band stays above 900: this looks like the +1000 offset of Sentinel-2 processing baseline 04.00 or "
            "later; subtract it, or features differ from training",
        )
    return ()


def _check_place(dataset: Any, path: Path) -> None:
    if dataset.crs is None:
        raise InputError(
            "has no CRS, and a map needs one", file=path, fix=f"Assign it: rio edit-info --crs EPSG:32632 {path.name}"
        )
    if dataset.transform.is_identity:
        raise InputError(
            "has a CRS but no geotransform, so nobody knows where its pixels lie",
            file=path,
            fix="Assign it: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM, or rio edit-info --transform",
        )
