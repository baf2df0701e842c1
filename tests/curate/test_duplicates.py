from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.curate.duplicates import LEAST_BITS, MOST_DIFFERENT, Fingerprint, NearDuplicates, _median, fingerprint
from skysense.curate.position import Position
from skysense.geo import region_at, region_cell
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A

RED, NIR = SENTINEL2_L2A.bands.index("B4"), SENTINEL2_L2A.bands.index("B8")


def _ground(seed, side=66):
    """Fields of 80 m with their own reflectance in red and near infrared, ``(2, side, side)``."""
    rng = np.random.default_rng(seed)
    fields = rng.uniform(500, 4000, (2, side // 8 + 1, side // 8 + 1))
    return fields.repeat(8, axis=1).repeat(8, axis=2)[:, :side, :side]


def _sample(bands_2HW, *, frames=1, valid=None, clear=None):
    values = np.zeros((frames, 10, *bands_2HW.shape[-2:]), np.float32)
    values[:, RED], values[:, NIR] = np.moveaxis(np.broadcast_to(bands_2HW, (frames, *bands_2HW.shape[-3:])), 1, 0)
    valid = np.ones((frames, *values.shape[2:]), np.bool_) if valid is None else valid
    dates = np.arange(frames).astype("datetime64[D]")
    return Sample("place", {"s2": Series(SENTINEL2_L2A, values, dates, valid, clear)}, lon=0, lat=0)


def _share(one, other):
    common = one.counted & other.counted
    return ((one.bits ^ other.bits) & common).bit_count() / common.bit_count()


def _noisy(bands_2HW, seed):
    return bands_2HW * (1 + np.random.default_rng(seed).normal(0, 0.03, bands_2HW.shape))


@pytest.mark.parametrize("frames", [2, 3, 8, 9])
def test_the_median_is_that_of_what_was_observed_and_nothing_warns(frames):
    rng = np.random.default_rng(frames)
    values = rng.uniform(0, 1e4, (frames, 10, 12, 12)).astype(np.float32)
    seen = rng.random((frames, 12, 12)) < 0.5
    seen[:, :3] = False
    seen[:, 3] = True
    series = Series(SENTINEL2_L2A, values, np.arange(frames).astype("datetime64[D]"), seen, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _median(series, (("B4",), ("B8",)))
    wanted = np.ma.median(np.ma.masked_array(values[:, [RED, NIR]], ~seen[:, None].repeat(2, 1)), axis=0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted.filled(np.nan))


def test_bits_say_where_it_gets_brighter():
    ramp = np.broadcast_to(np.arange(1, 65) * 100.0, (64, 64))
    eastward = fingerprint(_sample(np.stack([ramp, ramp])))
    assert eastward == Fingerprint(0xFFFFFFFF << 32, 0xFFFFFFFF << 32)  # red rises eastward, NIR nowhere southward
    southward = fingerprint(_sample(np.stack([ramp.T[::-1], ramp.T[::-1]])))
    assert southward == Fingerprint(0, 0xFFFFFFFF)


def test_shift_gain_and_noise_stay_near_and_other_ground_does_not():
    moved, other = [], []
    for seed in range(40):
        ground = _ground(seed)
        here = fingerprint(_sample(ground[:, 1:65, 1:65]))
        for down, right in ((0, 1), (1, 0), (2, 2)):
            there = _noisy(ground[:, down : down + 64, right : right + 64], seed) * 1.2
            moved.append(_share(here, fingerprint(_sample(there))))
        other.append(_share(here, fingerprint(_sample(_ground(seed + 1000)))))
        assert _share(here, fingerprint(_sample(ground[:, 1:65, 1:65] * 0.8))) == 0
    assert (np.array(moved) <= MOST_DIFFERENT).mean() > 0.9 and max(moved) < 0.16
    assert min(other) > 0.2


def test_real_ground_is_told_apart(kit):
    """Neighbouring windows differ, and each resembles itself one pixel further."""
    windows, moved = [], []
    for file in sorted(kit.glob("terramesh/*/s2*.tif")):
        with rasterio.open(file) as source:
            bands = [name.replace("B0", "B") for name in source.descriptions]
            red, nir = (source.read(bands.index(band) + 1).astype(float) for band in ("B4", "B8"))
        for row in range(0, 193, 64)[:3]:
            for col in range(0, 193, 64)[:3]:
                both = np.stack([red, nir])
                windows.append(fingerprint(_sample(both[:, row : row + 64, col : col + 64])))
                moved.append(fingerprint(_sample(both[:, row + 1 : row + 65, col + 1 : col + 65] * 1.1)))
    assert len(windows) == 36
    pairs = [(one, two) for at, one in enumerate(windows) for two in windows[:at]]
    assert min(_share(*pair) for pair in pairs) > 0.15
    assert sum(_share(*pair) <= MOST_DIFFERENT for pair in zip(windows, moved, strict=True)) >= 33


def test_ground_without_structure_has_too_little_to_compare():
    for seed, level in enumerate((300, 1500, 6000)):
        flat = fingerprint(_sample(_noisy(np.full((2, 64, 64), level), seed)))
        assert flat.counted.bit_count() < LEAST_BITS


def test_the_median_is_of_what_was_observed_and_clear():
    ground = _ground(1, 64)
    series = np.stack([ground, ground, _ground(2, 64), _ground(3, 64), _ground(4, 64)])
    valid, clear = np.ones((2, 5, 64, 64), np.bool_)
    valid[2], clear[3:] = False, False
    assert fingerprint(_sample(series, frames=5, valid=valid, clear=clear)) == fingerprint(_sample(ground))
    assert fingerprint(_sample(series, frames=5)) != fingerprint(_sample(ground))


def test_what_was_hardly_observed_does_not_count():
    valid = np.ones((1, 64, 64), np.bool_)
    valid[:, :40] = False
    part, whole = fingerprint(_sample(_ground(1, 64), valid=valid)), fingerprint(_sample(_ground(1, 64)))
    assert part.counted.bit_count() < whole.counted.bit_count() / 2
    assert _share(part, whole) < 0.15
    assert fingerprint(_sample(_ground(1, 64), valid=np.zeros_like(valid))).counted == 0


def test_the_high_resolution_image_stands_in():
    image = np.random.default_rng(0).integers(10, 250, (1, 3, 4, 4), np.uint8).repeat(32, axis=2).repeat(32, axis=3)
    dates, valid = np.array(["2020-06-01"], "datetime64[D]"), np.ones((1, 128, 128), np.bool_)
    hr = Series(OPTICAL_HR, image, dates, valid)
    alone = fingerprint(Sample("place", {"hr": hr}))
    assert alone is not None and alone.counted.bit_count() > LEAST_BITS
    s1 = Series(SENTINEL1, np.zeros((1, 2, 4, 4), np.float32), dates, np.ones((1, 4, 4), np.bool_))
    assert fingerprint(Sample("place", {"s1": s1})) is None


def _print(bits):
    return Fingerprint(bits, 2**64 - 1)


def _position(number, row, col):
    return Position(number, f"p{number}", 0, 0, region_at(row, col), "train")


def _brute_force(places):
    """The rule itself: any earlier place in the same or a neighbouring region whose fingerprint differs in 6 of 64."""
    result = {}
    for number, (row, col, print_) in places.items():
        if print_ is not None:
            near = [
                earlier
                for earlier, (other_row, other_col, other) in places.items()
                if earlier < number and other is not None
                if abs(row - other_row) <= 1 and min(abs(col - other_col), 530 - abs(col - other_col)) <= 1
                if (print_.bits ^ other.bits).bit_count() <= 6
            ]
            result[number] = min(near, default=None)
    return result


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_verdicts_do_not_depend_on_the_order_in_which_places_end(data):
    rng = random.Random(data.draw(st.integers(0, 10**6)))
    columns = data.draw(st.sampled_from([[300, 301, 302, 303], [247, 248, 775, 776]]))
    cells = sorted((rng.randrange(500, 504), rng.choice(columns)) for _ in range(rng.randrange(2, 40)))
    seeds = [rng.getrandbits(64) for _ in range(3)]
    places = {}
    for number, (row, col) in enumerate(cells):
        bits = rng.choice(seeds)
        for _ in range(rng.randrange(7)):
            bits ^= 1 << rng.randrange(64)
        places[number * 3] = (row, col, None if rng.random() < 0.2 else _print(bits))
    window = data.draw(st.integers(1, 12))
    near, verdicts, working, todo = NearDuplicates(), [], [], list(places)
    while todo or working:
        while todo and len(working) < window:
            number = todo.pop(0)
            near.begin(_position(number, *places[number][:2]))
            working.append(number)
        number = working.pop(rng.randrange(len(working)))
        verdicts += near.end(number, places[number][2])
    assert [verdict.number for verdict in verdicts] == sorted(verdict.number for verdict in verdicts)
    assert {verdict.number: verdict.duplicate_of for verdict in verdicts} == _brute_force(places)


def _verdicts(near, places):
    for position, _ in places:
        near.begin(position)
    return [verdict.duplicate_of for position, print_ in places for verdict in near.end(position.number, print_)]


def test_of_a_chain_only_the_first_stays():
    """The third resembles only the second; that the second is left out does not bring it back."""
    chain = [_print(0), _print(0b111111), _print(0b111111_111111)]
    places = [(_position(number, 500, 300), print_) for number, print_ in enumerate(chain)]
    assert _verdicts(NearDuplicates(), places) == [None, 0, 1]


def test_a_place_without_a_fingerprint_hides_nothing():
    places = [(_position(0, 500, 300), None), (_position(1, 500, 300), _print(0)), (_position(2, 500, 300), _print(0))]
    assert _verdicts(NearDuplicates(), places) == [None, 1]


def test_regions_touch_across_the_antimeridian_and_its_narrow_columns():
    west, east = region_cell(-179.9, 10), region_cell(179.9, 10)
    narrow = region_cell(180, 10)
    places = [Position(number, str(number), 0, 0, cell, "train") for number, cell in enumerate((west, east, narrow))]
    assert _verdicts(NearDuplicates(), [(place, _print(5)) for place in places]) == [None, 0, 0]


def test_places_far_apart_are_never_compared():
    places = [
        (_position(0, 500, 300), _print(0)),
        (_position(1, 500, 302), _print(0)),
        (_position(2, 502, 300), _print(0)),
    ]
    assert _verdicts(NearDuplicates(), places) == [None, None, None]


def test_rows_that_lie_behind_are_forgotten():
    near = NearDuplicates()
    for number in range(1000):
        near.begin(_position(number, 400 + number // 10, 300 + number % 10))
        near.end(number, _print(number))
        assert len(near) <= 20


def test_a_wrong_order_is_a_mistake():
    near = NearDuplicates()
    near.begin(_position(5, 500, 300))
    for place in (_position(5, 500, 300), _position(4, 500, 301), _position(6, 499, 300)):
        with pytest.raises(ValueError, match="comes after"):
            near.begin(place)
    with pytest.raises(ValueError, match="not being worked on"):
        near.end(4, None)
    near.end(5, None)
    with pytest.raises(ValueError, match="not being worked on"):
        near.end(5, None)
