"""Windows, flips, frames: what two views have in common is the same ground."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.errors import ConfigError, InputError
from skysense.observation import Sample, Series
from skysense.pretrain.batch import make_batch
from skysense.pretrain.config import ViewConfig
from skysense.pretrain.views import common_cells, cut, draw_views, pair_frames
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A

DATES = np.datetime64("2021-01-03") + np.arange(0, 120, 10).astype("timedelta64[D]")


def place(cells: int = 12, *, number: int = 0) -> Sample:
    """Every Sentinel pixel knows its cell: value = 100 * row + col (+ 10000 * frame); the image has it in R and G."""
    rows, cols = np.mgrid[:cells, :cells]
    truth = (100 * rows + cols).astype(np.uint16)
    s2 = np.broadcast_to(truth, (len(DATES), 10, cells, cells)) + np.zeros((len(DATES), 1, 1, 1), np.uint16)
    s1 = np.broadcast_to(truth / -100.0, (4, 2, cells, cells)).astype(np.float32)
    hr = np.stack([rows, cols, rows * 0]).astype(np.uint8).repeat(32, 1).repeat(32, 2)[None]
    every = lambda t: np.ones((t, cells, cells), bool)  # noqa: E731
    return Sample(
        name=f"p{number}",
        series={
            "hr": Series(OPTICAL_HR, hr, DATES[:1], np.ones((1, 32 * cells, 32 * cells), bool)),
            "s2": Series(SENTINEL2_L2A, s2, DATES, every(len(DATES))),
            "s1": Series(SENTINEL1, s1, DATES[:4], every(4)),
        },
    )


SMALL = ViewConfig(global_cells=8, local_cells=4, local_crops=2, s2_frames=5, s1_frames=2)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_common_cells_are_the_same_ground(seed: int) -> None:
    sample = place()
    views = draw_views(np.random.default_rng(seed), sample, SMALL)
    first, second = (cut(sample, view).series["s2"].values[0, 0].ravel() for view in views[:2])
    ours, theirs = common_cells(views[0], views[1])
    assert len(ours) >= 16  # half of a side in common, at least, in both directions
    assert np.array_equal(first[ours], second[theirs])
    everything = set(first.tolist()) & set(second.tolist())
    assert set(first[ours].tolist()) == everything  # none is left out


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_sensors_stay_on_the_lattice_in_every_view(seed: int) -> None:
    sample = place()
    for view in draw_views(np.random.default_rng(seed), sample, SMALL):
        seen = cut(sample, view)
        truth = seen.series["s2"].values[0, 0]
        image = seen.series["hr"].values[0].astype(int)
        assert np.array_equal(100 * image[0, ::32, ::32] + image[1, ::32, ::32], truth)
        assert np.allclose(seen.series["s1"].values[0, 0] * -100, truth)


def test_local_crops_lie_in_a_global_view_and_frames_are_drawn_without_repeats() -> None:
    sample = place()
    for seed in range(20):
        views = draw_views(np.random.default_rng(seed), sample, SMALL)
        assert len(views) == 4
        for number, local in enumerate(views[2:]):
            assert views[number % 2].window.intersect(local.window) == local.window
        for view in views:
            assert len(set(view.frames["s2"].tolist())) == 5
            assert np.all(np.diff(cut(sample, view).series["s2"].dates).astype(int) >= 0)
            assert np.abs(view.shifts["s2"]).max() <= SMALL.date_jitter


def test_frames_unseen_in_the_window_are_not_drawn() -> None:
    sample = place()
    sample.series["s2"].valid[3:] = False
    for seed in range(5):
        for view in draw_views(np.random.default_rng(seed), sample, SMALL):
            assert set(view.frames["s2"].tolist()) <= {0, 1, 2}


def test_cloudy_frames_are_dropped_while_a_clearer_one_is_there() -> None:
    sample = place(8)
    s2 = sample.series["s2"]
    clear = np.ones_like(s2.valid)
    clear[::2, :6] = False  # three quarters of every other frame
    s2.valid[0, :6] = False  # what was not observed is no cloud: frame 0 is clear where it saw something
    clear[1] = False
    sample.series["s2"] = replace(s2, clear=clear)
    config = replace(SMALL, s2_frames=12)

    def drawn(most_cloud: float) -> set[int]:
        views = draw_views(np.random.default_rng(0), sample, replace(config, most_cloud=most_cloud))[:2]
        frames = [set(view.frames["s2"].tolist()) for view in views]
        assert frames[0] == frames[1]
        assert set(views[0].frames["s1"].tolist()) <= set(range(4)) and len(views[0].frames["s1"]) == 2
        return frames[0]

    assert drawn(1.0) == set(range(12))
    assert drawn(0.8) == set(range(12)) - {1}
    assert drawn(0.5) == {0, 3, 5, 7, 9, 11}
    clear[:] = False
    clear[4, 0] = True  # all are too cloudy: the clearest is kept
    assert drawn(0.5) == {4}


def test_blur_and_solarisation_are_those_that_were_asked_for() -> None:
    config = replace(SMALL, blur=1.0, blur_sigma=(0.7, 0.8), solarise=1.0, solarise_from=90.0)
    first, second, *locals_ = draw_views(np.random.default_rng(0), place(), config)
    assert second.look.solarise_from == 90.0
    assert all(view.look.solarise_from is None for view in (first, *locals_))
    assert all(0.7 <= view.look.blur <= 0.8 for view in (first, second, *locals_))


def test_windows_that_saw_nothing_are_drawn_again_a_few_times() -> None:
    sample = place().only(["s2"])
    sample.series["s2"].valid[:, :, 6:] = False
    small = replace(SMALL, global_cells=4, local_cells=4, local_crops=0)
    for seed in range(30):
        for view in draw_views(np.random.default_rng(seed), sample, small):
            assert cut(sample, view).series["s2"].valid.any()
    sample.series["s2"].valid[:] = False
    with pytest.raises(InputError, match=r"windows without any observed pixel"):
        draw_views(np.random.default_rng(0), sample, small)


def test_pairs_are_the_nearest_within_the_limit() -> None:
    days = lambda *numbers: np.datetime64("2020-02-25") + np.array(numbers).astype("timedelta64[D]")  # noqa: E731
    ours, theirs = pair_frames(days(0, 10, 20, 40), days(1, 9, 26), 5)
    assert ours.tolist() == [0, 1]
    assert theirs.tolist() == [0, 1]
    ours, theirs = pair_frames(days(0, 10, 20, 40), days(1, 9, 26), 6)
    assert ours.tolist() == [0, 1, 2]
    assert theirs.tolist() == [0, 1, 2]
    ours, theirs = pair_frames(days(0, 10), days(0, 11), 0)
    assert ours.tolist() == [0]
    nat = np.array(["NaT"], "datetime64[D]")
    assert pair_frames(nat, nat, 5)[0].tolist() == [0]
    assert pair_frames(nat, days(0), 5)[0].tolist() == []


def test_views_of_a_place_do_not_depend_on_its_neighbours() -> None:
    def batch(*numbers: int):
        return make_batch([place(number=n) for n in numbers], [np.random.default_rng(n) for n in numbers], SMALL)

    alone, together = batch(7), batch(3, 7)
    for key in ("hr", "s2", "s1"):
        for half in (0, 1):
            mine, theirs = alone.globals.frames[key], together.globals.frames[key]
            assert np.array_equal(mine.values_BTCHW[half], theirs.values_BTCHW[2 + half])
            assert np.array_equal(mine.day_BT[half], theirs.day_BT[2 + half])


def test_correspondence_of_a_batch_is_the_same_ground_and_date() -> None:
    samples = [place(number=n) for n in range(3)]
    views = make_batch(samples, [np.random.default_rng(n) for n in range(3)], SMALL)
    cells = views.globals.frames["s2"].values_BTCHW[:, 0, 0].flatten(1)
    other = views.other()
    assert other.tolist() == [1, 0, 3, 2, 5, 4]
    ours = cells.gather(1, views.student_cells)
    theirs = cells[other].gather(1, views.teacher_cells)
    assert (ours == theirs)[views.common].all()
    pairs = views.global_pairs["hr"]
    assert pairs.student_row.tolist() == list(range(6))
    assert pairs.teacher_row.tolist() == other.tolist()
    local = views.local_pairs["hr"]
    assert len(local.student_row) == 3 * 2 * 2
    assert all(
        views.locals.names[i] == views.globals.names[j]
        for i, j in zip(local.student_row, local.teacher_row, strict=True)
    )


def test_a_place_smaller_than_a_view_is_refused() -> None:
    with pytest.raises(InputError, match=r"p0.*4 x 4 cells, smaller than a view of 8 x 8"):
        draw_views(np.random.default_rng(0), place(4), SMALL)


@pytest.mark.parametrize("cells", [0, 6, -4])
def test_views_are_multiples_of_four_cells(cells: int) -> None:
    with pytest.raises(ConfigError, match="global_cells"):
        ViewConfig(global_cells=cells)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"most_cloud": 1.5}, r"most_cloud = 1.5 must be a share"),
        ({"grey": -0.1}, r"views.grey = -0.1 must be a share"),
        ({"solarise_from": 256.0}, r"solarise_from = 256.0 must lie within 0 .. 255"),
        ({"blur_sigma": (2.0, 0.1)}, r"blur_sigma = 2, 0.1 must be ascending"),
        ({"blur_sigma": (0.1, 5.0)}, r"within 0 .. 2 px"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ViewConfig(**change)  # type: ignore[arg-type]
