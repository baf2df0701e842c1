"""Maps from Python: imagery on disk or in memory in, a map on disk or in memory out.

features = skysense.embed(model, "scene.tif")                 # an xarray.Dataset
product = skysense.embed(model, array, "features.tif")        # files, and a Product that reads them
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skysense.errors import ConfigError, InputError, need
from skysense.maps.embed import embed as embed_to_disk
from skysense.maps.features import Precision
from skysense.maps.fewshot import Method
from skysense.maps.fewshot_map import fewshot_map
from skysense.maps.ground import Ground
from skysense.maps.job import Settings
from skysense.maps.making import Progress
from skysense.maps.predict import MapSettings
from skysense.maps.predict import predict as predict_to_disk
from skysense.maps.product.read import Product, open_product
from skysense.maps.query import query_at, query_in, query_of_image
from skysense.maps.search import APART_CELLS, Query, nearest_cells
from skysense.maps.similar import Similar
from skysense.maps.sources.named import What
from skysense.maps.sources.open import AreaLike
from skysense.model.assembly import SkySense
from skysense.sensors import Modality, Sensor, Unit
from skysense.tasks.adapted import Adapted, load_adapted

if TYPE_CHECKING:
    import xarray

PointLike = tuple[float, float] | Sequence[tuple[float, float]]
"""Longitude and latitude in degrees (WGS 84), or several of them."""
LabelsLike = str | Path | Mapping[str, Any] | Sequence[tuple[float, float, str]]
"""A file, GeoJSON as Python has it, or longitudes, latitudes and class names."""


def embed(
    model: SkySense | str | Path,
    what: What,
    out: str | Path | None = None,
    *,
    area: AreaLike | None = None,
    grid: Modality | None = None,
    sensor: Sensor | str | None = None,
    unit: Unit | str | None = None,
    date: str | None = None,
    frames: int | None = None,
    dims: int | None = None,
    precision: Precision = "float32",
    settings: Settings | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> xarray.Dataset | Product:
    """The fused features of every cell of some imagery, on its own grid.

    Args:
        model: on the device it is to run on, or its file.
        what: paths, arrays of xarray, or a mapping from ``hr``, ``s2`` and ``s1`` to these, see `open_source`. An array
            names its bands by a coordinate, its place by the middles of pixels in ``x`` and ``y`` and a CRS in
            ``spatial_ref`` or ``attrs["crs"]``, its days by ``time``, its unit by ``attrs["units"]``.
        out: ``.tif`` or ``.zarr`` to write; without it the map comes back in memory.
        area: what part of the ground, see `open_source`.
        grid: whose lattice the map has, see `open_source`.
        sensor: what the imagery is, where it does not say so.
        unit: of its numbers, where it does not say so.
        date: ``YYYY-MM-DD``, where it does not say so.
        frames: most frames of a Sentinel series in a window; all if None.
        dims: principal components that are kept instead of all features.
        precision: of the map on disk.
        settings: windows, batches, processes.
        device: where a model's file is loaded to.
        overwrite: replace an output that exists.
        progress: called with windows done, windows in all, and words.

    Returns:
        A data set with the variable ``features`` (``band``, ``y``, ``x``), float32, NaN for no-data, see
        `Product.to_xarray`; with ``out`` the map that was written.

    Raises:
        InputError: the imagery or the model cannot be used, or a map of more than 4 GiB without ``out``.
        OutputError: the output exists or cannot be written.
        ConfigError: settings that contradict themselves.
        MissingExtra: xarray is not installed.
    """
    options: dict[str, Any] = {"area": area, "grid": grid, "sensor": sensor, "unit": unit, "date": date}
    options |= {"frames": frames, "dims": dims, "precision": precision, "settings": settings, "device": device}
    options |= {"quicklook": False, "progress": progress}
    if out is not None:
        return open_product(embed_to_disk(model, what, out, overwrite=overwrite, **options).path)
    need("xarray", "maps")
    with _folder() as folder:
        return _in_memory(embed_to_disk(model, what, folder / "map.tif", in_memory=True, **options).path)


def predict(
    model: Adapted | str | Path,
    what: What,
    out: str | Path | None = None,
    *,
    area: AreaLike | None = None,
    grid: Modality | None = None,
    sensor: Sensor | str | None = None,
    unit: Unit | str | None = None,
    date: str | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    score: float | None = None,
    settings: MapSettings | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> xarray.Dataset | dict[str, Any] | Product | Path:
    """What an adapted model says of some imagery, on its own grid: classes, changes or objects.

    Args:
        model: adapted, on its device, or its file.
        what: as in `embed`; for change ``{"before": ..., "after": ...}``.
        out: ``.tif`` or ``.zarr``, of objects ``.gpkg`` or ``.geojson``, to write; without it the map comes back in
            memory.
        area: what part of the ground, see `open_source`.
        grid: whose lattice the map has, see `open_source`.
        sensor: what the imagery is, where it does not say so.
        unit: of its numbers, where it does not say so.
        date: ``YYYY-MM-DD``, where it does not say so.
        probabilities: also those of all classes.
        uncertainty: also how uncertain answers are.
        score: least score of objects, 0 .. 1; if None the one that was best in validation, see
            `skysense.maps.predict.predict`.
        settings: windows, batches, processes.
        device: where a model's file is loaded to.
        overwrite: replace an output that exists.
        progress: called with steps done, steps in all, and words.

    Returns:
        A data set with a variable per layer, see `Product.to_xarray`; of objects GeoJSON in WGS 84 (a feature
        collection, which geopandas reads by ``GeoDataFrame.from_features``). With ``out`` the map that was written, of
        objects its path.

    Raises:
        InputError: the imagery or the model cannot be used, or a map of more than 4 GiB without ``out``.
        OutputError: the output exists or cannot be written.
        ConfigError: settings that contradict themselves.
        MissingExtra: what the answer needs is not installed.
    """
    options: dict[str, Any] = {"area": area, "grid": grid, "sensor": sensor, "unit": unit, "date": date}
    options |= {"probabilities": probabilities, "uncertainty": uncertainty, "score": score, "settings": settings}
    options |= {"device": device, "quicklook": False, "progress": progress}
    if out is not None:
        made = predict_to_disk(model, what, out, overwrite=overwrite, **options)
        return open_product(made.outputs[0]) if made.layers else made.outputs[0]
    need("xarray", "maps")
    adapted = model if isinstance(model, Adapted) else load_adapted(model, device)
    with _folder() as folder:
        path = folder / ("map.geojson" if "detection" in adapted.task else "map.tif")
        made = predict_to_disk(adapted, what, path, in_memory=True, **options)
        if made.layers:
            return _in_memory(path)
        objects: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return objects


def search(
    product: Product | str | Path,
    *,
    point: PointLike | None = None,
    polygon: str | Path | None = None,
    image: str | Path | None = None,
    model: str | Path | None = None,
    count: int = 10,
    apart: float | None = None,
) -> Similar:
    """The places of a map of features that are most like a point, a polygon or an image.

    Args:
        product: a map of features.
        point: longitude and latitude of what is looked for, degrees; of several their mean direction counts.
        polygon: a GeoJSON file of polygons on the map.
        image: a GeoTIFF of any ground that shows what is looked for.
        model: for an image: the file of the model that made the map.
        count: places wanted; there may be fewer.
        apart: metres between any two of them; 16 cells if None.

    Raises:
        ConfigError: none or several of point, polygon and image, or an image without the model.
        InputError: no map of features, or nothing to look for at that place.
    """
    if [point is not None, polygon is not None, image is not None].count(True) != 1:
        raise ConfigError("say what to look for: one of point, polygon and image")
    if count < 1:
        raise ConfigError(f"count {count}: it must be at least 1")
    opened = product if isinstance(product, Product) else open_product(product)
    query = _query(opened, point, polygon, image, model)
    metres = APART_CELLS * Ground(opened.grid).cell_metres if apart is None else apart
    return Similar(opened, query, tuple(nearest_cells(opened, query, count, metres)))


def _query(
    product: Product,
    point: PointLike | None,
    polygon: str | Path | None,
    image: str | Path | None,
    model: str | Path | None,
) -> Query:
    if point is not None:
        return query_at(product, np.asarray(point, float).reshape(-1, 2))
    if polygon is not None:
        return query_in(product, Path(polygon))
    assert image is not None
    if model is None:
        raise ConfigError("an image needs model, the file of the model that made the map")
    return query_of_image(product, Path(image), Path(model))


def fewshot(
    product: Product | str | Path,
    labels: LabelsLike,
    out: str | Path | None = None,
    *,
    column: str | None = None,
    method: Method = "ridge",
    probabilities: bool = False,
    overwrite: bool = False,
) -> xarray.Dataset | Product:
    """A map of classes from a map of features and a handful of labels.

    Args:
        product: a map of features.
        labels: a file, see `read_labels`; GeoJSON; or ``[(longitude, latitude, class), ...]`` in degrees.
        out: ``.tif`` or ``.zarr`` to write; without it the map comes back in memory.
        column: of the labels in a file or in GeoJSON; the one called label or class by default.
        method: how it is learned.
        probabilities: also the probability of every class.
        overwrite: replace an output that exists.

    Returns:
        A data set with the variables ``classes`` and ``uncertainty``, or the map that was written. What was learned is
        in its metadata, under ``fewshot``.

    Raises:
        InputError: no map of features, or labels that cannot be used.
        OutputError: the output exists or cannot be written.
    """
    path = product.path if isinstance(product, Product) else Path(product)
    options: dict[str, Any] = {"column": column, "method": method, "probabilities": probabilities}
    with _labels_file(labels) as file:
        if out is not None:
            return open_product(fewshot_map(path, file, Path(out), overwrite=overwrite, **options).path)
        need("xarray", "maps")
        with _folder() as folder:
            return _in_memory(fewshot_map(path, file, folder / "map.tif", **options).path)


@contextmanager
def _labels_file(labels: LabelsLike) -> Iterator[Path]:
    """Labels as a file, which is what maps remember of them."""
    if isinstance(labels, str | Path):
        yield Path(labels)
        return
    with _folder() as folder:
        said = getattr(labels, "__geo_interface__", labels)
        if isinstance(said, Mapping):
            file = folder / "labels.geojson"
            file.write_text(json.dumps(said), encoding="utf-8")
        else:
            file = folder / "labels.csv"
            if not all(len(row) == 3 for row in said):
                raise InputError("labels are no triples", fix="Give [(longitude, latitude, class), ...] in degrees")
            with file.open("w", newline="", encoding="utf-8") as table:
                csv.writer(table).writerows([("lon", "lat", "label"), *said])
        yield file


def _in_memory(path: Path) -> xarray.Dataset:
    with open_product(path) as product:
        return product.to_xarray()


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="skysense-") as folder:
        yield Path(folder)
