"""Counting place by place against counting everything at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from skysense.curate.card.numbers import BINS, NOT_STATED, Numbers, SensorNumbers
from skysense.observation import Series
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A
from tests.curate.card.makers import entries, series


def test_streamed_counts_equal_those_of_plain_loops_over_every_pixel() -> None:
    found = [entry.sample.series["s2"] for entry in entries(5)]
    numbers = SensorNumbers(SENTINEL2_L2A)
    for one in found:
        numbers.add(one)
    months: Counter[str] = Counter()
    known, cloudy, observed, values = [0] * 12, [0] * 12, 0, []
    for one in found:
        assert one.clear is not None
        for frame, date in enumerate(one.dates):
            month = str(date)[:7]
            months[month] += 1
            for row in range(4):
                for col in range(4):
                    if one.valid[frame, row, col]:
                        observed += 1
                        known[int(month[5:]) - 1] += 1
                        cloudy[int(month[5:]) - 1] += not one.clear[frame, row, col]
                        values.append(one.values[frame, :, row, col].astype(float))
    frames = 2 + 3 + 4 + 2 + 3
    assert (numbers.places, numbers.frames, numbers.undated) == (5, frames, 0)
    assert numbers.months == months
    assert (numbers.pixels, numbers.observed) == (frames * 16, observed)
    assert numbers.known_12.tolist() == known
    assert numbers.cloudy_12.tolist() == cloudy
    assert numbers.cloud_share == sum(cloudy) / observed
    assert (numbers.raw_bytes, numbers.cells) == (frames * 16 * 10 * 2, frames * 16)
    np.testing.assert_allclose(numbers.bands.mean_C, np.mean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(numbers.bands.std_C, np.std(values, axis=0), rtol=1e-9)
    for band in range(10):
        edges = np.linspace(numbers.bands.low_C[band], numbers.bands.high_C[band], BINS + 1)
        within = np.clip(np.array(values)[:, band], edges[0], edges[-1])
        np.testing.assert_array_equal(numbers.bands.counts_CE[band], np.histogram(within, edges)[0])


def test_values_beyond_a_histogram_are_counted_in_its_outermost_bins() -> None:
    values = np.full((1, 2, 1, 3), -12.5, np.float32)
    values[0, 0, 0] = (-80, -12.5, 50)
    numbers = SensorNumbers(SENTINEL1)
    numbers.add(Series(SENTINEL1, values, np.array(["2020-01-01"], "datetime64[D]"), np.ones((1, 1, 3), bool)))
    vv = numbers.bands.counts_CE[0]
    assert (vv[0], vv[-1], vv.sum()) == (1, 1, 3)


def test_every_bin_of_an_image_holds_four_values() -> None:
    values = np.zeros((1, 3, 32, 32), np.uint8)
    values[0, 0, :8] = np.arange(256).reshape(8, 32)
    numbers = SensorNumbers(OPTICAL_HR)
    numbers.add(Series(OPTICAL_HR, values, np.array(["NaT"], "datetime64[D]"), np.ones((1, 32, 32), bool)))
    red = numbers.bands.counts_CE[0]
    assert red[0] == 4 + 24 * 32
    assert (red[1:] == 4).all()
    assert numbers.undated == 1
    assert not numbers.months


def test_clouds_that_nobody_knows_are_not_taken_for_none() -> None:
    rng = np.random.default_rng(0)
    numbers = SensorNumbers(SENTINEL2_L2A)
    numbers.add(replace(series("s2", rng), clear=None))
    assert numbers.cloud_share is None
    known = series("s2", rng)
    numbers.add(known)
    assert known.clear is not None
    assert numbers.cloud_share == (known.valid & ~known.clear).sum() / known.valid.sum()


def test_a_sensor_that_nothing_was_observed_of_has_no_mean() -> None:
    one = series("s1", np.random.default_rng(0))
    numbers = SensorNumbers(SENTINEL1)
    numbers.add(replace(one, valid=np.zeros_like(one.valid)))
    assert numbers.valid_share == 0
    assert np.isnan(numbers.bands.mean_C).all()
    assert np.isnan(numbers.bands.std_C).all()


@pytest.mark.parametrize("off", [-2.0, 0.0, 3.0])
def test_how_far_a_mean_is_off_is_told_in_standard_deviations_of_the_model(off: float) -> None:
    numbers = SensorNumbers(SENTINEL1)
    numbers.add(series("s1", np.random.default_rng(0), frames=50, off=off))
    np.testing.assert_allclose(numbers.off_C, off, atol=0.1)


def test_products_are_counted_by_frame_and_property() -> None:
    early, late = {"item": "a", "baseline": "04.00", "relative_orbit": 22}, {"item": "b", "baseline": "05.09"}
    products = {"s2": [[early], [late], [early, late], [{"item": "c"}]], "s1": [[{"item": "d"}]]}
    numbers = Numbers()
    found = {key: series(key, np.random.default_rng(0), frames=4) for key in ("s2", "s1")}
    numbers.add(found, {"products": products, "licences": {"s2": "free", "hr": "not there"}})
    origins = numbers.origins["sentinel-2-l2a"]
    assert origins["baseline"] == {"04.00": 2, "05.09": 2, NOT_STATED: 1}
    assert origins["relative_orbit"] == {"22": 2, NOT_STATED: 2}
    assert origins["platform"] == {NOT_STATED: 4}
    assert numbers.licences == {("sentinel-2-l2a", "free"): 1}


@pytest.mark.parametrize("strange", [{}, {"products": "no"}, {"products": {"s2": 3}}, {"products": {"s2": [1, [2]]}}])
def test_attributes_of_another_form_are_passed_over(strange: dict) -> None:
    numbers = Numbers()
    numbers.add({"s2": series("s2", np.random.default_rng(0))}, strange)
    assert numbers.sensors["sentinel-2-l2a"].frames == 3
    counted = [set(counts) for origins in numbers.origins.values() for counts in origins.values()]
    assert all(counts == {NOT_STATED} for counts in counted)
