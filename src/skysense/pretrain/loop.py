"""Pre-training in one explicit loop: read, look twice, compare, step, follow, remember."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skysense.data.corpus import Corpus
from skysense.data.loader import Memory, Stream
from skysense.data.outline import Outline
from skysense.data.places_layout import Place
from skysense.data.shards.read import Shards
from skysense.errors import ConfigError, InputError, Stopped
from skysense.files import flat, make_folder, plain
from skysense.geo import RegionTable, region_cell, region_rule
from skysense.model.loading import MODEL_FILE
from skysense.model.weights import save_model
from skysense.observation import Sample
from skysense.pretrain.agree import even_out
from skysense.pretrain.batch import Drawn, ViewBatch, assemble, draw
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.record import OnStep, Record
from skysense.pretrain.run import Run
from skysense.train.checkpoints import Checkpoint, Checkpoints
from skysense.train.ranks import open_ranks
from skysense.train.stopping import StopSignals
from skysense.train.together import Together

MEMORY_BYTES = 2 << 30
"""Pixels kept decoded between epochs, in each process."""

PlaceStream = Stream[Any, Drawn, ViewBatch]

FREE = ("probe", "parallel", "workers", "most_skipped", "checkpoint_every", "keep", "watch_every")
"""Settings that do not change what is learned: they may change when a run goes on."""


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        model: file of the teacher's weights.
        steps: made in all.
        resumed_from: step of the checkpoint the run went on from, 0 for a fresh run.
        skipped: places that could not be read, are smaller than a view, or had to be left out of a batch since views of
            them showed nothing; with the reason.
        notes: what a person should know.
    """

    model: Path
    steps: int
    resumed_from: int
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def pretrain(
    config: PretrainConfig,
    places: Corpus,
    out: str | Path,
    *,
    device: str | None = None,
    accept_changes: bool = False,
    on_step: OnStep | None = None,
) -> Outcome:
    """Pre-train a model on places, or go on with a run that was cut off; alone, or as one of the ranks of ``torchrun``.

    Everything random is a function of (seed, epoch, place), so that a resumed run repeats what the uninterrupted one
    does: with as many ranks bit for bit on a CPU, and on GPUs as far as their kernels repeat themselves. With other
    ranks the first step is the same to rounding.

    Args:
        config: every number of the run.
        places: what to learn from, one folder or several joined; labels are not read.
        out: folder of the run, seen by all ranks: checkpoints, ``log.jsonl``, TensorBoard events, ``report.html``, with
            probes ``best.safetensors``, and at the end ``model.safetensors``.
        device: of every rank; a GPU if there is one by default.
        accept_changes: go on with a run of another configuration or other places.
        on_step: called by the first rank after each step with the step and its values, for a progress bar.

    Raises:
        InputError: no place, or none that can be read.
        ConfigError: ``out`` holds a run with another configuration or other places; places cannot be divided among the
            ranks.
        OutputError: ``out`` cannot be written to; earlier checkpoints stay.
        SkySenseError: too many steps in a row were not finite; or probes are asked for that cannot be made, as
            `skysense.pretrain.probing.open_probe` raises.
        Stopped: by a signal; a checkpoint was saved.
    """
    with open_ranks(device) as ranks:
        out = make_folder(out)
        regions = region_table(config, places)
        about = {
            "config": plain(dataclasses.asdict(config)),
            "places": fingerprint(places.names),
            "regions": fingerprint(str(cell) for cell in regions.cells),
        }
        together = Together(ranks)
        with Checkpoints(out / "checkpoints", config.keep, ranks) as checkpoints:
            found, notes = checkpoints.newest()
            if found is not None and not accept_changes:
                refuse_other_run(found.about["run"], about, out)
            run = Run(config, regions, together)
            best = None
            if found is not None:
                run.load(found, found.about["numbers"])
                best = _best_before(found, about, checkpoints)
            start = run.step
            stream = open_stream(config, places, regions, rank=ranks.rank, ranks=ranks.size, workers=config.workers)
            with Record(out, config, places, about, start, best, on_step, together) as record:
                _learn(run, stream, checkpoints, record, about, together)
                checkpoints.wait()
                model, teacher = out / MODEL_FILE, run.whole_teacher()
                together.first(lambda: None if teacher is None else save_model(model, teacher))
                record.page(last=True)
        notes += [f"no geo-context: {reason}" for reason in _without_context(config, places, regions)] + record.notes
        skipped = {failure.place: failure.message for failure in places.failures}
        for unused in together.gather(stream.left_out | stream.failed):
            skipped |= {places[index].name: reason for index, reason in sorted(unused.items())}
        return Outcome(model, run.step, start, skipped, notes)


def _learn(
    run: Run,
    stream: PlaceStream,
    checkpoints: Checkpoints,
    record: Record,
    about: Mapping[str, Any],
    together: Together,
) -> None:
    """Make the steps that are left."""
    config, unused = run.config, 0
    with StopSignals() as signals, closing(_views_by_step(stream, run, together)) as steps:
        for step, views, waited in steps:
            began = time.perf_counter()
            values = run.advance(views)
            values |= {"seconds": time.perf_counter() - began, "waited": waited, "left_out": unused}
            looks, is_best = record.look(run)

            def end_step(step: int = step, values: dict[str, float] = values | looks) -> tuple[int, int]:
                record.write(step, values)
                return signals.received, stream.unused

            ends = together.each(end_step)  # what goes wrong on one rank ends all of them alike
            signal, unused = max(received for received, _ in ends), sum(places for _, places in ends)
            stopping = signal > 0 and run.step < config.steps
            due = run.step % config.checkpoint_every == 0 or run.step == config.steps
            if stopping or due or is_best:
                best = {"score": record.best, "is_this": is_best}
                checkpoints.save(run.step, run.tensors(), {"numbers": run.numbers(), "run": about, "best": best})
                record.page()
            if is_best and record.best is not None:
                checkpoints.mark_best(run.step, record.best)
            if stopping:
                checkpoints.wait()
                raise Stopped(
                    f"stopped by a signal; {run.step} of {config.steps} steps are saved, and the same command goes on "
                    "from there",
                    128 + signal,
                )


def _best_before(found: Checkpoint, about: Mapping[str, Any], checkpoints: Checkpoints) -> float | None:
    """The highest score of the probes up to a checkpoint; None if they asked something else."""
    best = found.about["best"]
    if best["score"] is None or found.about["run"]["config"]["probe"] != about["config"]["probe"]:
        return None
    if best["is_this"]:
        checkpoints.mark_best(found.step, best["score"])  # it may have been killed before it did
    return best["score"]


def _views_by_step(
    stream: PlaceStream, run: Run, together: Together
) -> Generator[tuple[int, ViewBatch, float], None, None]:
    """Steps to make, this rank's views for them, and the seconds that they were waited for."""
    sensors = {key: run.student.model.sensor_of(key) for key in run.student.model.modalities}
    fitted = partial(even_out, config=run.config, sensors=sensors, ranks=run.ranks)
    with closing(stream.run(run.step, run.config.steps)) as batches:
        began = time.perf_counter()
        for step, batch in batches:
            views = fitted(batch)
            if views is None:  # no place of any rank can be used
                views = fitted(_stand_in(stream, step, together))
            assert views is not None
            yield step, views, time.perf_counter() - began
            began = time.perf_counter()


def _stand_in(stream: PlaceStream, step: int, together: Together) -> ViewBatch | None:
    """Another place for a step, on the first rank.

    Raises:
        InputError: there is none; on all ranks.
    """
    batch = None

    def find() -> None:
        nonlocal batch
        batch = stream.stand_in(step)

    together.first(find)
    return batch


def region_table(config: PretrainConfig, places: Corpus) -> RegionTable:
    """The regions of a run: the table of its places if that follows the rule of the configuration, else their own."""
    if not config.objective.geo_context:
        return RegionTable([])
    rule = region_rule(config.objective.region_rule)
    if places.regions.rule is rule:
        return places.regions
    return RegionTable.of(((place.lon, place.lat) for place in places), rule)


def open_stream(
    config: PretrainConfig, places: Corpus, regions: RegionTable, *, rank: int = 0, ranks: int = 1, workers: int = 1
) -> PlaceStream:
    """Batches of views by step; too small places are left out.

    Of shards only what the views show is read; what was decoded of places in folders is kept while it fits.
    """
    size = config.views.global_cells

    def check_size(place: Place) -> None:
        if min(place.cells) < size:
            height, width = place.cells
            raise InputError(
                f"is {height} x {width} cells, smaller than a view of {size} x {size}",
                file=place.folder,
                fix="Use a smaller views.global_cells",
            )

    def slot(place: Place) -> int | None:
        return regions.slot(place.lon, place.lat)

    read: Callable[[int], Sample | Outline]
    if isinstance(places, Shards):
        shards = places.for_workers(workers)

        def read(index: int) -> Outline:
            place = shards[index]
            check_size(place)
            return shards.outline(place).in_region(slot(place))
    else:
        folders = places

        def whole(index: int) -> Sample:
            place = folders[index]
            check_size(place)
            return dataclasses.replace(folders.read_sample(place), region=slot(place))

        read = Memory(whole, MEMORY_BYTES)
    return Stream(
        read,
        len(places),
        batch_size=config.batch_size,
        seed=config.seed,
        draw=partial(draw, config=config.views),
        assemble=partial(assemble, config=config.views, objective=config.objective),
        rank=rank,
        ranks=ranks,
        workers=workers,
        likeness=places.likeness if isinstance(places, Shards) else None,
    )


def fingerprint(names: Iterable[str]) -> str:
    """Hash of names in order: the order of data depends on that of the places, slots of regions on their table."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def refuse_other_run(found: dict[str, Any], wanted: dict[str, Any], out: Path) -> None:
    """Refuse to go on with a run of another configuration; `FREE` settings may differ.

    Raises:
        ConfigError: names every key that differs.
    """
    old, new = flat(found), flat(wanted)
    changed = [
        f"{key}: {old.get(key)} -> {new.get(key)}"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and not key.startswith(_FREE)
    ]
    if changed:
        raise ConfigError(
            f"{out} holds a run with other settings ({'; '.join(changed)}). Choose another folder, or these settings; "
            "to go on nevertheless: --accept_changes true"
        )


_FREE = tuple(f"config.{key}" for key in FREE)


def _without_context(config: PretrainConfig, places: Corpus, regions: RegionTable) -> list[str]:
    if not config.objective.geo_context:
        return ["objective.geo_context is off"]
    found = []
    nowhere, outside = _not_in_table(places, regions)
    if nowhere:
        found.append(f"{nowhere} of {len(places)} places have no position")
    if outside:
        found.append(f"{outside} of {len(places)} places lie in no region of the table")
    return found


def _not_in_table(places: Corpus, regions: RegionTable) -> tuple[int, int]:
    """How many places have no position, and how many have one that lies in no region."""
    if isinstance(places, Shards) and regions.rule is region_cell:  # the index of millions knows their cells
        cells = places.column("region")
        return int((cells < 0).sum()), int((~np.isin(cells[cells >= 0], regions.cells)).sum())
    positions = [(place.lon, place.lat) for place in places if place.lon is not None]
    return len(places) - len(positions), sum(regions.slot(*position) is None for position in positions)
