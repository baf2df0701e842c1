"""Buildings of the simulated Earth: boxes fit the image, change is what changed, the rest stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from skysense.data.earth import LAND_COVERS, SimulatedPlace, place_index, simulate, simulate_place
from skysense.data.earth.buildings import BUILDINGS
from skysense.data.earth.world import block_scenes
from skysense.data.places import Boxes, Places, check
from skysense.errors import InputError
from skysense.sensors import OPTICAL_HR

BUILDING = LAND_COVERS.index("building")
SCENES = ("cropland", "grassland", "orchard", "residential", "industrial", "water")
PIXEL = OPTICAL_HR.gsd


def index_of(scene: str, region: int) -> int:
    return place_index(region, block_scenes(0, region, 0).index(scene))


@pytest.fixture(scope="module")
def places() -> list[SimulatedPlace]:
    """One place of every scene that is built on, each in another region."""
    return [simulate_place(0, index_of(scene, region), buildings=True) for region, scene in enumerate(SCENES)]


def painted(boxes: Boxes, shape: tuple[int, int]) -> NDArray[np.int64]:
    """How many boxes cover the centre of each pixel."""
    total = np.zeros(shape, np.int64)
    for corners in boxes.corners:
        left, top = np.maximum(corners.min(0), 0).astype(int)
        right, bottom = np.ceil(np.minimum(corners.max(0), shape[::-1])).astype(int)
        y, x = np.mgrid[top:bottom, left:right] + 0.5
        edges = np.roll(corners, -1, axis=0) - corners
        # Corners run clockwise, so that the inside lies to the right of every side.
        depth = [edge[0] * (y - at[1]) - edge[1] * (x - at[0]) for at, edge in zip(corners, edges, strict=True)]
        total[top:bottom, left:right] += (np.array(depth) >= 0).all(0)
    return total


def sides(boxes: Boxes) -> NDArray[np.float64]:
    """Short and long side of each box in metres, ``(N, 2)``."""
    edges = boxes.corners[:, [1, 2]] - boxes.corners[:, [0, 1]]
    return np.sort(np.hypot(edges[..., 0], edges[..., 1]) * PIXEL, axis=1)


def grown(mask: NDArray[np.bool_], metres: float) -> NDArray[np.bool_]:
    """Everything within a square of a mask."""
    from skysense.data.earth.noise import blur

    return blur(mask.astype(np.float32), round(metres / PIXEL)) > 1e-6


def test_the_boxes_are_those_of_the_buildings_in_the_mask(places: list[SimulatedPlace]) -> None:
    for place in places:
        for label, mask in (("buildings", "land_cover"), ("buildings_after", "land_cover_after")):
            boxes, cover = place.boxes[label], place.masks[mask]
            covered = painted(boxes, cover.shape)
            built = cover == BUILDING
            assert (covered[built] == 1).mean() > 0.99
            trees = np.isin(cover, [LAND_COVERS.index("trees"), LAND_COVERS.index("orchard")])
            assert (built | trees)[covered > 0].mean() > 0.99
            assert (boxes.visible * boxes.areas).sum() == pytest.approx(built.sum(), rel=0.01)
            assert ((boxes.visible > 0) & (boxes.visible <= 1)).all()


def test_houses_and_halls_have_the_sizes_of_such(places: list[SimulatedPlace]) -> None:
    found = {kind: [] for kind in BUILDINGS}
    for place in places:
        for boxes in place.boxes.values():
            for kind, (short, long) in zip(boxes.classes, sides(boxes), strict=True):
                found[BUILDINGS[kind]].append((short, long))
    house, hall = (np.array(found[kind]) for kind in BUILDINGS)
    assert len(house) > 40 and len(hall) > 10
    assert house.min() > 5 and hall.min() > 5 and house.max() < 18 and hall.max() < 60
    assert np.median(hall.prod(1)) > 2.5 * np.median(house.prod(1))


def test_pitched_roofs_have_a_bright_and_a_dark_half(places: list[SimulatedPlace]) -> None:
    """Only the halves of a house differ in brightness; flat roofs do not."""
    contrast: dict[int, list[float]] = {0: [], 1: []}
    for place in places:
        image = place.sample.series["hr"].values[0].mean(0)
        boxes = place.boxes["buildings"]
        for at in np.flatnonzero(boxes.visible > 0.98):
            one = Boxes(boxes.corners[at : at + 1], boxes.classes[at : at + 1], boxes.visible[at : at + 1])
            corners = one.corners[0]
            lengths = np.hypot(*(corners - np.roll(corners, -1, axis=0)).T)
            if lengths[0] < lengths[1]:
                corners = np.roll(corners, -1, axis=0)
            middle = [(corners[1] + corners[2]) / 2, (corners[3] + corners[0]) / 2]
            half = Boxes(np.array([[corners[0], corners[1], *middle]]), one.classes, one.visible)
            first = painted(half, image.shape) > 0
            second = (painted(one, image.shape) > 0) & ~first
            contrast[int(one.classes[0])].append(abs(np.log(image[first].mean() / image[second].mean())))
    assert np.median(contrast[0]) > 0.03 > 3 * np.median(contrast[1])


def test_what_was_there_without_buildings_is_there_with_them() -> None:
    for scene, region in (("cropland", 1), ("grassland", 2)):
        without = simulate_place(0, index_of(scene, region))
        with_them = simulate_place(0, index_of(scene, region), buildings=True)
        assert without.boxes == {} and without.after is None and set(without.masks) == {"land_cover", "crop_type"}
        added = with_them.masks["land_cover"] != without.masks["land_cover"]
        assert added.any() and (with_them.masks["land_cover"][added] == BUILDING).all()
        far = ~grown(added, 20)
        for key, series in without.sample.series.items():
            other = with_them.sample.series[key]
            assert np.array_equal(series.dates, other.dates) and np.array_equal(series.valid, other.valid)
        pixels = [place.sample.series["hr"].values[0][:, far] for place in (without, with_them)]
        assert (pixels[0] == pixels[1]).all(0).mean() > 0.999  # a tip of a shadow may be drawn a shade darker
        cells = ~added.reshape(8, 64, 8, 64).any((1, 3)).repeat(2, 0).repeat(2, 1)  # B11 and others are 20 m wide
        for key in ("s2", "s1"):
            one, other = (place.sample.series[key].values[..., cells] for place in (without, with_them))
            assert np.array_equal(one, other)
            assert not np.array_equal(without.sample.series[key].values, with_them.sample.series[key].values)


def test_no_building_is_added_to_a_forest() -> None:
    without, with_them = (simulate_place(0, index_of("forest", 1), buildings=on) for on in (False, True))
    assert np.array_equal(without.sample.series["hr"].values, with_them.sample.series["hr"].values)
    assert np.array_equal(without.masks["land_cover"], with_them.masks["land_cover"])
    later = with_them.masks["land_cover_after"]
    assert not ((later == BUILDING) & (without.masks["land_cover"] != BUILDING)).any()


def test_radar_and_optical_pixels_answer_to_added_buildings() -> None:
    brighter, share = [], []
    for scene, region in (("cropland", 1), ("grassland", 2), ("cropland", 0), ("cropland", 3)):
        without, with_them = (simulate_place(0, index_of(scene, region), buildings=on) for on in (False, True))
        built = ((with_them.masks["land_cover"] != without.masks["land_cover"]).reshape(16, 32, 16, 32)).mean((1, 3))
        rise = [place.sample.series["s1"].values[:, 0].mean(0) for place in (with_them, without)]
        brighter += list((rise[0] - rise[1])[built > 0.3])
        assert np.array_equal(rise[0][built == 0], rise[1][built == 0])
        optical = [place.sample.series["s2"].values[:, 2].astype(float) for place in (with_them, without)]
        share += list(zip(built[built > 0], np.abs(optical[0] - optical[1]).mean(0)[built > 0], strict=True))
    assert np.mean(brighter) > 3  # dB
    covered, differs = np.array(share).T
    assert np.corrcoef(covered, differs)[0, 1] > 0.5  # mixed by area


def test_only_buildings_change(places: list[SimulatedPlace]) -> None:
    changed_places = 0
    for place in places:
        before, after, change = (place.masks[name] for name in ("land_cover", "land_cover_after", "change"))
        assert np.array_equal(change == 1, before != after)
        assert ((before == BUILDING) ^ (after == BUILDING))[change == 1].all()
        changed_places += bool(change.any())
        old, new = ({tuple(corners.ravel()) for corners in boxes.corners} for boxes in place.boxes.values())
        for boxes in place.boxes.values():
            for at in np.flatnonzero(boxes.visible > 0.5):
                one = Boxes(boxes.corners[at : at + 1], boxes.classes[at : at + 1], boxes.visible[at : at + 1])
                share = change[painted(one, change.shape) > 0].mean()
                stays = tuple(one.corners[0].ravel()) in old & new
                assert share == 0 if stays else share > 0.45
    assert changed_places >= 4


def test_the_later_image_differs_where_nothing_changed(places: list[SimulatedPlace]) -> None:
    """By light, season, camera and aim, so that no threshold on the difference separates the change."""
    difference, truth = [], []
    for place in places:
        first = place.sample.series["hr"]
        assert place.after is not None
        assert place.after.values.shape == first.values.shape and place.after.dates[0] > first.dates[0]
        place.after.check()
        difference.append(np.abs(place.after.values[0].astype(float) - first.values[0]).mean(0).ravel())
        truth.append(place.masks["change"].ravel() == 1)
    score, wanted = np.concatenate(difference), np.concatenate(truth)
    assert score[~wanted].mean() > 5
    scores = []
    for threshold in range(1, 200):
        right = (wanted & (score > threshold)).sum()
        scores.append(2 * right / (wanted.sum() + (score > threshold).sum()))
    assert max(scores) < 0.7


def test_the_later_image_lies_a_little_off_the_first() -> None:
    from skysense.data.earth.change import REGISTRATION, look_again
    from skysense.data.earth.spectra import SURFACES, Material
    from skysense.data.earth.terrain import PAD, Terrain
    from skysense.data.earth.world import identify

    bright, dark = (np.array(SURFACES[name]) for name in ("metal roof", "asphalt"))
    materials = [Material(5, 0, spectrum, spectrum, None, "paved", grain=0.0) for spectrum in (dark, bright)]
    grid = np.zeros((128 + 2 * PAD,) * 2, np.int16)
    grid[PAD + 64 :, PAD + 64 :] = 1
    terrain = Terrain(grid, np.zeros(grid.shape, np.float32), np.ones(grid.shape, np.float32))
    offsets = set()
    for seed in range(12):
        series = look_again(np.random.default_rng(seed), terrain, materials, identify(0, 0), (4, 4))
        image = series.values[0].mean(0)
        level = (image.max() + image.min()) / 2
        offsets.add((int((image[:, -1] < level).sum()) - 64, int((image[-1] < level).sum()) - 64))
        assert 1 <= int(str(series.dates[0])[:4]) - identify(0, 0).year <= 3
    assert len(offsets) > 5 and np.abs(list(offsets)).max() == REGISTRATION


def test_places_with_buildings_depend_on_seed_and_index_only(places: list[SimulatedPlace]) -> None:
    again = simulate_place(0, index_of("cropland", 0), buildings=True)
    assert again.after is not None and places[0].after is not None
    assert np.array_equal(again.after.values, places[0].after.values)
    assert all(np.array_equal(again.boxes[key].corners, places[0].boxes[key].corners) for key in again.boxes)


def test_a_simulated_earth_with_buildings_reads_back(tmp_path: Path) -> None:
    root = tmp_path / "earth"
    assert simulate(root, regions=2, places_per_region=2, footprint_cells=8, buildings=True) == 4
    assert check(root).problems == []
    earth = Places(root)
    assert {label for label, legend in earth.legends.items() if legend.after} == {
        "buildings_after", "land_cover_after", "change",
    }  # fmt: skip
    assert sum(len(earth.read_boxes(place, "buildings")) for place in earth) > 0
    place = earth[3]
    alone = simulate_place(0, place_index(1, 1), footprint_cells=8, buildings=True)
    assert alone.after is not None
    np.testing.assert_array_equal(earth.read_after(place).series["hr"].values, alone.after.values)
    for label, boxes in alone.boxes.items():
        read = earth.read_boxes(place, label)
        np.testing.assert_allclose(read.corners, boxes.corners, atol=0.006)
        np.testing.assert_array_equal(read.classes, boxes.classes)
    for label, mask in alone.masks.items():
        np.testing.assert_array_equal(earth.read_mask(place, label), mask)
    with pytest.raises(InputError, match="holds another data set"):
        simulate(root, regions=2, places_per_region=2, footprint_cells=8)
    assert simulate(root, regions=2, places_per_region=2, footprint_cells=8, buildings=True) == 0
