"""Power of Sentinel-1 becomes decibel."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netCDF4 import Dataset
from numpy.typing import NDArray

from skysense.curate.refusal import Reason, Refused
from skysense.curate.sentinel1 import frame
from tests.curate.makers import acquire, flat, read


def plainly(power: float) -> float:
    """One pixel; NaN if it is not observed."""
    if not math.isfinite(power) or power <= 0:
        return math.nan
    decibel = 10 * math.log10(power)
    return round(decibel * 64) / 64 if -50 <= decibel <= 60 else math.nan


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.one_of(
            st.floats(-60, 70).map(lambda decibel: 10 ** (decibel / 10)),
            st.sampled_from([0.0, -0.5, math.nan, math.inf, 1e-30]),
        ),
        min_size=12,
        max_size=12,
    ),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_a_frame_agrees_with_a_plain_loop(powers: list[float], hidden: list[bool]) -> None:
    stack = np.array(powers).reshape(2, 2, 3)
    mask = np.array(hidden).reshape(2, 3)
    expected = np.full((2, 2, 3), math.nan)
    for row in range(2):
        for col in range(3):
            pair = [plainly(power) for power in stack[:, row, col]]
            if not mask[row, col] and not any(map(math.isnan, pair)):
                expected[:, row, col] = pair
    reading = read(acquire(modality="s1"), {"VV": stack[0], "VH": stack[1]}, mask)
    if np.isnan(expected).all():
        with pytest.raises(Refused, match="nothing observed"):
            frame(reading)
        return
    made = frame(reading)
    assert made.values.dtype == np.float32
    assert np.allclose(made.values, expected, rtol=0, atol=1 / 64 + 1e-5, equal_nan=True)  # a tie may round either way
    assert np.array_equal(made.valid, np.isfinite(expected[0]))
    assert np.array_equal(made.values[:, made.valid] * 64, np.round(made.values[:, made.valid] * 64))
    assert made.clear is None


def kit_series(kit: Path) -> NDArray[np.float32]:
    """``(T, 2, H, W)`` decibel of a place with scattered no-data."""
    with Dataset(kit / "treesat" / "series" / "betula_spec_9_19083" / "s1_desc.nc") as file:
        file.set_auto_maskandscale(False)
        return file["s1"][:]


def test_real_backscatter_keeps_its_level(kit: Path) -> None:
    decibel = kit_series(kit)
    power = 10 ** (decibel.astype(np.float64) / 10)
    for at in range(len(decibel)):
        made = frame(read(acquire(modality="s1"), {"VV": power[at, 0], "VH": power[at, 1]}))
        assert np.array_equal(made.valid, np.isfinite(decibel[at]).all(axis=0))
        assert np.abs(made.values - decibel[at])[:, made.valid].max() <= 1 / 128 + 1e-5
        as_decibel = read(acquire(modality="s1", unit="dB"), {"VV": decibel[at, 0], "VH": decibel[at, 1]})
        assert np.allclose(frame(as_decibel).values, made.values, rtol=0, atol=1 / 64, equal_nan=True)


def test_rounding_halves_a_lossless_store(kit: Path) -> None:
    with Dataset(kit / "crop_patches" / "be_2018_424a" / "s1.nc") as file:
        file.set_auto_maskandscale(False)
        decibel = file["s1"][:20]
    power = (10 ** (decibel.astype(np.float64) / 10)).astype(np.float32)
    made = [frame(read(acquire(modality="s1"), {"VV": vv, "VH": vh})).values for vv, vh in power]
    exact = (10 * np.log10(power)).astype(np.float32)

    def size(values: NDArray) -> int:
        planes = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 4).T  # shuffled, as NetCDF does
        return len(zlib.compress(planes.tobytes(), 4))

    assert size(np.stack(made)) < 0.6 * size(exact)


def test_what_is_known_about_a_frame_stays_with_it() -> None:
    acquisition = acquire("S1A", "s1", orbit_state="descending", relative_orbit=117)
    source = frame(read(acquisition, flat(acquisition, 0.1))).sources[0]
    assert source == {
        "item": "S1A",
        "collection": "s1-archive",
        "catalogue": "test",
        "time": "2022-06-01T12:00:00Z",
        "platform": "sentinel-1a",
        "orbit_state": "descending",
        "relative_orbit": 117,
    }


def test_amplitudes_are_refused() -> None:
    acquisition = acquire(modality="s1", unit="amplitude-dn")
    with pytest.raises(Refused, match="amplitude-dn") as caught:
        frame(read(acquisition, flat(acquisition, 200)))
    assert caught.value.reason is Reason.NOT_CALIBRATED
