"""One model beside what it has to beat: random weights, raw pixels, chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from skysense.data.places import Places
from skysense.errors import InputError
from skysense.model.assembly import SkySense
from skysense.observation import Sample
from skysense.probes.features import FrozenFeatures, extract
from skysense.probes.prepare import FRAMES
from skysense.probes.protocol import Method, Results, run
from skysense.probes.raw import extract_raw
from skysense.probes.targets import outer_folds, read_targets, tasks_of

PRETRAINED = "pre-trained + linear"
PRETRAINED_KNN = "pre-trained + kNN"
RANDOM = "random weights + linear"
RANDOM_KNN = "random weights + kNN"
RAW_LINEAR = "raw pixels + linear"
RAW_FOREST = "raw pixels + random forest"
CHANCE = "majority"
METHODS = (PRETRAINED, PRETRAINED_KNN, RANDOM, RANDOM_KNN, RAW_LINEAR, RAW_FOREST, CHANCE)
"""In the order in which tables show them."""

COMPARISONS = ((PRETRAINED, RANDOM), (PRETRAINED_KNN, RANDOM_KNN), (PRETRAINED, RAW_LINEAR), (PRETRAINED, RAW_FOREST))
"""Paired differences that every table shows."""

Progress = Callable[..., None]
"""``progress(done, in_all, words)``."""


def probe_model(model: SkySense, places: Places, *, seed: int = 0, progress: Progress | None = None) -> Results:
    """Probe a model on every label of a folder of places.

    Args:
        model: on the device to run on.
        places: with labels; split as they say, or by cross-validation. See `Places.readable` for folders in which some
            may be damaged.
        seed: of the random weights and of the heads.
        progress: called after each place and each probe.

    Returns:
        Values with intervals, and the differences of `COMPARISONS`.

    Raises:
        InputError: no labels, or places that cannot be read.
    """
    tasks = tasks_of(places)
    if not tasks:
        raise InputError("has no labels to probe", file=places.root)
    masks = any(task.kind == "mask" for task in tasks)
    features = model_features(model, places, seed, cells=masks, progress=progress)
    raw = extract_raw(places, cells=masks, progress=_with_words(progress, "raw pixels"))
    methods = [*model_methods(features, seed), *raw_methods(raw, (seed,))]
    tell = counted(progress, len(tasks) * len(methods))
    results = run([read_targets(places, task) for task in tasks], methods, outer_folds(list(places)), progress=tell)
    for a, b in COMPARISONS:
        results.compare(a, b)
    return results


def without_context(model: SkySense, places: Places) -> int:
    """How many places lie in no region whose prototypes the model has learned; 0 for a model without prototypes."""
    if model.geo is None:
        return 0
    table, learned = model.region_table, model.geo.initialised.tolist()
    slots = [table.slot(place.lon, place.lat) for place in places]
    return sum(slot is None or not learned[slot] for slot in slots)


def random_twin(model: SkySense, seed: int) -> SkySense:
    """The same architecture with random weights, on the same device; its prototypes give no context."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = SkySense(model.dimensions(), model.region_table.cells, model.pieces)
    like = next(model.parameters())
    return twin.to(device=like.device, dtype=like.dtype).eval()


def model_features(
    model: SkySense, places: Places | Sequence[Sample], seed: int, *, cells: bool, progress: Progress | None = None
) -> dict[str, FrozenFeatures]:
    """Features of a model ("pre-trained") and of its random twin ("random weights")."""
    models = {"pre-trained": model, "random weights": random_twin(model, seed)}
    return {
        name: extract(one, places, frames=FRAMES, cells=cells, progress=_with_words(progress, f"features, {name}"))
        for name, one in models.items()
    }


def model_methods(features: Mapping[str, FrozenFeatures], seed: int) -> list[Method]:
    """The methods on `model_features`, under one seed."""
    trained, random = {seed: features["pre-trained"]}, {seed: features["random weights"]}
    return [
        Method(PRETRAINED, "linear", trained),
        Method(PRETRAINED_KNN, "knn", trained),
        Method(RANDOM, "linear", random),
        Method(RANDOM_KNN, "knn", random),
    ]


def raw_methods(raw: FrozenFeatures, seeds: Sequence[int]) -> list[Method]:
    """The baselines on raw statistics; only the forest depends on a seed."""
    first = {seeds[0]: raw}
    return [
        Method(RAW_LINEAR, "linear", first),
        Method(RAW_FOREST, "forest", dict.fromkeys(seeds, raw)),
        Method(CHANCE, "majority", first),
    ]


def counted(progress: Progress | None, count: int) -> Callable[[str], None]:
    """What a stage of ``count`` steps calls at the beginning of each, with words for it."""
    done = iter(range(count))

    def tell(words: str) -> None:
        if progress is not None:
            progress(next(done), count, words)

    return tell


def _with_words(progress: Progress | None, words: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(done, total, words)
