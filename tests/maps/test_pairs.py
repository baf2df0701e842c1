"""Two dates of one piece of ground, read as one."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.pairs import Pair, PairSource
from skysense.maps.source import UnreadableWindow
from tests.maps.fakes import ArraySource

VALUES = np.arange(2 * 8 * 12, dtype=np.float32).reshape(2, 8, 12) / 10 - 30
BEFORE, AFTER = ArraySource(VALUES, notes=("flat",)), ArraySource(VALUES + 1, torn=((0, 4),), notes=("steep",))
WINDOW = Window(0, 4, 4, 4)


def test_a_window_is_both_dates_at_one_place() -> None:
    source = pickle.loads(pickle.dumps(PairSource(BEFORE, AFTER)))
    assert source.grid == BEFORE.grid and source.notes == ("before: flat", "after: steep")
    assert set(source.about()) == {"before", "after"} and set(source.sensors) == {"s1"}
    with source.open() as reader:
        pair = reader.read(WINDOW)
        assert reader.lost == ["array of 2024-07-14"]
    assert isinstance(pair, Pair)
    placed = replace(pair, lon=11.0, lat=48.0, region=3)  # as the engine does
    for sample, values in ((placed.before, VALUES), (placed.after, VALUES + 1)):
        assert type(sample) is not Pair and (sample.lon, sample.lat, sample.region) == (11.0, 48.0, 3)
        np.testing.assert_array_equal(sample.series["s1"].values[0], values[:, :4, 4:8])


def test_a_window_that_the_later_date_does_not_show_is_empty() -> None:
    hidden = VALUES.copy()
    hidden[:, :4, 4:8] = np.nan
    with PairSource(BEFORE, ArraySource(hidden)).open() as reader:
        assert not reader.read(WINDOW).series["s1"].valid.any()
        assert reader.read(Window(4, 4, 4, 4)).series["s1"].valid.all()


def test_a_window_that_one_date_cannot_read_is_told() -> None:
    source = PairSource(ArraySource(VALUES, torn=((0, 4),)), ArraySource(VALUES, broken=((0, 4),)))
    with source.open() as reader:
        with pytest.raises(UnreadableWindow):
            reader.read(WINDOW)
        assert reader.lost == ["array of 2024-07-14"]


def test_dates_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(InputError, match="lies on another grid than array"):
        PairSource(BEFORE, ArraySource(VALUES[:, :4]))
