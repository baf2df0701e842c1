"""Writing the simulated Earth: it reads back as it was made, resumes, extends, and never touches other folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from skysense.data.earth import place_index, simulate, simulate_place, simulate_scene
from skysense.data.places import Places
from skysense.data.places_check import check
from skysense.errors import InputError


@pytest.fixture(scope="module")
def earth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three regions with two places each."""
    root = tmp_path_factory.mktemp("simulated") / "earth"
    assert simulate(root, regions=3, places_per_region=2, footprint_cells=4) == 6
    return root


def test_it_reads_back_as_it_was_made(earth: Path) -> None:
    places = Places(earth)
    assert check(earth).problems == [] and len(places) == 6 and len(places.regions) == 3
    assert set(places.legends) == {"scene", "multilabel", "land_cover", "crop_type"}
    place = next(one for one in places if one.name == "region02-place001")
    alone = simulate_place(0, place_index(2, 1), footprint_cells=4)  # in isolation: the same as in bulk
    read = places.read_sample(place)
    for key, series in alone.sample.series.items():
        assert np.array_equal(read.series[key].values, series.values)
        assert np.array_equal(read.series[key].dates, series.dates)
        assert np.array_equal(read.series[key].valid, series.valid)
    for label, mask in alone.masks.items():
        assert np.array_equal(places.read_mask(place, label), mask)
    assert dict(place.attributes) == dict(alone.attributes) and dict(place.labels) == dict(alone.labels)


def test_it_says_that_it_is_simulated(earth: Path) -> None:
    dataset = json.loads((earth / "dataset.json").read_text())
    assert dataset["simulated"] is True and "imulated" in dataset["title"] and "simulated" in dataset["source"]
    for place in Places(earth):
        assert place.attributes["simulated"] is True and place.split in ("train", "test")


def test_it_goes_on_where_it_stopped_and_grows(earth: Path, tmp_path: Path) -> None:
    root = tmp_path / "earth"
    shutil.copytree(earth, root)
    before = (root / "region00-place000" / "s2.nc").read_bytes()
    shutil.rmtree(root / "region01-place001")
    steps: list[tuple[int, int]] = []
    assert simulate(root, regions=3, places_per_region=2, footprint_cells=4, progress=lambda *s: steps.append(s)) == 1
    assert steps == [(done, 6) for done in range(1, 7)]
    assert simulate(root, regions=3, places_per_region=2, footprint_cells=4) == 0
    assert simulate(root, regions=1, places_per_region=3, footprint_cells=4) == 1
    assert (root / "region00-place000" / "s2.nc").read_bytes() == before
    splits = {place.name: place.split for place in Places(earth)}
    assert {place.name: place.split for place in Places(root) if place.name in splits} == splits


def test_another_earth_or_a_foreign_folder_is_refused(earth: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds another data set"):
        simulate(earth, regions=3, places_per_region=2, footprint_cells=4, seed=1)
    with pytest.raises(InputError, match="holds another data set"):
        simulate(earth, regions=3, places_per_region=2, footprint_cells=8)
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        simulate(tmp_path, regions=1, places_per_region=1, footprint_cells=4)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    for wrong in ({"regions": 0}, {"regions": 17}, {"places_per_region": 0}, {"split": {"train": 0.0}}):
        with pytest.raises(InputError):
            simulate(tmp_path / "new", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_a_scene_is_georeferenced(tmp_path: Path) -> None:
    import rasterio

    path = simulate_scene(tmp_path / "scene.tif", seed=2, height=256, width=640)
    with rasterio.open(path) as file:
        assert (file.count, file.height, file.width, file.dtypes[0]) == (3, 256, 640, "uint8")
        assert file.res == (0.3125, 0.3125) and file.crs.to_epsg() == 32616  # Illinois
        assert file.descriptions == ("R", "G", "B") and file.tags()["SKYSENSE_SIMULATED"] == "yes"
        assert file.tags()["SKYSENSE_SENSOR"] == "optical-hr"
        picture = file.read()
    assert picture.std() > 15
    with rasterio.open(simulate_scene(tmp_path / "again.tif", seed=2, height=256, width=640)) as file:
        assert np.array_equal(file.read(), picture)
    with pytest.raises(InputError, match="multiple"):
        simulate_scene(tmp_path / "odd.tif", height=200, width=640)
