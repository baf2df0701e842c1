"""Is this really that data set, whole, readable, and in the right units?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.survey import Progress, Survey, survey
from skysense.datasets.card import Card, card
from skysense.datasets.catalogue import SAYS_MORE, asked, open_dataset, pictures_by_split
from skysense.datasets.listed import Listed, absent
from skysense.datasets.splits import split_hash
from skysense.errors import InputError

SAMPLED = 200
"""Images that are read to judge all of them, unless every one is asked for."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what.
        state: ``good``, ``bad``, or ``unsure`` where nobody can tell.
        says: what was found.
    """

    about: str
    state: Literal["good", "bad", "unsure"]
    says: str


def check_dataset(
    name: str, source: str | Path, *, deep: bool = False, progress: Progress | None = None, **options: Any
) -> list[Finding]:
    """Look at a copy of a published data set.

    Args:
        name: of the data set.
        source: its folder.
        deep: read every image instead of some.
        progress: called after every image, and while a reader makes ready.
        options: as `open_dataset` takes them.

    Raises:
        InputError: an unknown name or option. What is wrong with the folder is a finding.
    """
    about = card(name)
    try:
        data = open_dataset(name, source, progress=progress, **options)
    except InputError as error:
        if error.file is None:  # not about the folder
            raise
        return [Finding("layout", "bad", str(error))]
    version = f", {data.version}" if data.version else ""
    found = [
        Finding("layout", "good", f"opened as {about.title}{version}"),
        *_amounts(about, data, options.get("share")),
    ]
    found += _listed(data)
    found.append(_division(about, data, options))
    found += [Finding("note", "unsure", note) for note in data.notes if not note.endswith(SAYS_MORE)]
    chosen = data if deep else replace(data, items=_some(data))
    try:
        seen = survey(chosen, progress)
    except InputError as error:
        return [*found, Finding("images", "bad", str(error))]
    whole = len(chosen) == len(data)
    found += [*_images(chosen, seen), *_bands(seen), *_classes(about, seen, whole)]
    return [*found, *_objects(about, seen, whole and options.get("tile") is None)]


def _amounts(about: Card, data: LabelledData, share: float | None) -> list[Finding]:
    """Images by split beside the published numbers; what every copy lacks is not missing."""
    counts: Counter[str] = Counter()
    for one, count in pictures_by_split(data).items():
        counts[str(one)] += count
    published = about.published(data.version, share)
    by_split = {split: count for split, count in published.items() if split in ("train", "val", "test")}
    if len(by_split) < len(published):  # the published numbers are not by the splits that were asked for
        total, whole = sum(counts.values()), sum(published.values())
        state: Literal["good", "bad"] = "good" if total == whole else "bad"
        return [Finding("images", state, f"{total:,} of {whole:,} published")]
    left_out = Counter({str(split): count for split, count in data.left_out.items()})
    found = []
    for split, count in by_split.items():
        state = "good" if counts[split] + left_out[split] == count else "bad"
        told = f"{counts[split]:,} of {count:,}" + (f", {left_out[split]:,} are left out" if left_out[split] else "")
        found.append(Finding(f"images for {split}", state, told))
    return found


def _listed(data: LabelledData) -> list[Finding]:
    """Whether what a published list names is there, where opening did not look."""
    reader = data.read_item
    if not isinstance(reader, Listed):
        return []
    missing, first = absent(path for item in data.items for path in reader.paths(item))
    if not missing:
        return [Finding("listed", "good", "every folder or file that the lists name is there")]
    return [
        Finding("listed", "bad", f"{missing:,} that the lists name are missing, first {first}: unpack all archives")
    ]


def _division(about: Card, data: LabelledData, options: Mapping[str, Any]) -> Finding:
    """The hash of the splits beside that of a whole copy, where it is known."""
    here = split_hash(data.items)
    how = asked(about.name, options)
    known = about.hashes.get(how)
    if known is None:
        return Finding("splits", "good", f"{how}: hash {here}; compare it with that of others")
    return Finding("splits", "good" if here == known else "bad", f"{how}: hash {here}, of a whole copy {known}")


def _some(data: LabelledData) -> tuple:
    """Items at equal distances in the list, which is in the order of names."""
    places = np.unique(np.linspace(0, len(data) - 1, min(SAMPLED, len(data))).round().astype(int))
    return tuple(data.items[place] for place in places)


def _images(chosen: LabelledData, seen: Survey) -> list[Finding]:
    sizes = ", ".join(f"{rows} x {cols}" for (rows, cols), _ in seen.sizes.most_common(3))
    more = f" and {len(seen.sizes) - 3} other sizes" if len(seen.sizes) > 3 else ""
    found = [Finding("read", "bad", one.message) for one in seen.failures[:10]]
    if len(seen.failures) > 10:
        found.append(Finding("read", "bad", f"and {len(seen.failures) - 10} more that could not be read"))
    told = f"{len(chosen) - len(seen.failures):,} of {len(chosen):,} that were tried; {sizes}{more} px"
    found.append(Finding("read", "bad" if seen.failures else "good", told))
    return found + [Finding("copies", "bad", f"{one} and {other} are the same image") for one, other in seen.copies[:5]]


def _bands(seen: Survey) -> list[Finding]:
    found: list[Finding] = []
    for name, statistics in seen.bands.items():
        warnings = statistics.warnings()
        bands = zip(statistics.sensor.bands, statistics.mean_C, statistics.std_C, strict=True)
        told = ", ".join(f"{band} {mean:.4g} ± {std:.3g}" for band, mean, std in bands)
        found.append(Finding(f"{name}, mean", "unsure" if warnings else "good", told))
        found += [Finding(name, "unsure", warning) for warning in warnings]
    return found


def _classes(about: Card, seen: Survey, whole: bool) -> list[Finding]:
    """Classes that occur; of a part of the images, a rare one may well be missing."""
    items_K = sum(seen.items_K.values(), np.zeros(len(about.classes), np.int64))
    absent = [about.classes[index] for index in np.flatnonzero(items_K == 0)]
    told = f"{len(about.classes) - len(absent)} of {len(about.classes)} occur"
    if not absent:
        return [Finding("classes", "good", told)]
    return [Finding("classes", "bad" if whole else "unsure", f"{told}; not {', '.join(absent)}")]


def _objects(about: Card, seen: Survey, whole: bool) -> list[Finding]:
    """Boxes beside the published numbers; those of tiles and of a part of the images say nothing."""
    if not about.objects:
        return []
    if not whole:
        return [Finding("objects", "unsure", "not counted: that needs every image, and whole ones")]
    counts = {split: int(amount_K.sum()) for split, amount_K in seen.amount_K.items()}
    counts["all"] = sum(counts.values())
    found = []
    for split, published in about.objects.items():
        off = abs(counts.get(split, 0) - published)
        # Readers leave out what has no area, and some who publish numbers do so, too.
        state: Literal["good", "bad", "unsure"] = "good" if not off else "unsure" if off < 0.01 * published else "bad"
        found.append(Finding(f"objects of {split}", state, f"{counts.get(split, 0):,} of {published:,}"))
    return found
