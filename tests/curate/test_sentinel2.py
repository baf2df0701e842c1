"""Digital numbers of Sentinel-2 become reflectance x 10^4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from netCDF4 import Dataset
from numpy.typing import NDArray

from skysense.curate.refusal import Reason, Refused
from skysense.curate.sentinel2 import CLASSES, frame, stated_offset
from skysense.sensors import SENTINEL2_L2A, looks_offset
from tests.curate.makers import acquire, flat, read

BANDS = SENTINEL2_L2A.bands


def terramesh(kit: Path, place: str) -> dict[str, NDArray]:
    """Digital numbers by our names of bands."""
    with rasterio.open(kit / "terramesh" / place / "s2l2a.tif") as file:
        numbers = file.read().astype(np.uint16)
        names = [name.replace("B0", "B") for name in file.descriptions]
    return {name: numbers[names.index(name)] for name in BANDS}


def plainly(pixels: dict[str, NDArray], hidden: NDArray, offset: int) -> tuple[NDArray, NDArray, NDArray]:
    """Values, valid and clear, pixel by pixel."""
    height, width = hidden.shape
    values = np.zeros((10, height, width), np.uint16)
    valid, clear = np.zeros((height, width), bool), np.zeros((height, width), bool)
    for row in range(height):
        for col in range(width):
            numbers = [int(pixels[band][row, col]) for band in BANDS]
            scene = int(pixels["SCL"][row, col])
            if hidden[row, col] or min(numbers) == 0 or max(numbers) == 65535 or scene < 2:
                continue
            valid[row, col] = True
            clear[row, col] = scene not in {3, 8, 9, 10}
            values[:, row, col] = [max(number - offset, 1) for number in numbers]
    for row in range(0, height, 2):
        for col in range(0, width, 2):
            if not valid[row : row + 2, col : col + 2].all():
                for layer in (values, valid, clear):
                    layer[..., row : row + 2, col : col + 2] = 0
    return values, valid, clear


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([("02.14", None, 0), ("05.09", False, 1000), ("05.11", True, 0)]))
def test_a_frame_agrees_with_a_plain_loop(seed: int, stated: tuple[str, bool | None, int]) -> None:
    rng = np.random.default_rng(seed)
    baseline, applied, offset = stated
    pixels = {band: rng.integers(995, 1500, (8, 10)).astype(np.uint16) for band in BANDS}
    for number in (0, 65535):
        for row, col in rng.integers(0, 8, (2, 2)):
            pixels[BANDS[rng.integers(10)]][row, col] = number
    pixels["SCL"] = rng.choice(12, (8, 10), p=[0.02, 0.02, *[0.096] * 10]).astype(np.uint8)
    hidden = rng.random((8, 10)) < 0.05
    made = frame(read(acquire(baseline=baseline, offset_applied=applied), pixels, hidden))
    values, valid, clear = plainly(pixels, hidden, offset)
    assert made.values.dtype == np.uint16
    assert np.array_equal(made.values, values)
    assert np.array_equal(made.valid, valid)
    assert made.clear is not None
    assert np.array_equal(made.clear, clear)
    assert ((made.values > 0) == made.valid).all()


def test_the_offset_of_a_real_product_is_removed(kit: Path) -> None:
    pixels = terramesh(kit, "433d_629l_3_1")
    numbers = np.stack([pixels[band] for band in BANDS])
    assert looks_offset(numbers[None], np.ones((1, 224, 224), bool))
    made = frame(read(acquire(baseline="04.00"), pixels))
    assert made.valid.all()
    assert np.array_equal(made.values, np.maximum(numbers.astype(int) - 1000, 1))
    assert (made.values == 1).any()  # B8 dips below zero
    assert not looks_offset(made.values[None], made.valid[None])
    assert made.sources[0]["offset_removed"] == 1000
    assert made.clear is None


@pytest.mark.parametrize("applied", [None, False])
def test_a_real_product_of_unknown_baseline_is_refused(kit: Path, applied: bool | None) -> None:
    reading = read(acquire(baseline=None, offset_applied=applied), terramesh(kit, "433d_629l_3_1"))
    with pytest.raises(Refused, match="darkest pixels do not tell") as caught:
        frame(reading)
    assert caught.value.reason is Reason.OFFSET_UNKNOWN


@pytest.mark.parametrize("place", ["282d_485l_3_3", "38d_378r_2_3", "609u_541l_3_0"])  # the last is all snow
def test_dark_pixels_show_that_there_is_no_offset(kit: Path, place: str) -> None:
    pixels = terramesh(kit, place)
    made = frame(read(acquire(baseline=None, offset_applied=None), pixels))
    assert made.sources[0]["offset_removed"] == 0
    for at, band in enumerate(BANDS):
        assert np.array_equal(made.values[at][made.valid], pixels[band][made.valid])
    with pytest.raises(Refused, match="far below zero") as caught:  # catalogues are known to state this wrongly
        frame(read(acquire(baseline="05.11", offset_applied=False), pixels))
    assert caught.value.reason is Reason.OFFSET_CONTRADICTED


def test_a_few_dark_pixels_prove_nothing() -> None:
    acquisition = acquire(baseline="05.09")
    pixels = flat(acquisition, 1500, (20, 20))
    pixels["B4"][0, :4] = 600  # one in a hundred
    assert (frame(read(acquisition, pixels)).values[2, 0, :5] == [1, 1, 1, 1, 500]).all()
    pixels["B4"][0, 4] = 600
    with pytest.raises(Refused, match="contradicted"):
        frame(read(acquisition, pixels))


@pytest.mark.parametrize(
    ("baseline", "applied", "offset", "expected"),
    [
        ("05.09", True, -0.1, 0),
        (None, True, None, 0),
        ("03.01", False, -0.1, 0),
        ("03.01", None, None, 0),
        ("04.00", False, None, 1000),
        ("05.09", False, -0.1, 1000),
        ("05.09", False, 0.0, None),
        ("05.09", None, -0.1, None),
        (None, False, -0.1, 1000),
        (None, False, None, None),
        (None, False, 0.0, None),
        (None, None, -0.1, None),
        ("99.99", False, None, None),
        ("unknown", False, None, None),
    ],
)
def test_what_an_archive_states(
    baseline: str | None, applied: bool | None, offset: float | None, expected: int | None
) -> None:
    assert stated_offset(acquire(baseline=baseline, offset_applied=applied, offset=offset)) == expected


def test_scene_classes_of_a_real_series(kit: Path) -> None:
    with Dataset(kit / "crop_patches" / "be_2018_424a" / "s2.nc") as file:
        file.set_auto_maskandscale(False)
        ten, twenty, scene = (file[name][:40] for name in ("s2_10m", "s2_20m", "scl"))
        names = [*file["band_10m"][:], *file["band_20m"][:]]
    names = [name.replace("B0", "B") for name in names]
    acquisition = acquire(baseline="02.06", offset_applied=None)
    seen = set()
    for at in range(40):
        layers = [*ten[at], *(layer.repeat(2, axis=0).repeat(2, axis=1) for layer in (*twenty[at], scene[at]))]
        pixels = dict(zip([*names, CLASSES], layers, strict=True))
        made = frame(read(acquisition, pixels))
        _, valid, clear = plainly(pixels, np.zeros((64, 64), bool), 0)
        assert np.array_equal(made.valid, valid)
        assert np.array_equal(made.clear, clear)
        assert np.array_equal(made.values[7], np.where(valid, pixels["B8A"], 0))
        seen |= set(np.unique(pixels[CLASSES]).tolist())
    assert {3, 4, 5, 8, 9, 10} <= seen  # otherwise the kit shows too little


def test_a_pixel_without_a_scene_class_is_not_observed() -> None:
    acquisition = acquire()
    reading = read(acquisition, flat(acquisition, 1500))
    reading.observed["SCL"][1, 2] = False
    assert np.argwhere(~frame(reading).valid).tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_a_window_without_pixels_is_refused() -> None:
    acquisition = acquire()
    with pytest.raises(Refused) as caught:
        frame(read(acquisition, flat(acquisition, 0)))
    assert caught.value.reason is Reason.NOTHING_OBSERVED


def test_reflectance_is_not_taken_for_digital_numbers() -> None:
    acquisition = acquire()
    pixels = flat(acquisition, 0)
    pixels.update({band: np.full((4, 4), 0.2, np.float32) for band in BANDS})
    with pytest.raises(Refused, match="float32") as caught:
        frame(read(acquisition, pixels))
    assert caught.value.reason is Reason.WRONG_UNIT
    acquisition = acquire(scale=2.75e-5)
    with pytest.raises(Refused, match=r"scale of 2\.75e-05"):
        frame(read(acquisition, flat(acquisition, 1500)))


def test_holes_of_10_m_leave_the_20_m_bands_in_whole_blocks() -> None:
    acquisition = acquire()
    pixels = flat(acquisition, 1500, (6, 6))
    for at, band in enumerate(BANDS):
        small = np.arange(1200, 1209, dtype=np.uint16).reshape(3, 3) + 10 * at
        pixels[band] = small.repeat(2, axis=0).repeat(2, axis=1)
    pixels["B2"][3, 4] = 0
    made = frame(read(acquisition, pixels))
    assert (~made.valid).sum() == 4
    for band in ("B5", "B6", "B7", "B8A", "B11", "B12"):
        layer = made.values[BANDS.index(band)]
        assert np.array_equal(layer, layer[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))
    assert ((made.values > 0) == made.valid).all()


@pytest.mark.parametrize(
    ("baseline", "darkest", "doubtful"),
    [("05.11", 950, True), ("05.11", 850, None), ("03.01", 950, None), (None, 850, None)],
)
def test_an_offset_that_was_taken_out_by_word_and_may_be_in_is_doubtful(
    baseline: str | None, darkest: int, doubtful: bool | None
) -> None:
    acquisition = acquire(baseline=baseline, offset_applied=True)
    pixels = flat(acquisition, 2000)
    pixels["B12"][:2, :2] = darkest
    made = frame(read(acquisition, pixels))
    assert made.sources[0].get("offset_doubtful") is doubtful
    assert made.values[9, 0, 0] == darkest


def test_an_offset_that_was_taken_out_by_word_alone_is_held_against_the_pixels() -> None:
    acquisition = acquire(baseline=None, offset_applied=True)
    with pytest.raises(Refused, match="as bright as with it") as caught:
        frame(read(acquisition, flat(acquisition, 950)))
    assert caught.value.reason is Reason.OFFSET_CONTRADICTED
