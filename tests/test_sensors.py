"""Bands by name, units declared, and numbers that cannot be right refused."""

from __future__ import annotations

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.sensors import (
    OPTICAL_HR,
    OPTICAL_HR_NIR,
    PUBLISHED,
    SENSORS,
    SENTINEL1,
    SENTINEL2_10M,
    SENTINEL2_L2A,
    Sensor,
    Unit,
    looks_offset,
    sensor_of,
)

STACK = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]


def test_bands_are_picked_by_name_in_the_sensors_order() -> None:
    values = np.arange(12)[None, :, None, None]
    assert SENTINEL2_L2A.select(values, STACK, axis=1).ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    order = list(reversed(STACK))
    assert SENTINEL2_L2A.select(values[:, ::-1], order, axis=1).ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    assert SENTINEL1.select(np.array([[5.0, 7.0]]), ["VH", "vv"], axis=1).tolist() == [[7.0, 5.0]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (STACK[:8], "missing or doubled: B8A, B11, B12"),
        ([*STACK, "B2"], "missing or doubled: B2"),
    ],
)
def test_missing_or_doubled_bands_are_named(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=rf"scene\.tif: sentinel-2-l2a needs.*{message}"):
        SENTINEL2_L2A.select(np.zeros(len(names)), names, axis=0, file="scene.tif")


def test_a_wrong_count_of_names_is_refused() -> None:
    with pytest.raises(InputError, match="3 bands but 2 band names"):
        SENTINEL1.select(np.zeros(3), ["VV", "VH"], axis=0)


def frames(sensor: Sensor, value: float, dtype: type) -> np.ndarray:
    return np.full((2, len(sensor.bands), 4, 4), value, dtype)


@pytest.mark.parametrize(
    ("sensor", "values", "message"),
    [
        (SENTINEL2_L2A, frames(SENTINEL2_L2A, 0.3, np.float32), "between 0 and 1.*Multiply by 10000"),
        (SENTINEL2_L2A, frames(SENTINEL2_L2A, 65535, np.float32), "lies within -1000 .. 65534; found 65535"),
        (SENTINEL2_L2A, frames(SENTINEL2_L2A, np.nan, np.float32), "NaN or infinite"),
        (SENTINEL1, frames(SENTINEL1, 0.04, np.float32), "linear power, not decibel"),
        (SENTINEL1, frames(SENTINEL1, -np.inf, np.float32), "NaN or infinite"),
        (SENTINEL1, frames(SENTINEL1, -9999, np.float32), "found -9999"),
        (OPTICAL_HR, frames(OPTICAL_HR, 300, np.uint16), "found 300"),
        (OPTICAL_HR, frames(OPTICAL_HR, 30, np.uint16), "is 8-bit; got uint16"),
        (OPTICAL_HR, np.zeros((1, 4, 4, 4), np.uint8), "bands R, G, B; got"),
    ],
)
def test_what_cannot_be_right_is_refused(sensor: Sensor, values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=rf"x\.nc: .*{message}"):
        sensor.check(values, file="x.nc")


def test_what_is_not_valid_does_not_count() -> None:
    values = frames(SENTINEL1, -12.0, np.float32)
    values[:, :, 0] = np.nan
    valid = np.ones((2, 4, 4), bool)
    valid[:, 0] = False
    SENTINEL1.check(values, valid)
    with pytest.raises(InputError, match="no observed pixel"):
        SENTINEL1.check(values, np.zeros((2, 4, 4), bool))


def test_statistics_are_those_of_the_published_family() -> None:
    assert [sensor.name for sensor in PUBLISHED] == ["optical-hr", "sentinel-2-l2a", "sentinel-1-grd"]
    assert set(SENSORS) == {sensor.name for sensor in PUBLISHED} | {"optical-hr-nir", "sentinel-2-l2a-10m"}
    assert SENTINEL2_10M.mean == tuple(SENTINEL2_L2A.mean[band] for band in (0, 1, 2, 6))
    assert [sensor_of(key, count) for key, count in (("hr", 4), ("s2", 4), ("s2", 10))] == [
        OPTICAL_HR_NIR, SENTINEL2_10M, SENTINEL2_L2A
    ]  # fmt: skip
    with pytest.raises(InputError, match="no sensor has 3 bands for s1; known are 2"):
        sensor_of("s1", 3)
    assert SENTINEL2_L2A.mean[0] == 884.29673756
    assert SENTINEL1.std == (5.25697717, 5.91150917)
    assert OPTICAL_HR.unit is Unit.UINT8


def test_the_offset_of_newer_baselines_is_noticed() -> None:
    valid = np.ones((2, 4, 4), bool)
    assert looks_offset(frames(SENTINEL2_L2A, 1040, np.uint16), valid)
    values = frames(SENTINEL2_L2A, 1040, np.uint16)
    values[0, 3, 1, 1] = 200
    assert not looks_offset(values, valid)
