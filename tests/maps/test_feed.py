"""Batches read ahead, in order, with errors where they are waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.env import getenv

from skysense.geo import RegionTable, Window, region_cell
from skysense.maps.answer import Regions
from skysense.maps.blend import Layout
from skysense.maps.feed import prepare, read_ahead
from skysense.maps.pairs import PairSource
from skysense.maps.parts import Part
from skysense.maps.sources.imagery import Imagery
from skysense.maps.sources.open import open_source
from tests.maps.fakes import ArraySource
from tests.maps.scenes import hr_values, s1_values
from tests.maps.sources.reading import READS, hr_file, s2_file, s2_like


def test_reading_ahead_keeps_order_and_bounds() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for at in range(20):
            made.append(at)
            yield at

    ahead = read_ahead(numbers, 3)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert len(made) <= 1 + 3 + 1, "one taken, three waiting, one in hand"
    assert len(made) > 1, "it did not wait to be asked"
    assert list(ahead) == list(range(1, 20))


def test_an_error_in_the_thread_is_raised_where_the_item_is_awaited() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("lost")

    ahead = read_ahead(broken, 3)
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="lost"):
        next(ahead)


def test_closing_early_ends_the_thread() -> None:
    def endless() -> Iterator[int]:
        at = 0
        while True:
            yield at
            at += 1

    ahead = read_ahead(endless, 2)
    next(ahead)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_batches_are_full_and_every_window_is_accounted_for() -> None:
    values = s1_values(24, 24)
    values[:, 8:16, 8:16] = np.nan  # the window in the middle
    layout = Layout(24, 24, 8, 0)
    whole = Part(0, 0, Window(0, 0, 24, 24))
    some = list(prepare(ArraySource(values), [(whole, layout)], 3, None, 8))
    assert [len(one.windows) for one in some] == [3, 3, 2]
    assert [one.account.empty for one in some] == [0, 1, 0]
    assert [one.last for one in some] == [False, False, True]
    assert sum(one.looked_at for one in some) == len(layout) == 9
    assert [window for one in some for window in one.windows] == [w for w in layout if w != Window(8, 8, 8, 8)]
    np.testing.assert_array_equal(some[0].samples[1].series["s1"].values[0], values[:, :8, 8:16])
    assert some[0].samples[1].lon is None, "positions are only worked out for a model with regions"


def test_a_window_that_hangs_over_the_end_of_the_world_still_has_a_region() -> None:
    transform = Affine(9e-5, 0, 180 - 4 * 9e-5, 0, -9e-5, 10)
    source = ArraySource(s1_values(4, 4), crs="EPSG:4326", transform=transform)
    cell = region_cell(179.9999, 9.9999)
    regions = Regions(RegionTable([cell - 1, cell]), (True, True))
    whole = Part(0, 0, Window(0, 0, 4, 4))
    (some,) = prepare(source, [(whole, Layout(4, 4, 16, 2))], 2, regions, 16)
    assert some.samples[0].region == 1
    assert some.account.no_context == 0


def series_of(folder: Path, dates: int, **how) -> Imagery:
    """Ten bands of Sentinel-2 on 40 x 40 cells, a file per date."""
    folder.mkdir()
    for at in range(dates):
        s2_file(folder / f"2022-07-{at + 1:02d}.tif", s2_like(40, 40, at), **how)
    return open_source(folder, reads=READS)


def test_gdal_keeps_the_tiles_that_a_window_may_touch(tmp_path: Path) -> None:
    """Numbers of 2 bytes in ten bands; of 40 px there are 3 x 3 tiles of 16 px."""
    pixel = series_of(tmp_path / "pixel", 3, interleave="pixel", blockxsize=16, blockysize=16)
    assert pixel.decoded_bytes(4) == 3 * 10 * 2 * (2 * 16) ** 2
    assert pixel.decoded_bytes(16) == pixel.decoded_bytes(4)
    assert pixel.decoded_bytes(20) == pixel.decoded_bytes(64) == 3 * 10 * 2 * (3 * 16) ** 2
    assert replace(pixel, frames={"s2": 2}).decoded_bytes(4) == 2 * pixel.decoded_bytes(4) // 3
    assert PairSource(pixel, pixel).decoded_bytes(4) == 2 * pixel.decoded_bytes(4)
    coarse = series_of(tmp_path / "coarse", 1, px=20, interleave="band", blockxsize=16, blockysize=16)
    assert replace(coarse, grid=pixel.grid).decoded_bytes(32) == 10 * 2 * (2 * 16) ** 2
    image = open_source(hr_file(tmp_path / "hr.tif", hr_values(640, 640)), reads=READS)  # tiles of 128 px
    assert image.decoded_bytes(4) == 3 * 256**2


def test_the_cache_is_bounded_and_the_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    @dataclass(frozen=True)
    class Heavy(ArraySource):
        needs: int = 0

        def decoded_bytes(self, cells: int) -> int:
            return self.needs * cells

        @contextmanager
        def open(self):
            found.append(getenv().get("GDAL_CACHEMAX"))
            with super().open() as reader:
                yield reader

    whole = Part(0, 0, Window(0, 0, 8, 8))
    for needs in (0, 10 << 20, 1 << 30):
        list(prepare(Heavy(s1_values(8, 8), needs=needs), [(whole, Layout(8, 8, 8, 0))], 1, None, 8))
    assert found == [64 << 20, 80 << 20, 512 << 20]
    monkeypatch.setenv("GDAL_CACHEMAX", "5%")
    list(prepare(Heavy(s1_values(8, 8)), [(whole, Layout(8, 8, 8, 0))], 1, None, 8))
    assert found[-1] is None, "GDAL reads it itself"
