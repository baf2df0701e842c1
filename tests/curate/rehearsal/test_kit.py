from datetime import datetime

import netCDF4
import numpy as np
import pytest
import rasterio

from skysense.curate.rehearsal import kit_archive, read_archive
from skysense.curate.rehearsal.earth_search import EARTH_SEARCH
from skysense.curate.rehearsal.planetary import PLANETARY
from skysense.errors import InputError


@pytest.fixture(scope="module")
def scenes(kit_folder):
    return read_archive(kit_folder)


def values(folder, layer):
    with rasterio.open(folder / layer.file) as file:
        return file.read()


def test_crop_patch(kit, kit_folder, scenes):
    series = [scene for scene in scenes if scene.tile == "31UDS"]
    with netCDF4.Dataset(kit / "crop_patches/be_2018_424a/s2.nc") as file:
        assert len(series) == len(range(0, len(file["time"]), 20))
        for scene, index in zip(series, range(0, len(file["time"]), 20), strict=True):
            assert datetime.fromisoformat(scene.start).timestamp() == pytest.approx(
                datetime(2017, 8, 4, 10, 53, 28).timestamp() - datetime(1970, 1, 1).timestamp() + file["time"][index]
            )
            assert np.array_equal(values(kit_folder, scene.layers["B8"])[0], file["s2_10m"][index, 3])
            assert np.array_equal(values(kit_folder, scene.layers["B8A"])[0], file["s2_20m"][index, 3])
            assert np.array_equal(values(kit_folder, scene.layers["SCL"])[0], file["scl"][index])
            assert scene.layers["B8"].grid.transform == [10, 0, 501360, 0, -10, 5629680]
            assert scene.layers["SCL"].grid.transform == [20, 0, 501360, 0, -20, 5629680]
            assert not scene.harmonised


def test_radar_is_linear_power(kit, kit_folder, scenes):
    radar = [scene for scene in scenes if scene.sensor == "s1" and scene.layers["VV"].grid.size == 20]
    with netCDF4.Dataset(kit / "crop_patches/be_2018_424a/s1.nc") as file:
        assert np.allclose(10 * np.log10(values(kit_folder, radar[0].layers["VH"])[0]), file["s1"][0, 1], atol=1e-4)


def test_terramesh_keeps_its_odd_grid_and_its_offset(kit, kit_folder, scenes):
    with_offset = [scene for scene in scenes if scene.harmonised]
    assert len(with_offset) == 1
    with rasterio.open(kit / "terramesh/433d_629l_3_1/s2l2a.tif") as file:
        source = file.read(file.descriptions.index("B02") + 1)
        assert list(file.transform)[:6] == with_offset[0].layers["B2"].grid.transform
    assert np.array_equal(values(kit_folder, with_offset[0].layers["B2"])[0], source)
    assert np.array_equal(values(kit_folder, with_offset[0].harmonised["B2"])[0], np.maximum(source - 1000, 1))


def test_aerial_series(kit, kit_folder, scenes):
    flights = [scene for scene in scenes if scene.sensor == "naip"]
    assert [scene.start[:10] for scene in flights] == ["2010-06-29", "2012-07-31", "2014-07-20", "2015-09-26"]
    with rasterio.open(kit / "naip_series/naip_20100629.tif") as file:
        assert np.array_equal(values(kit_folder, flights[0].layers["RGBN"]), file.read())


def test_items_have_names_of_their_own(scenes):
    for catalogue in (EARTH_SEARCH, PLANETARY):
        told = [catalogue.item(scene, "http://127.0.0.1:1") for scene in scenes if catalogue.collection_of(scene)]
        assert len({item["id"] for item in told}) == len(told) > 20
        paths = [path for scene in scenes if catalogue.collection_of(scene) for path in catalogue.files(scene)]
        assert len(set(paths)) == len(paths)


def test_no_kit(tmp_path):
    with pytest.raises(InputError, match="no kit"):
        kit_archive(tmp_path, tmp_path / "out")
