"""Series, samples and batches refuse what cannot be right and pad time only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from skysense.errors import InputError
from skysense.geo import Footprint, Window
from skysense.observation import Sample, Series, collate, day_of_year
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A

DAYS = np.array(["2020-02-29", "2020-03-01", "2020-12-31"], "datetime64[D]")


def s2(cells: int = 4, frames: int = 3, **changes: Any) -> Series:
    values = dict(
        sensor=SENTINEL2_L2A,
        values=np.arange(frames * 10 * cells**2, dtype=np.uint16).reshape(frames, 10, cells, cells),
        dates=DAYS[:frames],
        valid=np.ones((frames, cells, cells), bool),
    )
    return Series(**(values | changes))


def hr(cells: int = 4) -> Series:
    side = 32 * cells
    values = np.zeros((1, 3, side, side), np.uint8)
    return Series(OPTICAL_HR, values, np.array(["NaT"], "datetime64[D]"), np.ones((1, side, side), bool))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dates": DAYS[::-1]}, "not in ascending order"),
        ({"dates": np.array(["2020-01-01", "NaT", "2020-02-01"], "datetime64[D]")}, "without a date"),
        ({"dates": DAYS[:2]}, "dates must be"),
        ({"dates": DAYS.astype("datetime64[s]")}, r"datetime64\[D\]"),
        ({"valid": np.ones((3, 4, 5), bool)}, "valid must be bool"),
        ({"valid": np.ones((3, 4, 4), int)}, "valid must be bool"),
        ({"values": np.zeros((3, 9, 4, 4))}, "with bands B2, B3"),
        ({"values": np.zeros((0, 10, 4, 4)), "dates": DAYS[:0]}, "got"),
    ],
)
def test_a_series_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        s2(**changes)


def test_days_count_from_zero_and_leap_years_end_in_364() -> None:
    assert s2().days.tolist() == [59, 60, 364]
    assert day_of_year(np.array(["2021-12-31", "2021-01-01", "NaT"], "datetime64[D]")).tolist() == [364, 0, -1]


@pytest.mark.parametrize(
    ("series", "extra", "message"),
    [
        ({}, {}, "no imagery"),
        ({"s1": s2()}, {}, "sentinel-2-l2a under 's1'"),
        ({"s2": s2(), "hr": hr(5)}, {}, "do not share the lattice"),
        ({"s2": s2()}, {"lon": 10.0}, "only one of lon and lat"),
        ({"s2": s2()}, {"lon": 10.0, "lat": 91.0}, "outside lon"),
    ],
)
def test_a_sample_that_contradicts_itself_is_refused(series: Any, extra: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sample("p", series, **extra)


def test_an_image_that_is_not_whole_cells_is_refused() -> None:
    odd = Series(OPTICAL_HR, np.zeros((1, 3, 100, 128), np.uint8), DAYS[:1], np.ones((1, 100, 128), bool))
    with pytest.raises(InputError, match="100 x 128 px, not a multiple of 32"):
        Sample("p", {"hr": odd})


def test_a_crop_is_the_same_ground_for_every_sensor() -> None:
    sample = Sample("p", {"s2": s2(8), "hr": hr(8)}, footprint=Footprint((0, 0, 80, 80), "EPSG:32632"))
    part = sample.crop(Window(4, 2, 4, 4))
    assert part.grid == (4, 4)
    assert np.array_equal(part.series["s2"].values, sample.series["s2"].values[..., 4:8, 2:6])
    assert part.series["hr"].values.shape == (1, 3, 128, 128)
    assert part.footprint == Footprint((20, 0, 60, 40), "EPSG:32632")


def test_a_batch_pads_time_only_and_marks_it() -> None:
    radar = Series(SENTINEL1, np.full((1, 2, 4, 4), -9.5, np.float32), DAYS[:1], np.ones((1, 4, 4), bool))
    batch = collate([Sample("a", {"s2": s2(), "s1": radar}, region=2), Sample("b", {"s2": s2(frames=1)})])
    frames = batch.frames["s2"]
    assert frames.present_BT.tolist() == [[True] * 3, [True, False, False]]
    assert frames.day_BT.tolist() == [[59, 60, 364], [59, -1, -1]]
    assert frames.values_BTCHW.dtype == torch.int32
    assert np.array_equal(frames.values_BTCHW[0], s2().values)
    assert not frames.valid_BTHW[1, 1:].any()
    assert batch.frames["s1"].present_BT.tolist() == [[True], [False]]
    assert batch.region_B.tolist() == [2, -1]
    assert "hr" not in batch.frames
    assert batch.names == ["a", "b"]


def test_samples_of_other_sizes_and_empty_batches_are_refused() -> None:
    with pytest.raises(InputError, match="one size"):
        collate([Sample("a", {"s2": s2(4)}), Sample("b", {"s2": s2(8)})])
    with pytest.raises(InputError, match="at least one"):
        collate([])
