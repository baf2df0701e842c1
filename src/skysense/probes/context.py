"""Does knowing the region help? Learn crops in some regions, name them in others.

Crops that look alike in different region types can only be told apart by a method that knows where it is. The probe is
trained in some regions of each type and tested in other regions of the same types, so that it can neither have seen the
test region's places nor its prototypes. Controls: the same model without its prototypes, with the prototypes of a wrong
region, and with the plain position instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.places import Place
from skysense.errors import InputError
from skysense.geo import RegionTable
from skysense.probes.classify import Head
from skysense.probes.features import FrozenFeatures
from skysense.probes.metrics import macro_f1, place_recall
from skysense.probes.outcomes import Outcome
from skysense.probes.protocol import Method, Outcomes, probe
from skysense.probes.targets import Fold, Targets

WITH_CONTEXT = "fused + geo-context"
WITHOUT_CONTEXT = "fused alone"
WRONG_REGION = "fused + prototypes of a wrong region"
POSITION = "fused + lon/lat"
ALL_CROPS = "all crops"
AMBIGUOUS_CROPS = "ambiguous crops"

CONTEXT_METRICS = {"place recall": place_recall, "macro F1": macro_f1}
"""Metrics of both tasks; the first is the main one."""


def region_folds(places: Sequence[Place]) -> list[Fold]:
    """Folds of whole regions: each tests one region of every type and learns from the other regions of these types.

    There are as many folds as the rarest type has regions; regions beyond that number are always learned from. Places
    need the attributes "region_type" and "region_index".

    Raises:
        InputError: places without these attributes, or a type with one region only.
    """
    types = np.array([_attribute(place, "region_type") for place in places])
    regions = np.array([_attribute(place, "region_index") for place in places])
    of_type = {kind: np.unique(regions[types == kind]) for kind in np.unique(types)}
    alone = [str(kind) for kind, members in of_type.items() if len(members) < 2]
    if alone or not of_type:
        raise InputError(
            f"region types with fewer than two regions: {', '.join(alone) or 'all'}",
            fix="Simulate at least two regions of each type",
        )
    folds = []
    for turn in range(min(len(members) for members in of_type.values())):
        held = [members[turn] for members in of_type.values()]
        test = np.isin(regions, held)
        folds.append((np.flatnonzero(~test), np.flatnonzero(test)))
    return folds


def wrong_regions(places: Sequence[Place], table: RegionTable, *, seed: int) -> dict[str, int]:
    """For each place the slot of a random region of another type.

    Args:
        places: with a position and the attribute "region_type".
        table: of the model.
        seed: of the choice.

    Raises:
        InputError: a place without region in the table, or only one type of region.
    """
    kind_of: dict[int, str] = {}
    for place in places:
        slot = table.slot(place.lon, place.lat)
        if slot is None:
            raise InputError("lies in no region that the model knows", file=place.folder)
        kind_of[slot] = str(_attribute(place, "region_type"))
    if len(set(kind_of.values())) < 2:
        raise InputError("all regions are of one type: there is no wrong one")
    rng = np.random.default_rng(seed)
    chosen = {}
    for place in places:
        others = sorted(slot for slot, kind in kind_of.items() if kind != place.attributes["region_type"])
        chosen[place.name] = int(rng.choice(others))
    return chosen


def position_features(places: Sequence[Place]) -> NDArray[np.float64]:
    """``(N, 6)``: standardised lon and lat, and sine and cosine of both.

    Raises:
        InputError: a place without a position.
    """
    rows = []
    for place in places:
        if place.lon is None or place.lat is None:
            raise InputError("has no position", file=place.folder)
        rows.append((place.lon, place.lat))
    degrees = np.array(rows)
    standard = (degrees - degrees.mean(axis=0)) / np.maximum(degrees.std(axis=0), 1e-9)
    radians = np.radians(degrees)
    return np.concatenate([standard, np.sin(radians), np.cos(radians)], axis=1)


def context_methods(
    places: Sequence[Place],
    right: Mapping[int, FrozenFeatures],
    wrong: Mapping[int, FrozenFeatures],
    head: Head,
) -> list[Method]:
    """The four methods of the protocol.

    Args:
        places: in the order of the features.
        right: by seed, features of the model with the prototypes of the place's own region.
        wrong: by seed, the same with those of `wrong_regions`.
        head: the classifier.
    """
    fused = {seed: one.without_context() for seed, one in right.items()}
    position = position_features(places)
    return [
        Method(WITH_CONTEXT, head, right),
        Method(WITHOUT_CONTEXT, head, fused),
        Method(WRONG_REGION, head, wrong),
        Method(POSITION, head, {seed: one.append(position) for seed, one in fused.items()}),
    ]


def context_outcomes(
    places: Sequence[Place],
    targets: Targets,
    methods: Sequence[Method],
    *,
    progress: Callable[[str], None] | None = None,
) -> dict[int, Outcomes]:
    """Answers in regions that were not learned from, by seed, as the tasks `ALL_CROPS` and `AMBIGUOUS_CROPS`.

    Args:
        places: with the attributes "region_type", "region_index" and "ambiguous_crops" (names of classes).
        targets: of a mask task on these places.
        methods: see `context_methods`; any others may be added.
        progress: told what is done next.

    Raises:
        InputError: attributes are missing, or features and labels are of different places.
    """
    folds = region_folds(places)
    found: dict[int, Outcomes] = {}
    for method in methods:
        if progress is not None:
            progress(f"new regions: {method.name}")
        for seed, features in method.features.items():
            outcome = probe(targets, features, method.head, folds, seed=seed)
            of_seed = found.setdefault(seed, {})
            of_seed[ALL_CROPS, method.name] = outcome
            of_seed[AMBIGUOUS_CROPS, method.name] = ambiguous(outcome, places, targets.task.classes)
    return found


def ambiguous(outcome: Outcome, places: Sequence[Place], classes: Sequence[str]) -> Outcome:
    """The examples whose true class is one of its place's "ambiguous_crops".

    Raises:
        InputError: if there is none, or a place does not name them.
    """
    names = {place.name: set(_attribute(place, "ambiguous_crops")) for place in places}
    known_PK = np.array([[name in names[place] for name in classes] for place in outcome.places])
    rows = known_PK[outcome.place_M, outcome.truth]
    if not rows.any():
        raise InputError("no test example is of an ambiguous crop")
    return outcome.take(rows)


def _attribute(place: Place, name: str) -> Any:
    if name not in place.attributes:
        raise InputError(f"has no attribute {name!r}", file=place.folder)
    return place.attributes[name]
