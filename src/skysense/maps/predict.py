"""From imagery to a map of answers by an adapted model: classes, changes, objects.

Windows are those the model is judged by: of the size it was adapted with, sharing a quarter of their side, so that a
map of an image says what `skysense evaluate` counts. Where the last window of a row or column shares more, and around
what is no-data, answers are weighted differently; nowhere are they others.

Letters: N objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skysense import __version__
from skysense.data.labelled.example import Task
from skysense.errors import ConfigError, OutputError, need
from skysense.geo import WINDOW_CELLS
from skysense.maps.account import Account
from skysense.maps.class_picture import draw_classes, draw_objects
from skysense.maps.found import found_of
from skysense.maps.grid import Grid
from skysense.maps.job import Job, Settings, begin
from skysense.maps.making import Progress, make
from skysense.maps.objects import objects_of
from skysense.maps.pairs import PairSource
from skysense.maps.planner import plan_words, try_out
from skysense.maps.product.layer import Layer
from skysense.maps.product.memory import check_size
from skysense.maps.product.work import picture_of
from skysense.maps.source import Source
from skysense.maps.sources.named import Entry, What, named, named_pair
from skysense.maps.sources.open import AreaLike, open_pair, open_source
from skysense.maps.sources.probe import probe
from skysense.maps.task_answers import OF_WHOLE, TaskAnswerer, TaskRecipe
from skysense.maps.task_layers import MOST_CLASSES
from skysense.maps.vectors import SUFFIXES, corners_of, on_the_ground, write_vectors
from skysense.model.modes import evaluating
from skysense.model.weights import weights_sha256
from skysense.sensors import Modality, Sensor, Unit
from skysense.tasks.adapted import Adapted
from skysense.tasks.pieces import OVERLAP

SCORE = 0.3
"""Least score of objects where the model does not say which is best."""
CHANGES: tuple[Task, ...] = ("change", "semantic-change")
"""Tasks that are answered from imagery of two dates."""


@dataclass(frozen=True, kw_only=True)
class MapResult:
    """What came out.

    Attributes:
        outputs: files or folders of the map, the answer first.
        quicklook: a picture of it, or None.
        task: kind of answer.
        layers: of the map; none of objects.
        shape: height and width in pixels.
        objects: how many of each class were found; empty where the answer is no objects.
        account: what became of the windows.
        notes: what a person should know.
    """

    outputs: tuple[Path, ...]
    quicklook: Path | None
    task: Task
    layers: tuple[Layer, ...]
    shape: tuple[int, int]
    objects: dict[str, int]
    account: Account
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from skysense.maps.draw import file_html, html_table

        facts = {"windows": self.account.windows, "notes": "; ".join(self.notes)}
        if self.layers:
            return file_html(self.outputs[0], facts)
        return html_table({"objects": self.outputs[0].name} | self.objects | facts)


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """How windows are laid out and computed; what is None is as the model was adapted.

    Attributes:
        window_cells: side of a window, a multiple of 4 cells; where the answer is one for a window, it is that of the
            images the model has learned from.
        overlap_cells: shared by neighbouring windows; a quarter of a window if None.
        batch_size: windows per forward.
        flips: average over mirror images.
        workers, engine, cluster: by whom windows are computed, see `Settings`.

    Raises:
        ConfigError: numbers that are none.
    """

    window_cells: int | None = None
    overlap_cells: int | None = None
    batch_size: int | None = None
    flips: bool | None = None
    workers: int = 1
    engine: Literal["local", "ray"] = "local"
    cluster: str | None = None

    def __post_init__(self) -> None:
        for name in ("window_cells", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} {value}: it must be at least 1; without it the model's own is used")

    def of(self, adapted: Adapted, grid: Grid) -> Settings:
        """Those of a model on a map; a map smaller than a window is one smaller window.

        Raises:
            ConfigError: numbers that are none.
        """
        usual = adapted.config.window_cells
        if adapted.task in OF_WHOLE:
            usual = adapted.card.get("adapted", {}).get("cells", usual)
        wanted = usual if self.window_cells is None else self.window_cells
        side = min(wanted, _whole(max(grid.height, grid.width)))
        return Settings(
            window_cells=side,
            overlap_cells=side // OVERLAP if self.overlap_cells is None else self.overlap_cells,
            batch_size=adapted.config.batch_size if self.batch_size is None else self.batch_size,
            workers=self.workers,
            engine=self.engine,
            cluster=self.cluster,
        )


def predict(
    model: Adapted | str | Path,
    source: What,
    out: str | Path,
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
    quicklook: bool = True,
    overwrite: bool = False,
    in_memory: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> MapResult:
    """Write what an adapted model says of imagery of any size on the imagery's own grid; called again it goes on.

    Args:
        model: adapted, on its device, put into evaluation mode for the time being; or its file.
        source: imagery, see `open_source`; for change ``{before: ..., after: ...}``, see `open_pair`.
        out: ``.tif`` or ``.zarr``, for objects ``.gpkg`` or ``.geojson``; without a suffix the first of them.
        area: what part of the ground, see `open_source`.
        grid: whose lattice the map has, see `open_source`.
        sensor: what the imagery is, where the files do not say it.
        unit: of its numbers, where the files do not say it.
        date: ``YYYY-MM-DD``, where the files do not say it.
        probabilities: also store those of all classes.
        uncertainty: also store how uncertain answers are, see `TaskLayers`.
        score: least score of objects, 0 .. 1; if None that of the best F1 on the examples the model was validated by,
            0.3 if it does not know.
        settings: windows, batches, processes.
        device: where a model that is given as a file runs.
        quicklook: also draw the classes, or the objects of a small map over its imagery, beside the output.
        overwrite: replace existing outputs, and begin anew where another run was cut off.
        in_memory: the map is going to be read as a whole: refuse one that is too large for that.
        progress: called with steps done, steps in all and words.
        say: called with what is going to be done before it is done.

    Raises:
        InputError: the model or the imagery cannot be used; the message names the file and what to do.
        OutputError: the output exists, has another kind of name or cannot be written.
        ConfigError: settings that contradict themselves.
        MissingExtra: what writes the output is not installed.
    """
    if score is not None and not 0 <= score <= 1:
        raise ConfigError(f"score {score:g}: it must lie within 0 .. 1")
    settings = settings or MapSettings()
    model = model if isinstance(model, Adapted) else Path(model)
    recipe = TaskRecipe(model, device, settings.flips, probabilities, uncertainty)
    answerer = recipe.build()
    out = _named(Path(out), answerer)
    imagery = _open(answerer.adapted, source, area=area, grid=grid, sensor=sensor, unit=unit, date=date)
    if in_memory:
        check_size(imagery.grid, answerer.layers)
    plan = _Plan(
        imagery,
        recipe,
        answerer,
        settings.of(answerer.adapted, imagery.grid),
        out,
        picture=picture_of(out) if quicklook else None,
        overwrite=overwrite,
        source_files=_paths(source, answerer.adapted),
    )
    account = plan.run(progress, say)
    return plan.write(account, score, progress)


class _Plan:
    """A map to be made by a model."""

    def __init__(
        self,
        imagery: Source,
        recipe: TaskRecipe,
        answerer: TaskAnswerer,
        settings: Settings,
        out: Path,
        **options: Any,
    ) -> None:
        self._recipe, self._answerer, self._settings = recipe, answerer, settings
        self._about = _about(answerer, imagery, settings)
        self._job = begin(imagery, answerer, out, settings, self._about, **options)
        self._notes = (*imagery.notes, *_lacking(answerer.adapted, imagery), *_probed(imagery, self._job))

    def run(self, progress: Progress | None, say: Callable[[str], None] | None) -> Account:
        """Answer all windows."""
        adapted, job = self._answerer.adapted, self._job
        with evaluating(adapted.encoder), evaluating(adapted.head):
            if say is not None:
                say(plan_words(job, self._answerer, try_out(job, self._answerer, job.todo())))
            return make(job, self._recipe, self._answerer, self._settings, progress)

    def write(self, account: Account, score: float | None, progress: Progress | None) -> MapResult:
        """Make the output of what was answered."""
        answerer, work = self._answerer, self._job.work
        objects: dict[str, int] = {}
        about = self._about | {"account": account.to_json()}
        if answerer.layers:
            outputs = work.finish(about, None if progress is None else _words(progress, "writing"), draw=draw_classes)
        else:
            outputs = (work.out,)
            score, note = _least_score(answerer.adapted, score)
            objects = _write_objects(self._job, answerer.adapted, about, score)
            self._notes += note
        fine = self._job.source.grid.finer(answerer.per_cell)
        return MapResult(
            outputs=outputs,
            quicklook=work.drawn,
            task=answerer.adapted.task,
            layers=answerer.layers,
            shape=(fine.height, fine.width),
            objects=objects,
            account=account,
            notes=(*self._notes, *account.notes()),
        )


def _named(out: Path, answerer: TaskAnswerer) -> Path:
    """The output with a suffix that suits the answer."""
    classes = len(answerer.adapted.classes)
    if classes > MOST_CLASSES:
        raise ConfigError(f"a map holds {MOST_CLASSES} classes at most; this model has {classes}")
    if not answerer.layers:
        need("pyogrio", "detect")
    if not out.suffix:
        out = out.with_name(out.name + (".tif" if answerer.layers else SUFFIXES[0]))
    if not answerer.layers and out.suffix.lower() not in SUFFIXES:
        raise OutputError("this model finds objects, which are polygons", file=out, fix="Call it .gpkg or .geojson")
    return out


def _open(adapted: Adapted, what: What, **said: Any) -> Source:
    """Imagery as the model reads it, of two dates for change."""
    config = adapted.config
    frames: dict[Modality, int] = {"s2": config.frames_s2, "s1": config.frames_s1}
    if config.clear_only:
        frames = {}  # the model chooses among all: those that are too cloudy make room for others
    said |= {"reads": adapted.encoder.sensors, "frames": frames}
    if adapted.task in CHANGES:
        return PairSource(*open_pair(what, **said))
    return open_source(what, **said)


def _about(answerer: TaskAnswerer, imagery: Source, settings: Settings) -> dict[str, Any]:
    """What decides the pixels of a map; a run goes on only with the same, and a map carries it."""
    adapted = answerer.adapted
    state = {f"encoder.{name}": tensor for name, tensor in adapted.encoder.state_dict().items()}
    state |= {f"head.{name}": tensor for name, tensor in adapted.head.state_dict().items()}
    layout = settings.layout_of(imagery)
    return {
        "software": f"skysense {__version__}",
        "model": {"sha256": weights_sha256(state), "card": adapted.card},
        "task": adapted.task,
        "classes": list(adapted.classes),
        "source": imagery.about(),
        "window_cells": layout.size,
        "overlap_cells": layout.overlap,
        "batch_size": settings.batch_size,
        "flips": answerer.flips,
    }


def _paths(what: What, adapted: Adapted) -> list[Path]:
    """Files and folders that a source names."""
    dates = named_pair(what) if adapted.task in CHANGES else (named(what),)
    entries = [entry for one in dates for entry in ([one] if isinstance(one, Entry) else one.values())]
    return [path for entry in entries for path in entry.paths]


def _lacking(adapted: Adapted, imagery: Source) -> Iterator[str]:
    missing = [key for key in adapted.encoder.modalities if key not in imagery.sensors]
    if missing:
        yield f"the model also reads {', '.join(missing)}: without it its answers are worse than when it was judged"


def _probed(imagery: Source, job: Job) -> Iterator[str]:
    """What a look at some windows says, of either date."""
    if not isinstance(imagery, PairSource):
        yield from probe(imagery, job.layout.shuffled())
        return
    for name, source in (("before", imagery.before), ("after", imagery.after)):
        yield from (f"{name}: {note}" for note in probe(source, job.layout.shuffled()))


def _least_score(adapted: Adapted, wanted: float | None) -> tuple[float, tuple[str, ...]]:
    """From which score on objects are written, and what is to be said about it."""
    if wanted is not None:
        return wanted, ()
    known = adapted.card.get("adapted", {}).get("least_score")
    why = "the best F1 on the examples for validation" if known is not None else "the model does not say which is best"
    score = SCORE if known is None else known
    return score, (f"objects with a score of {score:.3g} or more ({why}); --score chooses another",)


def _write_objects(job: Job, adapted: Adapted, about: dict[str, Any], score: float) -> dict[str, int]:
    """Write the objects of all windows put together; how many there are by class."""
    oriented = adapted.task == "oriented-detection"
    found = objects_of(found_of(job.work, job.parting), job.layout, adapted.per_cell, oriented)
    boxes_NP, scores_N, label_N = found.boxes_NP.numpy(), found.scores_N.numpy(), found.label_N.numpy()
    kept_N = scores_N >= score
    boxes_NP, scores_N, label_N = boxes_NP[kept_N], scores_N[kept_N], label_N[kept_N]
    grid = job.source.grid
    on_ground = on_the_ground(boxes_NP, label_N, scores_N, grid.finer(adapted.per_cell))
    job.work.finish(
        about,
        write=lambda path: write_vectors(path, on_ground, adapted.classes, grid.crs, about | {"score": score}),
        draw=lambda _, path: draw_objects(job.source, corners_of(boxes_NP), label_N, adapted.per_cell, path),
    )
    counts = Counter(adapted.classes[label] for label in label_N.tolist())
    return {name: counts[name] for name in adapted.classes if counts[name]}


def _words(progress: Progress, words: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(done, total, words)


def _whole(cells: int) -> int:
    """The next side of a window."""
    return -(-cells // WINDOW_CELLS) * WINDOW_CELLS
