"""Which part of the Earth a card shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from skysense.curate.card import coverage
from skysense.curate.card.coverage import coverage_map, extent_of, span_of
from skysense.curate.land import Land
from skysense.data.shards.layout import SPLITS, index_dtype
from skysense.errors import MissingExtra
from skysense.geo import region_cell

NORTH = Land(np.array([0, 21600 * 43200 // 2], np.int32))
"""Land on the northern half of the Earth."""


@pytest.fixture(autouse=True)
def _simple_land(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "land", lambda: NORTH)


def rows_at(*places: tuple[float, float, str | None]) -> np.ndarray:
    rows = np.zeros(len(places), index_dtype())
    for row, (lon, lat, split) in zip(rows, places, strict=True):
        row["lon"], row["lat"], row["split"] = lon, lat, SPLITS.index(split)
        row["region"] = -1 if np.isnan(lon) else region_cell(lon, lat)
    return rows


def scattered(figure: Figure) -> dict[str, Any]:
    labelled = {one.get_label(): one for one in figure.axes[0].collections}
    return {label: one for label, one in labelled.items() if not label.startswith("_")}


def dots(figure: Figure) -> dict[str, int]:
    return {label: len(one.get_offsets()) for label, one in scattered(figure).items()}


@pytest.mark.parametrize(
    ("lons", "span"),
    [
        ([5.0], (5.0, 5.0)),
        ([10.0, -20.0, 0.0], (-20.0, 10.0)),
        ([178.0, -179.0, 176.0], (176.0, -179.0)),
        (list(np.arange(-180.0, 180.0, 30.0)), (-180.0, 150.0)),
    ],
)
def test_a_span_is_cut_where_no_place_is(lons: list[float], span: tuple[float, float]) -> None:
    assert span_of(np.array(lons)) == span


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-85, 85)), min_size=1, max_size=20))
def test_a_map_holds_all_places_and_nothing_beyond_the_poles(places: list[tuple[float, float]]) -> None:
    lon, lat = np.array(places).T
    extent = extent_of(lon, lat)
    shown = extent.unwrapped(lon)
    assert (shown >= extent.west).all()
    assert (shown <= extent.east + 1e-9).all()
    assert extent.south <= lat.min() <= lat.max() <= extent.north
    assert -90 <= extent.south < extent.north <= 90
    assert 0 < extent.east - extent.west <= 360


def test_a_few_neighbours_are_shown_one_by_one_over_their_regions_and_on_a_small_map_of_the_earth() -> None:
    rows = rows_at((10, 50, "train"), (10.1, 50, "train"), (12, 51, "val"), (float("nan"), float("nan"), None))
    figure, words = coverage_map(rows)
    assert dots(figure) == {"train": 2, "val": 1}
    (squares,) = (one for one in figure.axes[0].collections if isinstance(one, PolyCollection))
    assert sorted(squares.get_array().tolist()) == [1, 2]
    assert len(figure.axes) == 3  # map, locator and scale
    assert "the places, by split" in words


def test_on_a_map_of_the_earth_a_dot_is_a_region() -> None:
    rows = rows_at(*((lon, 10, "train") for lon in range(-180, 180, 20)), (0.01, 10, "train"), (100, -40, "val"))
    figure, words = coverage_map(rows)
    assert dots(figure) == {"train": 18, "val": 1}
    assert len(figure.axes) == 1
    assert "19 regions" in words


def test_too_many_places_are_thinned_by_a_seed_and_the_words_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "_DOTS", 5)
    rows = rows_at(*((10 + number / 10, 50, "train") for number in range(9)))
    figure, words = coverage_map(rows, seed=1)
    assert dots(figure) == {"train": 5}
    assert "5 of 9" in words


def test_places_on_both_sides_of_the_antimeridian_are_neighbours() -> None:
    figure, _ = coverage_map(rows_at((179.5, -17, "train"), (-179.5, -17, "train")))
    west, east = figure.axes[0].get_xlim()
    assert east - west < 10
    assert scattered(figure)["train"].get_offsets()[:, 0].tolist() == [179.5, 180.5]
    assert figure.axes[0].xaxis.get_major_formatter()(180.5, 0) == "179.5°W"


def test_without_the_mask_of_land_the_map_says_why_it_has_no_coasts(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Land:
        raise MissingExtra("this needs 'global_land_mask'")

    monkeypatch.setattr(coverage, "land", missing)
    figure, words = coverage_map(rows_at((10, 50, "train")))
    assert dots(figure) == {"train": 1}
    assert words.endswith("Without coasts: this needs 'global_land_mask'.")
