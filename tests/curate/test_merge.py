"""Granules, slices and versions of one pass."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.curate.grid import grid_at
from skysense.curate.merge import Pass, combine, find_passes, thin
from tests.curate.makers import NOON, acquire
from tests.curate.makers import frame as make_frame

GRID = grid_at(12, 48)
HERE, NEXT_ZONE = GRID.crs, "EPSG:32632"


def items(found) -> list[list[str]]:
    """Names, pass by pass."""
    return [[acquisition.item for acquisition in one.acquisitions] for one in found.passes]


def test_overlapping_granules_are_one_pass() -> None:
    later = NOON + timedelta(seconds=14)
    found = find_passes(
        [
            acquire("S2A_32UQU_20220601_0_L2A", crs=NEXT_ZONE),
            acquire("S2A_33UTP_20220601_0_L2A", crs=HERE, time=later),
            acquire("S2A_33UTQ_20220601_0_L2A", crs=HERE),
        ],
        GRID,
    )
    assert HERE == "EPSG:32633"
    names = ["S2A_33UTQ_20220601_0_L2A", "S2A_33UTP_20220601_0_L2A", "S2A_32UQU_20220601_0_L2A"]
    assert items(found) == [names]
    assert found.passes[0].time == NOON
    assert (found.merged, found.replaced, found.repeated) == (2, 0, 0)


def test_satellites_and_orbits_stay_apart() -> None:
    found = find_passes(
        [
            acquire("a", time=NOON),
            acquire("b", time=NOON + timedelta(seconds=30), platform="sentinel-2c"),
            acquire("c", time=NOON + timedelta(minutes=99)),
            acquire("d", time=NOON + timedelta(minutes=4), relative_orbit=23),
        ],
        GRID,
    )
    assert items(found) == [["d", "a"], ["b"], ["c"]]


def test_a_newer_baseline_replaces_the_older_one() -> None:
    old, new = "S2A_MSIL2A_20200601T101031_R022_T33UTP_20200601T1", "S2A_MSIL2A_20200601T101031_R022_T33UTP_20230101T1"
    other = "S2A_MSIL2A_20200601T101031_R022_T33UTQ_20200601T1"
    found = find_passes(
        [
            acquire(old, baseline="02.14"),
            acquire(new, baseline="05.00"),
            acquire(other, baseline="02.14"),
            acquire(old.replace("20200601T1", "x"), baseline=None),
            acquire(old.replace("20200601T1", "y"), baseline="99.99"),
        ],
        GRID,
    )
    assert items(found) == [[new, other]]
    assert (found.replaced, found.merged) == (3, 1)


def test_tiles_of_zones_of_one_digit_have_one_name() -> None:
    pair = [acquire("S2A_1CCV_20220601_0_L2A", baseline="04.00"), acquire("S2A_T01CCV_20220601", baseline="05.00")]
    assert items(find_passes(pair, GRID)) == [["S2A_T01CCV_20220601"]]


def test_of_one_baseline_the_last_processed_goes_first() -> None:
    found = find_passes([acquire("S2A_33UTP_20220601_0_L2A"), acquire("S2A_33UTP_20220601_1_L2A")], GRID)
    assert items(found) == [["S2A_33UTP_20220601_1_L2A", "S2A_33UTP_20220601_0_L2A"]]


def test_slices_of_one_pass_and_flights_of_one_day() -> None:
    slices = [acquire(f"S1A_{at}", "s1", time=NOON + timedelta(seconds=25 * at)) for at in range(3)]
    assert items(find_passes(slices, GRID)) == [["S1A_2", "S1A_1", "S1A_0"]]
    flights = [acquire(f"m_{at}", "hr", time=NOON + timedelta(hours=at * 5)) for at in range(4)]
    assert items(find_passes(flights, GRID)) == [["m_2", "m_1", "m_0"], ["m_3"]]
    mixed = [acquire("m", "hr"), acquire("w", "hr", unit="dn")]
    assert items(find_passes(mixed, GRID)) == [["m"], ["w"]]


def test_what_a_catalogue_lists_twice_counts_once() -> None:
    found = find_passes([acquire("a"), acquire("a"), acquire("a", catalogue="another")], GRID)
    assert items(found) == [["a"]]
    assert found.passes[0].acquisitions[0].catalogue == "another"
    assert found.repeated == 2


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.sampled_from(["sentinel-2a", "sentinel-2b", None]),
            st.sampled_from(["33UTP", "33UTQ", "32UQU"]),
            st.sampled_from(["02.14", "05.00", "05.09", None, "99.99"]),
        ),
        max_size=12,
        unique=True,
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter_and_nothing_is_lost(draws, random) -> None:
    acquisitions = [
        acquire(f"S2_{tile}_{at}", platform=platform, baseline=baseline, time=NOON + timedelta(minutes=minutes))
        for at, (minutes, platform, tile, baseline) in enumerate(draws)
    ]
    found = find_passes(acquisitions, GRID)
    shuffled = [*acquisitions, *acquisitions[:3]]
    random.shuffle(shuffled)
    again = find_passes(shuffled, GRID)
    assert items(again) == items(found)
    assert again.repeated == min(len(acquisitions), 3)
    kept = [acquisition for one in found.passes for acquisition in one.acquisitions]
    assert len(kept) + found.replaced == len(acquisitions)
    assert len(kept) - len(found.passes) == found.merged
    for one in found.passes:
        times = [acquisition.time for acquisition in one.acquisitions]
        assert max(times) - min(times) <= timedelta(minutes=5)
        assert len({acquisition.platform for acquisition in one.acquisitions}) == 1
    assert [one.time for one in found.passes] == sorted(one.time for one in found.passes)


@settings(deadline=None)
@given(st.integers(0, 200), st.one_of(st.none(), st.integers(1, 60)))
def test_thinning_is_even(count: int, most: int | None) -> None:
    passes = [Pass((acquire(f"{at:03}", time=NOON + timedelta(days=at)),)) for at in range(count)]
    kept = [passes.index(one) for one in thin(passes, most)]
    assert len(kept) == (count if most is None else min(count, most))
    assert kept == sorted(set(kept))
    if len(kept) > 1:
        assert (kept[0], kept[-1]) == (0, count - 1)
        steps = np.diff(kept)
        assert steps.max() - steps.min() <= 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_holes_are_filled_and_nothing_else(seed: int, clouds: bool) -> None:
    rng = np.random.default_rng(seed)
    masks = [rng.random((3, 4)) < share for share in (0.5, 0.5, 0.5, 0.5)]
    first = make_frame("first", 5, masks[0], clear=masks[2] & masks[0])
    other = make_frame("other", 8, masks[1], clear=masks[3] & masks[1] if clouds else None)
    both = combine(first, other)
    assert np.array_equal(both.valid, masks[0] | masks[1])
    for at in np.ndindex(3, 4):
        assert both.values[0][at] == (5 if masks[0][at] else 8 if masks[1][at] else 0)
        if both.clear is not None and both is not first and both.valid[at]:
            assert both.clear[at] == (masks[2][at] if masks[0][at] else masks[3][at])
    filled = (masks[1] & ~masks[0]).any()
    assert both.name == ("first + other" if filled else "first")
    assert (both.clear is None) == (filled and not clouds)


def test_a_pass_needs_no_orbit_number() -> None:
    pair = [acquire("a", "s1", relative_orbit=None), acquire("b", "s1", time=NOON + timedelta(seconds=25))]
    assert items(find_passes(pair, GRID)) == [["b", "a"]]


@pytest.mark.parametrize("most", [1, 2])
def test_thinning_to_the_least(most: int) -> None:
    passes = [Pass((acquire(str(at), time=NOON + timedelta(days=at)),)) for at in range(5)]
    assert thin(passes, most) == ([passes[2]] if most == 1 else [passes[0], passes[4]])
