"""A map by rslearn's parts: its dataset on disk, its crops, merger and writer, without Lightning around them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from _means import means
from numpy.typing import NDArray


class RslearnMap:
    """A scene as one window of an rslearn dataset; putting it there is not timed.

    Args:
        scene: a GeoTIFF of three bands.
        folder: for the dataset.
        repeat: how often the means of the bands are written.
        size: side of a crop, pixels.
        overlap: shared by neighbouring crops, pixels.
        cell_px: pixels along the side of a cell.

    Raises:
        ImportError: rslearn is not installed.
    """

    def __init__(self, scene: Path, folder: Path, *, repeat: int, size: int, overlap: int, cell_px: int) -> None:
        from rslearn.dataset import Dataset, Window
        from rslearn.utils.geometry import Projection
        from rslearn.utils.raster_array import RasterArray
        from upath import UPath

        self.folder, self.repeat = folder, repeat
        self.size, self.overlap, self.cell_px = size, overlap, cell_px
        bands = [f"mean{at}" for at in range(3 * repeat)]
        layers = {"image": _layer("uint8", ["R", "G", "B"]), "means": _layer("float32", bands)}
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"layers": layers}))
        self.dataset = Dataset(UPath(folder))
        with rasterio.open(scene) as file:
            image, metres = file.read(), file.res[0]
            left, top = round(file.bounds.left / metres), round(-file.bounds.top / metres)
            projection = Projection(file.crs, metres, -metres)
        bounds = (left, top, left + image.shape[2], top + image.shape[1])
        factory = self.dataset.window_data_storage_factory
        window = Window(self.dataset.storage, "all", "scene", projection, bounds, None, data_factory=factory)
        window.save()
        kind = self.dataset.layers["image"].band_sets[0]
        with window.data.open_layer_writer("image") as writer:
            form = kind.instantiate_raster_format()
            writer.write_raster(kind.bands, form, projection, bounds, RasterArray(chw_array=image))
        window.mark_layer_completed("image")

    def make(self) -> NDArray[np.float32]:
        """Make the map anew and read it."""
        from rslearn.train.all_crops_dataset import MapAllCropsDataset
        from rslearn.train.dataset import DataInput, ModelDataset, SplitConfig
        from rslearn.train.prediction_writer import RasterMerger, RslearnWriter
        from upath import UPath

        for layer in self.folder.rglob("means"):
            shutil.rmtree(layer)
        split = SplitConfig(crop_size=self.size, overlap_pixels=self.overlap, load_all_crops=True, skip_targets=True)
        inputs = {"image": DataInput("raster", ["image"], bands=["R", "G", "B"], passthrough=True)}
        task = _task()
        data = ModelDataset(self.dataset, split, inputs, task, workers=0)
        merger = RasterMerger(overlap_pixels=self.overlap // self.cell_px, downsample_factor=self.cell_px)
        writer = RslearnWriter("means", path=str(self.folder), merger=merger)
        writer._initialize(UPath(self.folder))  # what Lightning would have called
        for found, _, about in MapAllCropsDataset(data, (self.size, self.size), self.overlap):
            image = np.asarray(found["image"].image).reshape(3, self.size, self.size)
            writer.process_output_batch(task, [np.tile(means(image, self.cell_px), (self.repeat, 1, 1))], [about])
        (path,) = self.folder.rglob("means/*/geotiff.tif")
        with rasterio.open(path) as file:
            made: NDArray[np.float32] = file.read()
        return made


def _layer(dtype: str, bands: list[str]) -> dict[str, Any]:
    return {"type": "raster", "band_sets": [{"dtype": dtype, "bands": bands}]}


def _task() -> Any:
    """A task that hands on what it is given."""
    from rslearn.train.tasks.task import Task

    class Through(Task):
        def process_inputs(self, *_: Any, **__: Any) -> tuple[dict, dict]:
            return {}, {}

        def process_output(self, raw_output: Any, *_: Any) -> Any:
            return raw_output

        def visualize(self, *_: Any) -> dict:
            return {}

        def get_metrics(self) -> Any:
            return None

    return Through()
