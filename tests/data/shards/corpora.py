"""Small corpora of shards, and how samples are drawn for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from skysense.data.shards.layout import Manifest
from skysense.data.shards.read import Shards
from skysense.data.shards.write import Entry, ShardWriter
from skysense.geo import Window
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, OPTICAL_HR_NIR, SENTINEL1, SENTINEL2_10M, SENTINEL2_L2A, Modality, Sensor
from tests.data.places_samples import assert_same, make_sample

MANIFEST = Manifest("Test", True, source="here", licence="CC0")


def entries(count: int = 5, **how) -> list[Entry]:
    """Places of three sensors, alternately to learn from and to validate."""
    return [
        Entry(make_sample(f"p{seed}", seed=seed, **how), "val" if seed % 2 else "train", {"row": seed})
        for seed in range(count)
    ]


def write_corpus(root: str | Path, places: Sequence[Entry], places_per_shard: int = 2) -> Shards:
    """A corpus of these places, opened."""
    writer = ShardWriter(root, MANIFEST, places_per_shard)
    for place in places:
        writer.add(place)
    writer.finish()
    return Shards(root)


def assert_sample(read: Sample, written: Sample) -> None:
    """The same place with the same series."""
    assert read.name == written.name and (read.lon, read.lat) == (written.lon, written.lat)
    assert read.footprint == written.footprint
    assert list(read.series) == list(written.series)
    for key, series in written.series.items():
        assert_same(read.series[key], series)


def flip(file: Path, at: int) -> None:
    """Change one bit."""
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    """Lose the second half."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _series(sensor: Sensor, seed: int, cells: tuple[int, int], frames: int, *, halved: int, clear: bool, nat: bool):
    rng = np.random.default_rng(seed)
    height, width = (side * sensor.cell_px for side in cells)
    shape = (frames, len(sensor.bands), height, width)
    if sensor.modality == "s1":
        values = rng.normal(-12, 3, shape).astype(np.float32)
    else:
        values = rng.integers(3, 200, shape).astype(np.uint8 if sensor.modality == "hr" else np.uint16)
    for band in range(len(sensor.bands)):
        if halved >> band & 1 and not height % 2 and not width % 2:
            values[:, band] = values[:, band, ::2, ::2].repeat(2, 1).repeat(2, 2)
    valid = rng.random((frames, height, width)) < rng.choice([0.5, 1.0])
    valid[0, 0, 0] = True
    if sensor.modality == "s1":
        values[~valid[:, None].repeat(len(sensor.bands), 1)] = np.nan
    dates = np.datetime64("2019-12-30") + np.sort(rng.integers(0, 400, frames))
    if nat and frames == 1:
        dates[:] = np.datetime64("NaT")
    return Series(sensor, values, dates, valid, rng.random(valid.shape) < 0.5 if clear else None)


@st.composite
def samples(draw: st.DrawFn, name: str) -> Sample:
    """Any sensors, sizes, frames, masks, bands measured at half the resolution, with or without a date and position."""
    wanted = draw(st.sets(st.sampled_from(["hr", "s2", "s1"]), min_size=1))
    if "hr" in wanted:
        cells = draw(st.sampled_from([(1, 1), (3, 5), (9, 2)]))
    else:
        cells = draw(st.sampled_from([(1, 7), (6, 6), (33, 40), (64, 32), (70, 34)]))
    forms: dict[Modality, list[Sensor]] = {
        "hr": [OPTICAL_HR, OPTICAL_HR_NIR],
        "s2": [SENTINEL2_L2A, SENTINEL2_10M],
        "s1": [SENTINEL1],
    }
    series = {}
    for key in ("hr", "s2", "s1"):
        if key in wanted:
            series[key] = _series(
                draw(st.sampled_from(forms[key])),
                draw(st.integers(0, 99)),
                cells,
                1 if key == "hr" else draw(st.integers(1, 19)),
                halved=draw(st.sampled_from([0, 0b1110011000, 0b11, 0b1111111111])),
                clear=draw(st.booleans()),
                nat=draw(st.booleans()),
            )
    sample = Sample(name, series)
    return replace(sample, lon=-3.5, lat=-0.25) if draw(st.booleans()) else sample


@st.composite
def windows(draw: st.DrawFn, cells: tuple[int, int]) -> Window:
    """Any window of a place."""
    row, col = draw(st.integers(0, cells[0] - 1)), draw(st.integers(0, cells[1] - 1))
    return Window(row, col, draw(st.integers(1, cells[0] - row)), draw(st.integers(1, cells[1] - col)))
