"""Batches read ahead, in order, with errors where they are waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from affine import Affine

from skysense.geo import RegionTable, Window, region_cell
from skysense.maps.answer import Regions
from skysense.maps.blend import Layout
from skysense.maps.feed import prepare, read_ahead
from skysense.maps.parts import Part
from tests.maps.fakes import ArraySource
from tests.maps.scenes import s1_values


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
    some = list(prepare(ArraySource(values), [(whole, layout)], 3, None))
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
    (some,) = prepare(source, [(whole, Layout(4, 4, 16, 2))], 2, regions)
    assert some.samples[0].region == 1
    assert some.account.no_context == 0
