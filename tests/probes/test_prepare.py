from __future__ import annotations

import numpy as np

from skysense.observation import Sample, Series
from skysense.probes.prepare import prepare, spread
from skysense.sensors import OPTICAL_HR, SENTINEL2_L2A


def _days(*days: int) -> np.ndarray:
    return np.datetime64("2021-01-01") + np.array(days).astype("timedelta64[D]")


def _s2(days: np.ndarray, clear: np.ndarray | None) -> Series:
    values = np.full((len(days), 10, 4, 4), 1000, np.uint16)
    return Series(SENTINEL2_L2A, values, days, np.ones((len(days), 4, 4), bool), clear)


def test_frames_are_spread_in_time_and_not_in_number() -> None:
    dates = _days(0, 1, 2, 3, 4, 5, 180, 360)  # many frames in the first week
    assert spread(dates, 3).tolist() == [0, 6, 7]
    assert spread(dates, 8).tolist() == list(range(8))
    assert spread(dates, 1).tolist() == [6]


def test_spread_never_takes_a_frame_twice() -> None:
    dates = _days(0, 0, 0, 0, 365)
    assert len(set(spread(dates, 4).tolist())) == 4


def test_clear_only_hides_cloudy_pixels_and_drops_cloudy_frames() -> None:
    clear = np.zeros((3, 4, 4), bool)
    clear[0] = True
    clear[2, 0] = True
    sample = Sample("a", {"s2": _s2(_days(0, 50, 100), clear)})
    kept = prepare(sample, clear_only=True).series["s2"]
    assert kept.dates.tolist() == _days(0, 100).tolist()
    assert kept.valid.sum(axis=(1, 2)).tolist() == [16, 4]
    assert prepare(sample).series["s2"].valid.all()


def test_a_modality_that_is_all_cloud_is_left_out_unless_it_is_the_only_one() -> None:
    cloudy = _s2(_days(0, 50), np.zeros((2, 4, 4), bool))
    image = Series(OPTICAL_HR, np.zeros((1, 3, 128, 128), np.uint8), _days(9), np.ones((1, 128, 128), bool))
    assert set(prepare(Sample("a", {"s2": cloudy, "hr": image}), clear_only=True).series) == {"hr"}
    assert len(prepare(Sample("a", {"s2": cloudy}), clear_only=True).series["s2"].dates) == 2
