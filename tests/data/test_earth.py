"""The simulated Earth: one geometry for three sensors, visible physics, places that depend on (seed, index) only."""

from __future__ import annotations

import numpy as np
import pytest

from skysense.data.earth import CROPS, LAND_COVERS, LEGENDS, SCENES, SimulatedPlace, place_index, simulate_place
from skysense.data.earth.world import (
    BLOCK,
    FIRST_PEAK,
    REGION_TYPES,
    SITES,
    STEP_DAYS,
    block_scenes,
    block_splits,
    identify,
)
from skysense.errors import InputError
from skysense.geo import RegionTable, region_cell

RECORDED_SUMS = {"hr": 18248878.0, "s2": 28784539.0, "s1": -21180.17}
RECORDED_LAST_DATES = {"hr": "2022-04-10", "s2": "2022-12-17", "s1": "2022-11-26"}
RECORDED_LAND_COVER = [60603, 0, 0, 0, 0, 4933]


@pytest.fixture(scope="module")
def places() -> list[SimulatedPlace]:
    """Two places of every scene, on small footprints."""
    found: dict[str, list[int]] = {scene: [] for scene in SCENES}
    for region in range(4):
        for number, scene in enumerate(block_scenes(0, region, 0)):
            if len(found[scene]) < 2:
                found[scene].append(place_index(region, number))
    return [simulate_place(0, index, footprint_cells=8) for indices in found.values() for index in indices]


def _same(one: SimulatedPlace, other: SimulatedPlace) -> bool:
    series = zip(one.sample.series.values(), other.sample.series.values(), strict=True)
    return all(
        np.array_equal(a.values, b.values) and np.array_equal(a.dates, b.dates) and np.array_equal(a.valid, b.valid)
        for a, b in series
    ) and all(np.array_equal(one.masks[name], other.masks[name]) for name in one.masks)


def test_a_place_depends_on_seed_and_index_only() -> None:
    first = simulate_place(3, place_index(1, 2), footprint_cells=8)
    simulate_place(3, place_index(1, 3), footprint_cells=8)
    assert _same(first, simulate_place(3, place_index(1, 2), footprint_cells=8))
    assert first.attributes == simulate_place(3, place_index(1, 2), footprint_cells=8).attributes
    assert not _same(first, simulate_place(4, place_index(1, 2), footprint_cells=8))


def test_decoded_pixels_are_those_of_every_other_machine() -> None:
    """Recorded sums: another order of random numbers, library or formula is seen; a last digit of exp is not."""
    place = simulate_place(0, place_index(1, 2), footprint_cells=8)
    sums = {key: float(series.values.sum(dtype=np.float64)) for key, series in place.sample.series.items()}
    assert sums == pytest.approx(RECORDED_SUMS, rel=1e-5)
    dates = {key: str(series.dates[-1]) for key, series in place.sample.series.items()}
    assert dates == RECORDED_LAST_DATES
    assert np.bincount(place.masks["land_cover"].ravel(), minlength=2).tolist() == RECORDED_LAND_COVER


def test_a_place_has_three_sensors_on_one_lattice(places: list[SimulatedPlace]) -> None:
    for place in places:
        hr, s2, s1 = (place.sample.series[key] for key in ("hr", "s2", "s1"))
        assert place.sample.grid == (8, 8)
        assert hr.values.shape == (1, 3, 256, 256) and hr.values.dtype == np.uint8
        assert s2.values.shape[1:] == (10, 8, 8) and s2.values.dtype == np.uint16 and 12 <= len(s2.dates) <= 20
        assert s1.values.shape[1:] == (2, 8, 8) and s1.values.dtype == np.float32 and 8 <= len(s1.dates) <= 14
        years = {str(date)[:4] for series in (hr, s2, s1) for date in series.dates}
        assert years == {str(place.attributes["year"])}
        for series in (hr, s2, s1):
            series.check()
            assert (np.diff(series.dates) > np.timedelta64(0, "D")).all()
        assert (s2.values[~np.broadcast_to(s2.valid[:, None], s2.values.shape)] == 0).all()
        assert s2.clear is not None and not (s2.clear & ~s2.valid).any()
        assert hr.values.std() > 10


def test_labels_follow_from_the_masks(places: list[SimulatedPlace]) -> None:
    for place in places:
        cover, crop = place.masks["land_cover"], place.masks["crop_type"]
        assert cover.shape == (256, 256) and crop.shape == (8, 8) and cover.dtype == crop.dtype == np.uint8
        share = np.bincount(cover.ravel(), minlength=len(LAND_COVERS)) / cover.size
        assert place.labels["multilabel"] == [
            name for name, part in zip(LAND_COVERS, share, strict=True) if part >= 0.05
        ]
        for name, value in place.labels.items():
            LEGENDS[name].check(name, value)
        # A cell that is labelled with a crop is mostly cropland (or orchard) at high resolution.
        arable = np.isin(cover, [LAND_COVERS.index("cropland"), LAND_COVERS.index("orchard")])
        per_cell = arable.reshape(8, 32, 8, 32).mean((1, 3))
        assert (per_cell[crop > 0] >= 0.6).all()
        assert np.array_equal(crop == CROPS.index("orchard"), (cover == LAND_COVERS.index("orchard"))
                              .reshape(8, 32, 8, 32).mean((1, 3)) >= 0.6)  # fmt: skip


def test_every_scene_shows_what_it_is_called(places: list[SimulatedPlace]) -> None:
    sign = {"cropland": ["cropland"], "forest": ["trees"], "grassland": ["grassland"], "orchard": ["orchard"],
            "residential": ["building", "paved"], "industrial": ["building", "paved"], "water": ["water"]}  # fmt: skip
    for place in places:
        covers = [LAND_COVERS.index(name) for name in sign[place.labels["scene"]]]
        assert np.isin(place.masks["land_cover"], covers).mean() > 0.15, place.sample.name


def test_the_sentinels_see_the_cover_that_the_image_shows(places: list[SimulatedPlace]) -> None:
    """Water is dark in the short-wave infrared and in VV, buildings shine in VV: cell by cell of the HR mask."""
    levels: dict[str, list[tuple[float, float]]] = {"water": [], "building": [], "trees": []}
    for place in places:
        s2, s1 = place.sample.series["s2"], place.sample.series["s1"]
        assert s2.clear is not None
        clear = np.where(s2.clear, s2.values[:, 8], np.nan)
        vv = s1.values[:, 0].mean(0)
        for name, found in levels.items():
            share = (place.masks["land_cover"] == LAND_COVERS.index(name)).reshape(8, 32, 8, 32).mean((1, 3))
            for i, j in np.argwhere(share > (0.3 if name == "building" else 0.9)):
                if not np.isnan(clear[:, i, j]).all():
                    found.append((float(np.nanmedian(clear[:, i, j])), float(vv[i, j])))
    middle = {name: np.median(found, axis=0) for name, found in levels.items()}
    assert middle["water"][0] < 500 < middle["trees"][0]
    assert middle["water"][1] < -16 < -12 < middle["trees"][1] < middle["building"][1]


def test_shadows_point_away_from_the_sun() -> None:
    from skysense.data.earth.terrain import PIXEL, Sun, shadow, sun

    tower = np.zeros((120, 120), np.float32)
    tower[58:62, 58:62] = 10.0
    east = Sun(azimuth=np.pi / 2, elevation=np.pi / 4)
    dark = shadow(tower, east) > 0.5
    rows, cols = np.nonzero(dark)
    assert cols.max() < 60 and rows.min() >= 56 and rows.max() <= 63  # a sun in the east darkens the west
    assert (58 - cols.min()) * PIXEL == pytest.approx(10, abs=1.3)  # 45 degrees: as long as the tower is high
    assert shadow(np.zeros((40, 40), np.float32), east).max() == 0
    noon = sun(48.0, 172, 12.0)
    assert np.degrees(noon.elevation) == pytest.approx(90 - 48 + 23.44, abs=0.1)
    assert abs(np.degrees(noon.azimuth)) == pytest.approx(180, abs=0.1)
    assert np.degrees(sun(-30.0, 355, 9.0).azimuth) < 120 and sun(48.0, 172, 9.0).toward[1] > 0  # mornings: in the east


def test_speckle_has_the_looks_of_the_sensor() -> None:
    from skysense.data.earth.sentinel import LOOKS, sentinel1
    from skysense.data.earth.spectra import SURFACES, Material

    spectrum = np.array(SURFACES["gravel"])
    yard = Material(5, 0, spectrum, spectrum, None, "paved")
    series = sentinel1(np.random.default_rng(0), np.ones((1, 64, 64)), [yard], 2020, REGION_TYPES[1])
    power = 10 ** (series.values[:, 0].astype(np.float64) / 10)
    looks = (power.mean((1, 2)) / power.std((1, 2))) ** 2
    assert looks.mean() == pytest.approx(LOOKS, rel=0.04)


def test_calendars_coincide_across_region_types() -> None:
    first, second, third, fourth = REGION_TYPES
    assert [kind.name for kind in REGION_TYPES] == ["mediterranean", "temperate", "continental", "southern"]
    assert first.peak("maize") == second.peak("wheat") == FIRST_PEAK + STEP_DAYS
    assert second.peak("maize") == third.peak("wheat") == first.peak("soybean")
    assert first.ambiguous_crops == ["maize", "soybean"] and fourth.ambiguous_crops == ["wheat", "maize"]
    assert second.ambiguous_crops == third.ambiguous_crops == ["wheat", "maize", "soybean"]


def test_twins_have_one_curve_and_one_spectrum() -> None:
    from skysense.data.earth.growth import Growth
    from skysense.data.earth.spectra import CANOPIES

    days = np.arange(1.0, 366.0)
    maize, wheat = (Growth(crop, 0, 1, 0.9, 0.2, 0.3) for crop in ("maize", "wheat"))
    here, there = maize.stage(days, REGION_TYPES[0]), wheat.stage(days, REGION_TYPES[1])
    assert all(np.array_equal(getattr(here, name), getattr(there, name)) for name in vars(here))
    assert not np.allclose(here.green, maize.stage(days, REGION_TYPES[1]).green, atol=0.3)
    assert not {"wheat", "maize", "soybean"} & set(CANOPIES)  # all three wear the canopy "crop"


def test_seasons_pass_the_turn_of_the_year() -> None:
    from skysense.data.earth.growth import pulse

    days = np.array([1.0, 15.0, 180.0, 330.0, 365.0])
    season = pulse(days, 330, 395, 3, 3)
    assert (
        season[[0, 1, 4]] == pytest.approx(1, abs=0.01)
        and season[2] < 1e-6
        and season[3] == pytest.approx(0.5, abs=0.01)
    )
    assert abs(season[0] - season[4]) < 1e-3


def test_regions_are_one_cell_each_and_on_land_of_several_continents() -> None:
    cells = [
        {region_cell(p.lon, p.lat) for p in (identify(5, place_index(r, n)) for n in range(8))}
        for r in range(len(SITES))
    ]
    assert all(len(cell) == 1 for cell in cells)
    assert len(RegionTable(cell for one in cells for cell in one)) == len(SITES)
    for kind in range(4):
        lons = [SITES[r].lon for r in range(8) if r % 4 == kind]
        assert abs(lons[0] - lons[1]) > 80  # the two default regions of a type lie on different continents


def test_positions_differ_within_a_region() -> None:
    positions = {(identify(0, place_index(2, n)).lon, identify(0, place_index(2, n)).lat) for n in range(16)}
    assert len(positions) == 16


def test_splits_deal_out_every_scene() -> None:
    by_split: dict[str, list[str]] = {"train": [], "test": []}
    for region in range(8):
        for scene, split in zip(
            block_scenes(0, region, 0), block_splits(0, region, 0, {"train": 0.5, "test": 0.5}), strict=True
        ):
            by_split[split].append(scene)
    assert len(by_split["test"]) == len(by_split["train"]) == 64
    assert set(by_split["test"]) == set(by_split["train"]) == set(SCENES)
    shares = block_splits(1, 3, 2, {"train": 0.5, "val": 0.25, "test": 0.25})
    assert [shares.count(name) for name in ("train", "val", "test")] == [8, 4, 4] and len(shares) == BLOCK


@pytest.mark.parametrize("cells", [0, 6, -4])
def test_a_side_off_the_lattice_is_refused(cells: int) -> None:
    with pytest.raises(InputError, match="multiple of 4"):
        simulate_place(0, 0, footprint_cells=cells)


def test_an_unknown_region_is_refused() -> None:
    with pytest.raises(InputError, match=f"there are {len(SITES)} simulated regions"):
        simulate_place(0, place_index(len(SITES), 0))
