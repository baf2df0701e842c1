"""Batches read ahead, in order, with errors where they are waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from skysense.geo import RegionTable, Window, region_cell
from skysense.maps.blend import Layout
from skysense.maps.feed import prepare, read_ahead
from skysense.maps.scene import open_scene
from tests.maps.scenes import hr_scene, hr_values, write_scene


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


def test_batches_are_full_and_every_window_is_accounted_for(tmp_path: Path) -> None:
    values = hr_values(32 * 8 * 3, 32 * 8 * 3).clip(1)
    values[:, 256:512, 256:512] = 0  # the window in the middle
    scene = open_scene(write_scene(tmp_path / "a.tif", values, names="RGB", nodata=0))
    layout = Layout(*scene.cells, 8, 0)
    some = list(prepare(scene, layout, 3, RegionTable([])))
    assert [len(one.windows) for one in some] == [3, 3, 2]
    assert [one.empty for one in some] == [0, 1, 0]
    assert sum(one.done for one in some) == len(layout) == 9
    assert [window for one in some for window in one.windows] == [w for w in layout if w != Window(8, 8, 8, 8)]
    batch = some[0].batch
    assert batch is not None
    assert batch.region_B.tolist() == [-1, -1, -1]
    np.testing.assert_array_equal(batch.frames["hr"].values_BTCHW[1, 0], values[:, :256, 256:512])


def test_a_window_that_hangs_over_the_end_of_the_world_still_has_a_region(tmp_path: Path) -> None:
    transform = Affine(2.8e-6, 0, 180 - 100 * 2.8e-6, 0, -2.8e-6, 10)
    scene = open_scene(hr_scene(tmp_path / "a.tif", 100, 100, crs="EPSG:4326", transform=transform))
    cell = region_cell(179.9999, 9.9999)
    (some,) = prepare(scene, Layout(*scene.cells, 16, 2), 1, RegionTable([cell - 1, cell]))
    assert some.batch is not None
    assert some.batch.region_B.tolist() == [1]
