"""Small corpora of shards with made-up places, and pages taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from skysense.data.shards.layout import Manifest
from skysense.data.shards.read import Shards
from skysense.data.shards.write import Entry, ShardWriter
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A, Modality

SENSORS = {"hr": OPTICAL_HR, "s2": SENTINEL2_L2A, "s1": SENTINEL1}


def series(key: Modality, rng: np.random.Generator, *, frames: int = 3, cells: int = 4, off: float = 0.0) -> Series:
    """A series about the model's statistics, ``off`` standard deviations away; with gaps, Sentinel-2 with clouds."""
    sensor = SENSORS[key]
    frames = 1 if key == "hr" else frames
    shape = (frames, len(sensor.bands), cells * sensor.cell_px, cells * sensor.cell_px)
    mean, std = (np.array(one)[None, :, None, None] for one in (sensor.mean, sensor.std))
    values = mean + std * (off + 0.5 * rng.normal(size=shape))
    if key != "s1":
        values = values.clip(1, 255 if key == "hr" else 20_000)
    days = np.sort(rng.integers(0, 700, frames)).astype("timedelta64[D]")
    grid = (frames, *shape[2:])
    valid = rng.random(grid) < 0.9
    clear = rng.random(grid) < 0.7 if key == "s2" else None
    dtype = {"hr": np.uint8, "s2": np.uint16, "s1": np.float32}[key]
    return Series(sensor, values.astype(dtype), np.datetime64("2020-01-01") + days, valid, clear)


def entries(
    number: int, keys: Sequence[Modality] = ("hr", "s2", "s1"), *, placed: bool = True, off: float = 0.0
) -> list:
    """Places a degree apart, every third for validation; series of 2, 3, 4, 2, 3, ... frames."""
    made = []
    for index in range(number):
        rng = np.random.default_rng(index)
        found = {key: series(key, rng, frames=2 + index % 3, off=off) for key in keys}
        lon, lat = (10.0 + index, 45.0) if placed else (None, None)
        made.append(Entry(Sample(f"p{index}", found, lon, lat), "val" if index % 3 == 2 else "train"))
    return made


def corpus(root: Path, made: Sequence[Entry], *, per_shard: int = 2, **manifest: Any) -> Shards:
    """Write places and open them."""
    writer = ShardWriter(root, Manifest(**{"title": "Little", "simulated": True, **manifest}), per_shard)
    for entry in made:
        writer.add(entry)
    writer.finish()
    return Shards(root)


class Page(HTMLParser):
    """A page as tables by their header, facts, and words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.facts: dict[str, str] = {}
        self.notes: list[str] = []
        self._inside: list[str] = []
        self._name = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in ("img", "meta"):
            self._inside.append("note" if dict(attrs).get("class") == "note" else tag)

    def handle_endtag(self, tag: str) -> None:
        self._inside.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        last = self._inside[-1] if self._inside else ""
        if last in ("td", "th"):
            self.tables[-1][-1][-1] += data
        elif last == "dt":
            self._name = data
        elif last == "dd":
            self.facts[self._name] = data
        elif last == "note":
            self.notes.append(data)

    def table(self, *header: str) -> list[list[str]]:
        """Rows of the first table that begins with these columns."""
        return next(table[1:] for table in self.tables if table[0][: len(header)] == list(header))

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(self.words)
