"""The card of a corpus of shards as one HTML page that needs nothing else.

    write_card(Shards("my_corpus"), "my_corpus/card.html")

What the index knows is said of all places; pixels, dates and products of a sample of them, which the page says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.card.charts import FAR, band_histograms, cloud_bars, contact_sheet, frames_per_place, month_bars
from skysense.curate.card.coverage import SPLIT_NAMES, coverage_map, span_of
from skysense.curate.card.look import MIDDLE, Looked, look
from skysense.curate.card.numbers import NOT_STATED, PROPERTIES, Numbers, SensorNumbers
from skysense.curate.card.sheet import TITLES
from skysense.data.places import Failure
from skysense.data.shards.read import Shards
from skysense.data.shards.store import is_remote, write_bytes
from skysense.errors import ConfigError, need
from skysense.files import flat
from skysense.geo import CELL_METRES
from skysense.report import Report
from skysense.sensors import MODALITIES

SAMPLE = 256
_NAMED = 5
_ORBITS = 8
_LONGEST = 300
_ABOUT = ("curation", "command", "attributions", "account")
_ACCOUNT = {"places": "Places", "dropped": "Products left out", "counts": "Products"}
_PICTURES = {
    "hr": "the image as it is",
    "s2": "Sentinel-2 in true colours on one of its clearest dates, each stretched",
    "s1": "Sentinel-1 on a date that shows most (VV red, VH green, their difference blue)",
}


def write_card(
    corpus: Shards,
    path: str | Path,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> str | Path:
    """Write the card of a corpus.

    Of what the manifest says about the corpus, "curation" (settings), "command", "attributions" and "account" are shown
    as what they are; anything else is listed.

    Args:
        corpus: of any number of places.
        path: the file, or where it is to be in a bucket.
        sample: places whose pixels are looked at, at most.
        seed: of their choice.
        progress: called with the number of places looked at and of all that will be.

    Returns:
        ``path``.

    Raises:
        ConfigError: a sample of less than one place.
        MissingExtra: matplotlib is not installed.
        OutputError: no space, no permission.
    """
    report = card(corpus, sample=sample, seed=seed, progress=progress)
    if is_remote(path):
        folder, _, name = str(path).rpartition("/")
        write_bytes(report.html().encode(), folder, name)
    else:
        report.write(path)
    return path


def card(
    corpus: Shards, *, sample: int = SAMPLE, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Report:
    """The page that `write_card` writes; see there."""
    if sample < 1:
        raise ConfigError(f"a card looks at one place at least; got {sample}")
    need("matplotlib.figure", "train")  # before pixels are read for nothing
    rows, about = corpus.index, _mapping(corpus.manifest.about)
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), min(sample, len(rows)), replace=False))
    looked = look(corpus, chosen.tolist(), progress)
    report = Report(f"Corpus: {corpus.title}", simulated=corpus.simulated)
    report.facts(_facts(corpus, rows, looked))
    _warnings(report, corpus, looked)
    report.paragraph(_which(rows, looked, seed))
    _pictures(report, looked)
    _where(report, rows, seed)
    _when(report, rows, looked.numbers)
    _gaps(report, looked.numbers)
    _values(report, looked.numbers)
    _origins(report, looked.numbers)
    _licences(report, corpus.manifest.licence, about.get("attributions"), looked.numbers)
    _account(report, _mapping(about.get("account")))
    _making(report, about)
    return report


def _facts(corpus: Shards, rows: NDArray[np.void], looked: Looked) -> dict[str, str]:
    """What is known at a glance."""
    shards = np.unique(rows["shard"]).tolist()
    stored = sum(corpus.manifest.shards[number].bytes for number in shards)
    facts = {"places": f"{len(rows):,} in {_several(len(shards), 'shard')}"}
    sides, counts = np.unique(rows["cells"], axis=0, return_counts=True)
    if len(sides):
        sizes = sides[np.argsort(-counts, kind="stable")] * CELL_METRES
        words = ", ".join(f"{width:g} × {height:g} m" for height, width in sizes[:3].tolist())
        facts["ground of a place"] = words + (f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else "")
    months = sorted(month for one in looked.numbers.sensors.values() for month in one.months)
    if months:
        facts["time"] = months[0] if months[0] == months[-1] else f"{months[0]} to {months[-1]}"
    if len(rows):
        facts["stored"] = f"{_size(stored)}, {_size(stored / len(rows))} a place"
        raw = _raw_bytes(rows, looked.numbers)
        if raw and stored:
            facts["compression"] = f"{raw / stored:.2f} : 1 ({_size(raw)} of pixel values)"
    facts |= {"source": corpus.manifest.source, "licence": corpus.manifest.licence}
    return {name: value for name, value in facts.items() if value}


def _raw_bytes(rows: NDArray[np.void], numbers: Numbers) -> float:
    """Bytes of all pixel values, uncompressed, given that all places store a sensor as those that were looked at do."""
    total = 0.0
    cells_N = rows["cells"].astype(np.int64).prod(axis=1)
    for key in MODALITIES:
        seen = [one for one in numbers.sensors.values() if one.sensor.modality == key]
        if seen:
            per_cell = sum(one.raw_bytes for one in seen) / sum(one.cells for one in seen)
            total += per_cell * float((rows[f"{key}_frames"] * cells_N).sum())
    return total


def _warnings(report: Report, corpus: Shards, looked: Looked) -> None:
    """What must not be overlooked."""
    if not len(corpus):
        report.note("The corpus holds no place.")
    if corpus.failures:
        report.note(
            f"{_several(len(corpus.failures), 'place')} of shards that are not there: {_first(corpus.failures)}. "
            "Nothing on this page counts them."
        )
    if looked.unreadable:
        report.note(
            f"{_several(len(looked.unreadable), 'place')} could not be read: {_first(looked.unreadable)}. "
            "Their pixels are not counted."
        )
    for numbers in looked.numbers.sensors.values():
        offs = zip(numbers.sensor.bands, numbers.off_C, strict=True)
        far = [f"{band} {off:+.2f}" for band, off in offs if abs(off) > FAR]
        if far:
            report.note(
                f"{numbers.sensor.name}: the mean of {_several(len(far), 'band')} is more than one standard deviation "
                f"off the statistics that the model normalises with ({', '.join(far)}). Are unit and offset right? If "
                "they are, this ground is unlike that which the statistics come from, or much of it is under cloud."
            )


def _first(failures: Sequence[Failure]) -> str:
    named = "; ".join(f"{one.place} ({one.message})" for one in failures[:_NAMED])
    return named + (" …" if len(failures) > _NAMED else "")


def _which(rows: NDArray[np.void], looked: Looked, seed: int) -> str:
    if looked.places == len(rows):
        whose = "all places"
    else:
        whose = f"a sample of {looked.places:,} of the {len(rows):,} places, drawn with seed {seed}"
    images = rows["cells"][rows["hr_frames"] > 0]
    image = f"; of a high-resolution image its middle, {MIDDLE} × {MIDDLE} cells of 10 m"
    return (
        "Positions, splits and lengths of series below are those of all places, as the index states them. Pixels, "
        f"dates, products and licences are those of {whose}{image if (images > MIDDLE).any() else ''}."
    )


def _pictures(report: Report, looked: Looked) -> None:
    shown = [key for key in MODALITIES if any(TITLES[key] in one for one in looked.pictures)]
    if not shown:
        return
    words = "; ".join(_PICTURES[key] for key in shown)
    titles = [TITLES[key] for key in shown]
    report.heading("What it looks like")
    report.figure(
        contact_sheet(looked.pictures, titles),
        alt=f"Pictures of {_several(len(looked.pictures), 'place')}: {', '.join(titles)}",
        caption=f"{words[0].upper()}{words[1:]}. Grey: not observed.",
    )


def _where(report: Report, rows: NDArray[np.void], seed: int) -> None:
    if not len(rows):
        return
    report.heading("Where")
    placed = rows[np.isfinite(rows["lon"])]
    if len(placed):
        _, places_N = np.unique(placed["region"], return_counts=True)
        figure, words = coverage_map(rows, seed=seed)
        report.figure(figure, alt=f"Map of {_several(len(placed), 'place')} on land and sea", caption=words)
        west, east = span_of(placed["lon"])
        report.facts(
            {
                "longitude": f"{west:.2f}° to {east:.2f}°",
                "latitude": f"{placed['lat'].min():.2f}° to {placed['lat'].max():.2f}°",
                "regions": f"{len(places_N):,}",
                "places in a region": f"{np.median(places_N):g} (median), at most {places_N.max():,}",
            }
        )
    if len(placed) < len(rows):
        report.paragraph(f"Places without a position: {len(rows) - len(placed):,} of {len(rows):,}.")
    table = []
    for split, places in zip(*np.unique(rows["split"], return_counts=True), strict=True):
        found = np.unique(rows["region"][(rows["split"] == split) & (rows["region"] >= 0)])
        share = f"{100 * places / len(rows):.1f} %"
        table.append([SPLIT_NAMES[split], f"{places:,}", share, f"{len(found):,}"])
    report.table(["split", "places", "share", "regions"], table)
    pairs = np.unique(placed[["region", "split"]])
    shared = len(pairs) - len(np.unique(pairs["region"]))
    if shared:
        report.paragraph(
            f"{_several(shared, 'region')} held by more than one split: places of a region tend to look alike, so what "
            "is measured on one split may flatter a model that learned from another."
        )


def _when(report: Report, rows: NDArray[np.void], numbers: Numbers) -> None:
    if not len(rows):
        return
    report.heading("When")
    frames = {TITLES[key]: rows[f"{key}_frames"] for key in MODALITIES}
    frames = {title: count_N[count_N > 0] for title, count_N in frames.items() if (count_N > 0).any()}
    table = [[title, f"{len(count_N):,}", f"{count_N.sum():,}"] for title, count_N in frames.items()]
    report.table(["imagery", "places", "frames"], table, caption="All places")
    months = {name: one.months for name, one in numbers.sensors.items() if one.months}
    if months:
        total = ", ".join(f"{name} {one.total():,}" for name, one in months.items())
        report.figure(
            month_bars(months), alt=f"Bars of the frames per month: {total}", caption=f"Frames per month ({total})"
        )
    series = {title: count_N for title, count_N in frames.items() if title != TITLES["hr"]}
    if series:
        words = ", ".join(f"{title} {count_N.min()} to {count_N.max()}" for title, count_N in series.items())
        report.figure(
            frames_per_place(series),
            alt=f"Histograms of the frames per place: {words}",
            caption=f"Length of the series of all places that have one ({words} frames)",
        )


def _gaps(report: Report, numbers: Numbers) -> None:
    if not numbers.sensors:
        return
    report.heading("Clouds and gaps")
    table = []
    for name, one in numbers.sensors.items():
        cloud = None if one.cloud_share is None else f"{100 * one.cloud_share:.1f} %"
        table.append([name, f"{one.frames:,}", f"{one.undated:,}", f"{100 * one.valid_share:.2f} %", cloud])
    header = ["sensor", "frames looked at", "without a date", "pixels observed", "of these under cloud"]
    report.table(header, table, caption="Empty: not known")
    for name, one in numbers.sensors.items():
        if one.cloud_share is not None:
            report.figure(
                cloud_bars(one.known_12, one.cloudy_12),
                alt=f"Bars of the share of cloud by month of the year, {100 * one.cloud_share:.1f} % in all",
                caption=f"{name}: share of the observed pixels under a cloud or its shadow, by month of all years",
            )


def _values(report: Report, numbers: Numbers) -> None:
    if not numbers.sensors:
        return
    report.heading("Pixel values")
    report.paragraph(
        "Of all observed pixels, clouds included, for the model sees them. It subtracts the mean and divides by the "
        "standard deviation of its own statistics, which the orange line and band show. The outermost bins hold all "
        "that lies beyond them."
    )
    for name, one in numbers.sensors.items():
        report.heading(name, 3)
        bands = ", ".join(one.sensor.bands)
        report.figure(band_histograms(one), alt=f"Histograms of the bands {bands} with the statistics of the model")
        header = ["band", "mean", "std", "model's mean", "model's std", "off, in model's std"]
        report.table(header, _bands(one), caption=f"In {one.sensor.unit}, {one.bands.pixels:,} pixels a band")


def _bands(numbers: SensorNumbers) -> list[list[str]]:
    table = []
    for index, band in enumerate(numbers.sensor.bands):
        ours = numbers.bands.mean_C[index], numbers.bands.std_C[index]
        theirs = numbers.sensor.mean[index], numbers.sensor.std[index]
        off = f"{numbers.off_C[index]:+.2f}"
        far = abs(numbers.off_C[index]) > FAR
        table.append([band, *(f"{value:.4g}" for value in (*ours, *theirs)), f"**{off}**" if far else off])
    return table


def _origins(report: Report, numbers: Numbers) -> None:
    report.heading("Products")
    table = []
    for name, origins in numbers.origins.items():
        for key, words in PROPERTIES.items():
            counts = origins.get(key, Counter())
            if set(counts) - {NOT_STATED}:
                table.append([name, words, _most(counts, _ORBITS)])
    if table:
        report.table(["sensor", "property", "values (frames)"], table)
    else:
        report.paragraph("Nothing is stored about the products that the frames come from.")


def _most(counts: Counter[str], most: int) -> str:
    """The most frequent values, e.g. ``05.09 (120), 04.00 (33)``."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    words = ", ".join(f"{value} ({count:,})" for value, count in ordered[:most])
    return f"{words}, and {len(ordered) - most} more" if len(ordered) > most else words


def _licences(report: Report, licence: str, attributions: Any, numbers: Numbers) -> None:
    """What the manifest says of all, and what places say."""
    report.heading("Licences")
    said = [str(one) for one in attributions] if isinstance(attributions, list) else []
    counts = sorted(numbers.licences.items())
    if licence:
        report.paragraph(f"The corpus: {licence}.")
    if said:
        report.paragraph("To be said where the imagery is used:")
        for words in said:
            report.paragraph(f"• {words}")
    if counts:
        header = ["sensor", "licence and attribution, as places state it", "places"]
        report.table(header, [[name, words, f"{count:,}"] for (name, words), count in counts])
    if not (licence or said or counts):
        report.paragraph("No licence is stated.")


def _account(report: Report, account: Mapping[str, Any]) -> None:
    """Places and products by what became of them: numbers by reason, or by sensor and reason."""
    if not account:
        return
    report.heading("Account")
    single = {name: _number(value) for name, value in account.items() if not isinstance(value, Mapping)}
    if single:
        report.facts(single)
    for name, content in account.items():
        if isinstance(content, Mapping) and content:
            deep = all(isinstance(value, Mapping) for value in content.values())
            groups = content if deep else {"": content}
            rows = [
                [*([group] if deep else []), reason, _number(count)]
                for group, counts in groups.items()
                for reason, count in sorted(counts.items(), key=lambda one: (-_rank(one[1]), one[0]))
            ]
            header = [*(["sensor"] if deep else []), "what became of them", "number"]
            total = sum(_rank(count) for counts in groups.values() for count in counts.values())
            report.table(header, rows, caption=f"{_ACCOUNT.get(name, name)}, {total:,.0f} in all")


def _making(report: Report, about: Mapping[str, Any]) -> None:
    settings, command = _mapping(about.get("curation")), about.get("command")
    others = flat({name: value for name, value in about.items() if name not in _ABOUT})
    if not (settings or command or others):
        return
    report.heading("How it was made")
    if isinstance(command, str):
        report.commands(command)
    if settings:
        kept = flat({name: value for name, value in settings.items() if name != "catalogues"})
        report.table(["setting", "value"], [[name, _setting(value)] for name, value in kept.items()])
    if "catalogues" in settings:
        report.paragraph("The archives are described in curation.json of the corpus, as they were when it was made.")
    if others:
        report.facts({name: _setting(value) for name, value in others.items()})


def _setting(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else "" if value is None else str(value)
    return shorten(text, _LONGEST, placeholder=" …") or "none"


def _mapping(content: Any) -> dict[str, Any]:
    return dict(content) if isinstance(content, Mapping) else {}


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _setting(value)


def _rank(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
