"""A scene in, a raster of features out: read a window, run, blend, write, forget.

Three things go on at a time: a thread reads the windows of the next batches, the model runs on the present one, and a
thread compresses and writes the rows that are finished. Memory grows with the scene's width, not with its height.
Letters: B windows of a batch, D features, h w cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from skysense import __version__
from skysense.errors import ConfigError, InputError, OutputError
from skysense.maps.blend import Layout, RowBlender
from skysense.maps.feed import Prepared, Skipped, prepare, read_ahead
from skysense.maps.quicklook import CellSample, draw
from skysense.maps.raster import BLOCK, FeatureRaster, Precision, create
from skysense.maps.scene import Scene, open_scene, probe
from skysense.model.assembly import SkySense
from skysense.model.weights import weights_sha256
from skysense.observation import Batch
from skysense.sensors import Sensor, Unit

WINDOW_CELLS = 16
"""Side of a window: that of a pre-training view (512 px of high-resolution imagery, 16 px of Sentinel)."""
_READ_AHEAD = 3  # batches


@dataclass(frozen=True, kw_only=True)
class EmbedResult:
    """What came out.

    Attributes:
        path: the GeoTIFF of features.
        quicklook: the picture beside it, or None.
        shape: D features, height and width in cells.
        sensor: name of the sensor the scene was read as.
        windows: how many the scene has.
        empty: of these, windows without an observed pixel; they cost nothing.
        skipped: windows that could not be used.
        observed: cells that have features.
        open_rows: rows of the map held in memory at a time.
        notes: what a person should know about how the scene was understood.
    """

    path: Path
    quicklook: Path | None
    shape: tuple[int, int, int]
    sensor: str
    windows: int
    empty: int
    skipped: tuple[Skipped, ...]
    observed: int
    open_rows: int
    notes: tuple[str, ...]


def embed(
    model: SkySense,
    scene: str | Path,
    out: str | Path,
    *,
    sensor: Sensor | str | None = None,
    unit: Unit | str | None = None,
    date: str | None = None,
    window_cells: int = WINDOW_CELLS,
    overlap_cells: int | None = None,
    batch_size: int = 8,
    precision: Precision = "float32",
    quicklook: bool = True,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> EmbedResult:
    """Write the fused features of a whole scene as a GeoTIFF on the scene's own grid.

    Args:
        model: on the device it is to run on; put into evaluation mode for the time being.
        scene: a GeoTIFF of one sensor and one date, see `open_scene`.
        out: the GeoTIFF to write.
        sensor: what the scene is, where the file does not say it; see `open_scene`.
        unit: of its numbers, where the file does not say it.
        date: ``YYYY-MM-DD``, where the file does not say it.
        window_cells: side of a window, a multiple of 4 cells.
        overlap_cells: shared by neighbouring windows; an eighth of a window if None.
        batch_size: windows per forward.
        precision: of the output.
        quicklook: also write a picture of the features beside the output (``out.png``).
        overwrite: replace existing outputs.
        progress: called with windows done and windows in all.

    Raises:
        InputError: the scene cannot be used; the message names the file and what to do.
        OutputError: the output exists or cannot be written.
        ConfigError: settings that contradict themselves.
    """
    scene, out = Path(scene), Path(out)
    picture = out.with_suffix(".png") if quicklook else None
    _check_outputs(scene, out, picture, overwrite)
    if batch_size < 1:
        raise ConfigError(f"batch size {batch_size}: it must be at least 1")
    what = _open(model, scene, sensor=sensor, unit=unit, date=date)
    overlap = window_cells // 8 if overlap_cells is None else overlap_cells
    layout = Layout(*what.cells, window_cells, overlap)
    what = replace(what, notes=(*what.notes, *probe(what, layout.shuffled())))
    tags = _tags(model, what, layout)
    run = _Run(model, what, layout, batch_size, progress)
    with _evaluating(model):
        sample, shape, open_rows = run.write(out, tags, precision)
    if picture is not None:
        draw(out, picture, sample)
    notes = what.notes
    if run.not_finite:
        notes += (f"{run.not_finite} pixels read in its windows hold NaN or infinite values and count as no-data",)
    if run.no_context:
        notes += (
            f"{run.no_context} of {len(layout)} windows lie in regions whose prototypes this model never learned: "
            "their geo-context is zero",
        )
    return EmbedResult(
        path=out,
        quicklook=picture,
        shape=shape,
        sensor=what.sensor.name,
        windows=len(layout),
        empty=run.empty,
        skipped=tuple(run.skipped),
        observed=sample.observed,
        open_rows=open_rows,
        notes=notes,
    )


def _open(
    model: SkySense, path: Path, *, sensor: Sensor | str | None, unit: Unit | str | None, date: str | None
) -> Scene:
    """Open a scene as the model reads it: an encoder of four bands takes these out of a scene with more."""
    reads = {key: model.sensor_of(key) for key in model.modalities}
    scene = open_scene(path, sensor=sensor, unit=unit, date=date, among=tuple(reads.values()))
    wanted = reads.get(scene.sensor.modality)
    if wanted is None:
        raise InputError(f"is {scene.sensor.name}; this model reads {', '.join(reads) or 'nothing'}", file=path)
    if wanted == scene.sensor:
        return scene
    return open_scene(path, sensor=wanted, unit=unit or scene.sensor.unit, date=date)


class _Run:
    """One pass over a scene, and what it counted."""

    def __init__(
        self,
        model: SkySense,
        scene: Scene,
        layout: Layout,
        batch_size: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.model, self.scene, self.layout, self.batch_size = model, scene, layout, batch_size
        self._progress = progress
        self._total, self._done = len(layout), 0
        self.empty, self.not_finite, self.no_context = 0, 0, 0
        self.skipped: list[Skipped] = []

    def write(
        self, out: Path, tags: dict[str, str], precision: Precision
    ) -> tuple[CellSample, tuple[int, int, int], int]:
        """Compute and write the map; returns a sample of its cells, its shape and the rows held in memory."""
        height, width = self.scene.cells
        sample = CellSample(height * width)
        bands = band_names(self.model)
        shape = (len(bands), height, width)
        place = {"crs": self.scene.crs, "transform": self.scene.cell_transform}
        table = self.model.region_table
        prepared = read_ahead(lambda: prepare(self.scene, self.layout, self.batch_size, table), _READ_AHEAD)
        with (
            create(out, shape=shape, bands=bands, tags=tags, precision=precision, **place) as raster,
            _Writer(raster, sample) as writer,
            closing(prepared),
        ):
            blender = RowBlender(self.layout, len(bands), BLOCK, writer.write)
            for some in prepared:
                self._count(some)
                if some.batch is not None:
                    for window, *features in zip(some.windows, *forward(self.model, some.batch), strict=True):
                        blender.add(window, *features)
                if self._progress is not None:
                    self._progress(self._done, self._total)
            blender.close()
            writer.finish()
            if not sample.observed:
                raise InputError("no cell is at least half observed", file=self.scene.path, fix="Check its no-data")
            if self.skipped:
                raster.tag({"SKYSENSE_SKIPPED_WINDOWS": str(len(self.skipped))})
        return sample, shape, blender.open_rows

    def _count(self, some: Prepared) -> None:
        self._done += some.done
        self.empty += some.empty
        self.skipped += some.skipped
        self.not_finite += some.not_finite
        if some.batch is not None and self.model.geo is not None:
            region_B, learned = some.batch.region_B, self.model.geo.initialised.cpu()
            self.no_context += int(((region_B < 0) | ~learned[region_B.clamp(min=0)]).sum())


def band_names(model: SkySense) -> list[str]:
    """What the bands of the output are called: ``fused 0 ...``, then ``context 0 ...`` if the model has regions."""
    width = model.config.fusion.dim
    parts = ("fused", "context")[: model.cells_dim // width]
    return [f"{part} {at}" for part in parts for at in range(width)]


def forward(model: SkySense, batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Run the model on its own device.

    Args:
        model: in evaluation mode, without autograd.
        batch: on any device.

    Returns:
        Features ``(B, D, h, w)`` and the cells ``(B, h, w)`` that have any.
    """
    features = model(batch.to(next(model.parameters()).device))
    return features.cells_BDhw.float().cpu().numpy(), features.occupied_Bhw.cpu().numpy()


class _Writer:
    """Writes finished rows in a thread, one block at a time."""

    def __init__(self, raster: FeatureRaster, sample: CellSample) -> None:
        self._raster, self._sample = raster, sample
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        self._last: Future[None] | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def write(self, row: int, values_Dhw: NDArray[np.float32]) -> None:
        """Begin to write rows; waits for the rows before, and raises what went wrong with them."""
        self.finish()
        self._last = self._thread.submit(self._write, row, values_Dhw)

    def finish(self) -> None:
        """Wait until everything is written."""
        if self._last is not None:
            self._last.result()

    def _write(self, row: int, values_Dhw: NDArray[np.float32]) -> None:
        self._sample.add(values_Dhw)
        self._raster.write(row, values_Dhw)


@contextmanager
def _evaluating(model: SkySense) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def _check_outputs(scene: Path, out: Path, picture: Path | None, overwrite: bool) -> None:
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise OutputError("the output is a GeoTIFF", file=out, fix="Call it .tif")
    if out.resolve() == scene.resolve():
        raise OutputError("is the scene itself", file=out, fix="Choose another name for the output")
    for path in (out, picture):
        if path is not None and path.exists() and not overwrite:
            raise OutputError("exists already", file=path, fix="Choose another name, or allow overwriting")


def _tags(model: SkySense, scene: Scene, layout: Layout) -> dict[str, str]:
    tags = {
        "SOFTWARE": f"skysense {__version__}",
        "MODEL_SHA256": weights_sha256(model.state_dict()),
        "SOURCE": scene.path.name,
        "SOURCE_SENSOR": scene.sensor.name,
        "SOURCE_BANDS": ",".join(scene.sensor.bands),
        "WINDOW_CELLS": str(layout.size),
        "OVERLAP_CELLS": str(layout.overlap),
        "PIXELS_PER_CELL": str(scene.cell_px),
    }
    if not np.isnat(scene.date):
        tags["DATE"] = str(scene.date)
    if scene.simulated:
        tags["SIMULATED"] = "yes"
    return {f"SKYSENSE_{key}": value for key, value in tags.items()}
