"""Imagery in, a map of features out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skysense import __version__
from skysense.errors import ConfigError
from skysense.maps.account import Account, Skipped
from skysense.maps.answer import Answerer
from skysense.maps.features import FEATURES, FeatureAnswerer, FeatureRecipe, Precision
from skysense.maps.fit import Components, Fit, fit, sample_cells
from skysense.maps.job import Job, Settings, begin
from skysense.maps.making import Progress, make
from skysense.maps.planner import plan_words, try_out
from skysense.maps.product.memory import check_size
from skysense.maps.product.read import open_product
from skysense.maps.product.work import picture_of
from skysense.maps.quicklook import draw
from skysense.maps.source import Source
from skysense.maps.sources.imagery import Imagery
from skysense.maps.sources.named import Entry, What, named
from skysense.maps.sources.open import AreaLike, open_source
from skysense.maps.sources.probe import probe
from skysense.model.assembly import SkySense
from skysense.model.modes import evaluating
from skysense.model.weights import weights_sha256
from skysense.sensors import Modality, Sensor, Unit

MOST_BANDS = 256
"""Maps of more bands become a Zarr if nothing else is said: many programs do not open such a GeoTIFF."""


@dataclass(frozen=True, kw_only=True)
class EmbedResult:
    """What came out.

    Attributes:
        path: the map.
        quicklook: the picture beside it, or None.
        shape: features, height and width in cells.
        sensors: names of the sensors the imagery was read as.
        windows: how many the map has.
        empty: of these, windows without an observed pixel; they cost nothing.
        skipped: windows that could not be used.
        lost: frames that could not be read, for people, and in how many windows they were left out.
        observed: cells that have features.
        resumed: parts that an earlier run had finished.
        notes: what a person should know about how the imagery was understood.
    """

    path: Path
    quicklook: Path | None
    shape: tuple[int, int, int]
    sensors: tuple[str, ...]
    windows: int
    empty: int
    skipped: tuple[Skipped, ...]
    lost: dict[str, int]
    observed: int
    resumed: int
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from skysense.maps.draw import file_html

        facts = {"windows": self.windows, "skipped": len(self.skipped), "notes": "; ".join(self.notes)}
        return file_html(self.path, facts)


def embed(
    model: SkySense | str | Path,
    source: What,
    out: str | Path,
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
    quicklook: bool = True,
    overwrite: bool = False,
    in_memory: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> EmbedResult:
    """Write the fused features of every cell of some imagery on its own grid; the same call goes on after a cut.

    Args:
        model: on its device, put into evaluation mode for the time being; or its file, which every process loads.
        source: what is read, see `open_source`.
        out: ``.tif`` (a Cloud-Optimized GeoTIFF) or ``.zarr``; without a suffix it gets ``.tif`` up to 256 features,
            ``.zarr`` above.
        area: what part of the ground, see `open_source`.
        grid: whose lattice the map has, see `open_source`.
        sensor: what the imagery is, where the files do not say it.
        unit: of its numbers, where the files do not say it.
        date: ``YYYY-MM-DD``, where the files do not say it.
        frames: most frames of a Sentinel series in a window; all if None.
        dims: principal components that are kept instead of all features.
        precision: of the map; ``int8`` has a scale and an offset per feature.
        settings: windows, batches, processes.
        device: where a model's file is loaded to.
        quicklook: also write a picture of the features beside the map (``out.tif.png``).
        overwrite: replace existing outputs, and begin anew where another run left its work.
        in_memory: the map is going to be read as a whole: refuse one that is too large for that.
        progress: called with windows done, windows in all, and words.
        say: called with what is going to be done before it is done.

    Raises:
        InputError: the imagery or the model cannot be used; the message names the file and what to do.
        OutputError: the output exists or cannot be written; what was finished stays for the next call.
        ConfigError: settings that contradict themselves.
    """
    settings = settings or Settings()
    recipe = FeatureRecipe(model if isinstance(model, SkySense) else Path(model), device, precision)
    answerer = recipe.build()
    with evaluating(answerer.model):
        given: dict[str, Any] = {"area": area, "grid": grid, "sensor": sensor, "unit": unit, "date": date}
        imagery = _imagery(answerer.model, source, frames=frames, **given)
        notes = (*imagery.notes, *probe(imagery, settings.layout_of(imagery).shuffled()))
        unfitted = FeatureAnswerer(answerer.model, precision, dims=dims)
        if in_memory:
            check_size(imagery.grid, unfitted.layers)
        out = named_output(Path(out), len(unfitted.layers[0].bands))
        picture = picture_of(out) if quicklook else None
        about = about_run(answerer.model, imagery, settings, {"precision": precision, "dims": dims})
        options: dict[str, Any] = {"picture": picture, "overwrite": overwrite, "source_files": paths_of(source)}
        job = begin(imagery, unfitted, out, settings, about, **options)
        if dims is not None or precision == "int8":
            recipe = replace(recipe, fit=fitted(job, answerer, dims, precision))
            answerer = FeatureAnswerer(answerer.model, precision, recipe.fit)
            job = job.with_layers(answerer.layers)
        resumed = len(job.parting.parts) - len(job.todo())
        if say is not None:
            say(plan_words(job, answerer, try_out(job, answerer, job.todo())))
        account = make(job, recipe, answerer, settings, progress)
    notes += account.notes()
    said = about | _learned(recipe.fit) | {"notes": list(notes), "account": account.to_json()}
    job.work.finish(said, draw=_draw)
    return _result(job, account, resumed, notes)


def _imagery(model: SkySense, source: What, *, frames: int | None, **given: Any) -> Imagery:
    """The source as a model reads it."""
    if frames is not None and frames < 1:
        raise ConfigError(f"frames {frames}: it must be at least 1")
    reads = {key: model.sensor_of(key) for key in model.modalities}
    most: dict[Modality, int] | None = None if frames is None else {key: frames for key in reads if key != "hr"}
    return open_source(source, reads=reads, frames=most, **given)


def _learned(fit: Fit | None) -> dict[str, Any]:
    if fit is None or fit.axes_DK is None:
        return {}
    return {"explained_variance": fit.explained, "components": Components(fit.mean_D, fit.axes_DK).to_json()}


def _draw(made: Path, picture: Path) -> None:
    with open_product(made) as product:
        draw(product, FEATURES, picture)


def _result(job: Job, account: Account, resumed: int, notes: tuple[str, ...]) -> EmbedResult:
    return EmbedResult(
        path=job.work.out,
        quicklook=job.work.drawn,
        shape=(len(job.work.layers[0].bands), job.layout.height, job.layout.width),
        sensors=tuple(one.name for one in job.source.sensors.values()),
        windows=account.windows,
        empty=account.empty,
        skipped=tuple(account.skipped),
        lost=dict(account.lost),
        observed=account.observed,
        resumed=resumed,
        notes=notes,
    )


def fitted(job: Job, answerer: Answerer, dims: int | None, precision: Precision) -> Fit:
    """Projection, scales and offsets of a map: those that an earlier run kept, or learned now and kept."""
    kept = job.work.kept_array("fit")
    if kept is not None:
        return Fit.of_arrays(kept)
    cells_ND = sample_cells(job.source, job.layout, answerer, FEATURES, job.batch_size)
    found = fit(cells_ND, dims, scaled=precision == "int8")
    job.work.keep_array("fit", found.arrays())
    return found


def named_output(out: Path, bands: int) -> Path:
    """A name with a suffix, which says the format."""
    if out.suffix:
        return out
    return out.with_name(out.name + (".tif" if bands <= MOST_BANDS else ".zarr"))


def paths_of(source: What) -> list[Path]:
    """Files and folders that a source names."""
    found = named(source)
    entries = [found] if isinstance(found, Entry) else list(found.values())
    return [path for entry in entries for path in entry.paths]


def about_run(model: SkySense, source: Source, settings: Settings, more: dict[str, Any]) -> dict[str, Any]:
    """What decides the pixels of a map; a run goes on only with the same, and a map carries it.

    Args:
        model: that answers.
        source: what is read.
        settings: windows and batches.
        more: what else decides.
    """
    layout = settings.layout_of(source)
    return {
        "software": f"skysense {__version__}",
        "model": {"sha256": weights_sha256(model.state_dict()), "card": model.card},
        "source": source.about(),
        "window_cells": layout.size,
        "overlap_cells": layout.overlap,
        "batch_size": settings.batch_size,
        **more,
    }
