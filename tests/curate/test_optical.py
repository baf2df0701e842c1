"""The high-resolution image: what it holds, how it is stretched, which one is chosen."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.curate.frame import WHOLE, Frame
from skysense.curate.optical import Stretch, choose_image, colours, find_stretch, frame, reading_order
from skysense.curate.refusal import Reason, Refused
from tests.curate.makers import NOON, acquire, read
from tests.curate.makers import frame as make_frame


def test_aerial_imagery_passes_unchanged(kit: Path) -> None:
    with rasterio.open(kit / "naip_series" / "naip_20150926.tif") as file:
        pixels = dict(zip(("R", "G", "B", "NIR"), file.read(), strict=True))
    made = frame(read(acquire(modality="hr"), pixels))
    values, stretch = colours(made)
    assert stretch is None
    assert made.valid.all()
    assert values.dtype == np.uint8
    assert np.array_equal(values, np.stack([pixels[band] for band in "RGB"]))


def test_black_collars_and_holes_are_not_observed() -> None:
    pixels = {band: np.full((3, 4), 9, np.uint8) for band in "RGB"}
    for band in "RGB":
        pixels[band][:, 0] = 0
    pixels["R"][:, 1] = 0  # cyan is a colour
    hidden = np.zeros((3, 4), bool)
    hidden[2, 3] = True
    made = frame(read(acquire(modality="hr"), pixels, hidden))
    expected = np.array([[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 0]], bool)
    assert np.array_equal(made.valid, expected)
    assert (made.values[:, ~expected] == 0).all()
    with pytest.raises(Refused) as caught:
        frame(read(acquire(modality="hr"), {band: pixels[band][:, :1] for band in "RGB"}))
    assert caught.value.reason is Reason.NOTHING_OBSERVED


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([11, 14, 16]))
def test_a_stretch_agrees_with_a_plain_loop(seed: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 2**bits, (3, 8, 9)).astype(np.uint16)
    valid = rng.random((8, 9)) < 0.8
    valid[0, 0] = True
    ordered = sorted(int(number) for band in values for number in band[valid])
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.02, 0.98))
    found = find_stretch(values, valid)
    assert found == Stretch(low, high)
    made, stretch = colours(Frame(NOON, (), values * valid, valid))
    assert stretch == found
    for at in np.ndindex(values.shape):
        number = (int(values[at]) - found.low) / max(found.high - found.low, 1) * 255
        expected = min(max(number, 0), 255) if valid[at[1:]] else 0
        assert abs(int(made[at]) - expected) <= 0.51


def test_a_stretch_keeps_the_ratio_of_bands() -> None:
    ramp = np.linspace(200, 2000, 1000).reshape(20, 50)
    values = np.stack([ramp, ramp / 2, ramp / 4]).astype(np.uint16)
    stretch = find_stretch(values, np.ones((20, 50), bool))
    assert stretch is not None
    red, green, blue = stretch.apply(values)
    assert red.mean() > green.mean() > blue.mean()
    assert stretch.apply(np.array([stretch.low, stretch.high, 65535, 0], np.uint16)).tolist() == [0, 255, 255, 0]


def test_an_even_image_stays_finite() -> None:
    values = np.full((3, 4, 4), 300, np.uint16)
    assert find_stretch(values, np.ones((4, 4), bool)) == Stretch(300, 300)
    assert (colours(Frame(NOON, (), values, np.ones((4, 4), bool)))[0] == 0).all()


def test_other_numbers_are_refused() -> None:
    with pytest.raises(Refused, match="float32"):
        frame(read(acquire(modality="hr"), {band: np.ones((2, 2), np.float32) for band in "RGB"}))


def images(draws: list[tuple[int, float]]) -> list[Frame]:
    """One image per day and share of 1000 pixels."""
    made = []
    for at, (day, share) in enumerate(draws):
        valid = np.arange(1000).reshape(20, 50) < round(share * 1000)
        made.append(make_frame(f"image {at}", 7, valid, time=NOON + timedelta(days=day)))
    return made


@pytest.mark.parametrize(
    ("draws", "near", "expected"),
    [
        ([(0, 1.0), (500, 1.0), (900, 1.0)], None, 2),
        ([(0, 1.0), (500, 1.0), (900, 1.0)], 450, 1),
        ([(0, 1.0), (500, 0.98), (900, 0.4)], 900, 0),
        ([(0, 0.991), (500, 1.0)], 10, 0),  # nine pixels in a thousand do not make up for a year
        ([(0, 0.5), (500, 0.6), (900, 0.55)], 0, 1),
        ([(-10, 1.0), (10, 1.0)], 0, 1),
    ],
)
def test_the_chosen_image(draws: list[tuple[int, float]], near: int | None, expected: int) -> None:
    time = None if near is None else NOON + timedelta(days=near)
    found = images(draws)
    assert choose_image(found, time) is found[expected]


def test_no_image_is_none() -> None:
    assert choose_image([], None) is None


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-900, 900), st.sampled_from([0.2, 0.9, 0.99, 0.995, 1.0])), min_size=1, max_size=8),
    st.one_of(st.none(), st.integers(-900, 900)),
    st.randoms(use_true_random=False),
)
def test_reading_in_order_finds_the_chosen_image(draws, near, random) -> None:
    time = None if near is None else NOON + timedelta(days=near)
    found = images(draws)
    chosen = choose_image(found, time)
    read_so_far = []
    for at in reading_order([one.time for one in found], time):
        read_so_far.append(found[at])
        if found[at].share >= WHOLE:
            break
    assert choose_image(read_so_far, time) is chosen
    random.shuffle(found)
    assert choose_image(found, time) is chosen
    whole = [one for one in found if one.share >= 0.99]
    assert chosen is not None
    if whole and time is not None:
        assert abs(chosen.time - time) == min(abs(one.time - time) for one in whole)
    if not whole:
        assert math.isclose(chosen.share, max(one.share for one in found))
