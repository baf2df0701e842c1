"""A place from its frames."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from skysense.curate import optical, sentinel1, sentinel2
from skysense.curate.frame import Frame
from skysense.curate.grid import grid_at
from skysense.curate.refusal import Reason, Refused
from skysense.curate.sample import Settings, check_enough, make_sample, middle_of
from skysense.data.places import Places, write_dataset, write_place
from skysense.errors import ConfigError
from tests.curate.makers import NOON, acquire, flat, read

GRID = grid_at(-72.48, -38.83, 4)
SETTINGS = Settings(cells=4, fewest_s2=3, fewest_s1=2)
LICENCES = {"hr": "public domain", "s2": "Copernicus", "s1": "Copernicus"}


def frames(modality: str, days: list[int], **changes) -> list[Frame]:
    """One flat frame per day, of a value that grows with the day."""
    make = {"hr": optical, "s2": sentinel2, "s1": sentinel1}[modality].frame
    shape = (128, 128) if modality == "hr" else (4, 4)
    made = []
    for day in days:
        acquisition = acquire(f"{modality} {day}", modality, time=NOON + timedelta(days=day), **changes)
        value = {"s2": 1500 + day, "s1": 0.1, "hr": 100 + day % 100}[modality]
        made.append(make(read(acquisition, flat(acquisition, value, shape))))
    return made


def test_a_place_of_three_sensors() -> None:
    found = {"s2": frames("s2", [30, 0, 10]), "s1": frames("s1", [5, 2]), "hr": frames("hr", [-300, 20, 400])}
    made = make_sample("p", GRID, found, SETTINGS, licences=LICENCES)
    sample = made.sample
    assert list(sample.series) == ["hr", "s2", "s1"]
    assert sample.grid == (4, 4)
    assert sample.series["s2"].dates.astype(str).tolist() == ["2022-06-01", "2022-06-11", "2022-07-01"]
    assert sample.series["s2"].values[:, 0, 0, 0].tolist() == [500, 510, 530]
    assert sample.series["s1"].dates.astype(str).tolist() == ["2022-06-03", "2022-06-06"]
    assert sample.series["hr"].dates.astype(str).tolist() == ["2022-06-21"]  # next to the middle of the series
    assert (sample.series["hr"].values == 120).all()
    assert (sample.lon, sample.lat) == GRID.centre
    assert sample.footprint == GRID.footprint
    told = json.loads(json.dumps(made.attributes))
    assert [[source["item"] for source in one] for one in told["products"]["s2"]] == [["s2 0"], ["s2 10"], ["s2 30"]]
    assert told["products"]["s2"][0][0]["baseline"] == "05.09"
    assert told["products"]["s2"][0][0]["cloud_cover"] == 3.5
    assert told["products"]["s1"][1][0]["orbit_state"] == "ascending"
    assert told["products"]["hr"] == [[{**told["products"]["hr"][0][0], "item": "hr 20"}]]
    assert told["stretch"] == "none"
    assert told["licences"] == LICENCES


def test_a_made_place_can_be_written_and_read(tmp_path: Path) -> None:
    found = {"s2": frames("s2", [0, 10, 30]), "s1": frames("s1", [2, 5]), "hr": frames("hr", [20])}
    sample = make_sample("p", GRID, found, SETTINGS, licences=LICENCES).sample
    write_dataset(tmp_path, title="One place", simulated=False, legends={})
    write_place(tmp_path, sample)
    places = Places(tmp_path)
    again = places.read_sample(places[0])
    for key, series in sample.series.items():
        assert np.array_equal(again.series[key].values, series.values)
        assert np.array_equal(again.series[key].dates, series.dates)


def test_frames_of_one_day_stay_in_order_of_time() -> None:
    evening = frames("s1", [0], platform="sentinel-1b")[0]
    morning = sentinel1.frame(
        read(acquire("early", "s1", time=NOON - timedelta(hours=7)), flat(acquire(modality="s1"), 0.2))
    )
    settings = Settings(required=("s1",), fewest_s1=2)
    made = make_sample("p", GRID, {"s1": [evening, morning]}, settings, licences=LICENCES)
    assert [one[0]["item"] for one in made.attributes["products"]["s1"]] == ["early", "s1 0"]
    assert len(set(made.sample.series["s1"].dates)) == 1


def test_a_stretched_image_says_so() -> None:
    rng = np.random.default_rng(0)
    pixels = {band: rng.integers(300, 1200, (128, 128)).astype(np.uint16) for band in "RGB"}
    image = optical.frame(read(acquire("w", "hr", unit="dn"), pixels))
    made = make_sample("p", GRID, {"hr": [image]}, Settings(required=("hr",)), licences=LICENCES)
    assert made.attributes["stretch"] == {"low": pytest.approx(318, abs=3), "high": pytest.approx(1181, abs=3)}
    assert made.sample.series["hr"].values.dtype == np.uint8


def test_short_series_are_left_out_unless_required() -> None:
    found = {"s2": frames("s2", [0, 1, 2]), "s1": frames("s1", [0])}
    made = make_sample("p", GRID, found, Settings(required=("s2",), fewest_s2=3, fewest_s1=2), licences=LICENCES)
    assert list(made.sample.series) == ["s2"]
    assert list(made.attributes["products"]) == ["s2"]
    for settings, reason in [
        (SETTINGS, Reason.TOO_FEW_S1),
        (Settings(required=("s2",), fewest_s2=4), Reason.TOO_FEW_S2),
        (Settings(required=("hr",), fewest_s2=1), Reason.NO_IMAGE),
        (Settings(required=(), fewest_s2=4, fewest_s1=2), Reason.NO_IMAGERY),
    ]:
        with pytest.raises(Refused) as caught:
            make_sample("p", GRID, found, settings, licences=LICENCES)
        assert caught.value.reason is reason


def test_a_place_is_refused_before_anything_is_read() -> None:
    check_enough({"s2": 3, "s1": 2}, SETTINGS)
    for counts, reason in [
        ({}, Reason.NO_IMAGERY),
        ({"hr": 0, "s2": 0}, Reason.NO_IMAGERY),
        ({"s2": 2, "s1": 2}, Reason.TOO_FEW_S2),
        ({"s2": 3}, Reason.TOO_FEW_S1),
    ]:
        with pytest.raises(Refused) as caught:
            check_enough(counts, SETTINGS)
        assert caught.value.reason is reason


def test_a_wrong_unit_is_a_reason_and_no_crash() -> None:
    powers = [
        sentinel1.frame(
            read(acquire(f"s1 {day}", "s1", unit="dB", time=NOON + timedelta(days=day)), flat(acquire("", "s1"), 0.1))
        )
        for day in range(2)
    ]
    with pytest.raises(Refused, match="linear power") as caught:
        make_sample("p", GRID, {"s1": powers}, Settings(required=("s1",), fewest_s1=1), licences=LICENCES)
    assert caught.value.reason is Reason.WRONG_UNIT


def test_cloud_is_known_only_if_it_is_for_every_frame() -> None:
    settings = Settings(required=("s2",), fewest_s2=2)
    found = frames("s2", [0, 1])
    clear = make_sample("p", GRID, {"s2": found}, settings, licences=LICENCES).sample.series["s2"].clear
    assert clear is not None and clear.all()
    acquisition = acquire("bare", time=NOON + timedelta(days=2))
    pixels = flat(acquisition, 2000)
    del pixels["SCL"]
    found.append(sentinel2.frame(read(acquisition, pixels)))
    assert make_sample("p", GRID, {"s2": found}, settings, licences=LICENCES).sample.series["s2"].clear is None


def test_the_middle_of_a_series() -> None:
    assert middle_of([]) is None
    assert middle_of(frames("s2", [0, 1, 10])) == NOON + timedelta(days=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": 0}, "cells 0"),
        ({"cells": 30}, "multiple of 4"),
        ({"required": ("s2", "s3")}, "'s3' is unknown"),
        ({"fewest_s1": 0}, "fewest_s1 0"),
        ({"fewest_s2": 20, "most_s2": 10}, "at most most_s2"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings(**changes)
