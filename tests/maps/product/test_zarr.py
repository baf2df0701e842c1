"""The Zarr: other libraries open it, know where it is, and the conventions it names are kept."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.maps.product.made import NORTH_UP, ROTATED, begin, classes, features, fill, numbers, write

pytest.importorskip("tensorstore")
xarray = pytest.importorskip("xarray")
zarr = pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    out = tmp_path_factory.mktemp("maps") / "out.zarr"
    return out, write(out, [features("int8"), classes(per_cell=8)], (150, 131), (64, 96))


@pytest.mark.parametrize("stored", ["float32", "float16", "int8", "uint8"])
def test_zarr_python_reads_the_same_numbers(tmp_path: Path, stored: str) -> None:
    layer = features(stored, 2)
    numbers = write(tmp_path / "out.zarr", [layer], (70, 45), (32, 32))["features"]
    array = zarr.open_group(tmp_path / "out.zarr", mode="r")["features/0/features"]
    np.testing.assert_array_equal(array[:], numbers)
    assert array.dtype == layer.dtype and array.metadata.dimension_names == ("band", "y", "x")
    assert array.chunks == (2, 32, 32) and array.shards == (2, 32, 32)
    np.testing.assert_equal(float(array.fill_value), float(layer.nodata))


def test_xarray_finds_place_no_data_and_scale(made: tuple[Path, dict[str, np.ndarray]]) -> None:
    out, numbers = made
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # among them that the metadata are not consolidated
        found = xarray.open_zarr(out, group="features/0", decode_coords="all")
        tree = xarray.open_datatree(out, engine="zarr")
    array = found["features"]
    assert array.dims == ("band", "y", "x") and set(array.coords) == {"x", "y", "spatial_ref"}
    np.testing.assert_allclose([array.x[0], array.x[130]], [500_005, 501_305])
    np.testing.assert_allclose([array.y[0], array.y[149]], [4_999_995, 4_998_505])
    assert array.spatial_ref.attrs["GeoTransform"] == "500000.0 10.0 0.0 5000000.0 0.0 -10.0"
    assert 'ID["EPSG",32632]' in array.spatial_ref.attrs["crs_wkt"]
    assert array.x.attrs["standard_name"] == "projection_x_coordinate"
    np.testing.assert_array_equal(np.isnan(array), numbers["features"] == -128)
    assert array.attrs["band_scales"] == [0.25, 0.375, 0.5]
    assert array.attrs["band_offsets"] == [3.5, 3.25, 3.0]
    np.testing.assert_array_equal(array.fillna(-128), numbers["features"])  # bands differ in scale: not CF's to apply
    by_hand = array * np.array(array.band_scales)[:, None, None] + np.array(array.band_offsets)[:, None, None]
    np.testing.assert_allclose(by_hand, features("int8").decode(numbers["features"]), rtol=1e-6)
    assert sorted(tree["classes"].children) == ["0", "1", "2"]
    assert tree["classes/2"].sizes == {"band": 1, "y": 300, "x": 262}
    assert tree["classes/0/classes"].attrs["flag_meanings"] == "field water_body town"


@pytest.mark.parametrize("offset", [None, (3.25, 3.25)])
def test_one_scale_and_offset_for_all_bands_are_applied_by_xarray(
    tmp_path: Path, offset: tuple[float, ...] | None
) -> None:
    layer = replace(features("int8", 2), scale=(0.5, 0.5), offset=offset)
    numbers = write(tmp_path / "out.zarr", [layer], (20, 20), (32, 32))["features"]
    found = xarray.open_zarr(tmp_path / "out.zarr", group="features/0")["features"]
    np.testing.assert_array_equal(found, layer.decode(numbers))


def test_a_scale_for_all_bands_is_not_applied_where_offsets_differ(tmp_path: Path) -> None:
    layer = replace(features("int8", 2), scale=(0.5, 0.5))
    numbers = write(tmp_path / "out.zarr", [layer], (20, 20), (32, 32))["features"]
    found = xarray.open_zarr(tmp_path / "out.zarr", group="features/0")["features"]
    np.testing.assert_array_equal(found.fillna(-128), numbers)


def test_scales_that_were_learned_after_the_beginning_are_said(tmp_path: Path) -> None:
    layer = features("int8", 2)
    work = begin(tmp_path / "out.zarr", [replace(layer, scale=None, offset=None)], (20, 20), (32, 32))
    work = replace(work, layers=(layer,))
    fill(work, {"features": numbers(layer, 20, 20)})
    work.finish({})
    found = xarray.open_zarr(tmp_path / "out.zarr", group="features/0")["features"]
    assert found.attrs["band_scales"] == [0.25, 0.375] and found.attrs["band_offsets"] == [3.5, 3.25]


def test_what_it_says_of_levels_and_place(made: tuple[Path, dict[str, np.ndarray]]) -> None:
    out, _ = made
    said = json.loads((out / "classes" / "zarr.json").read_text())["attributes"]
    assert [one["name"] for one in said["zarr_conventions"]] == ["multiscales", "proj:", "spatial:"]
    layout = said["multiscales"]["layout"]
    assert [one["asset"] for one in layout] == ["0", "1", "2"]
    assert [one.get("derived_from") for one in layout] == [None, "0", "1"]
    assert [one["transform"]["scale"] for one in layout] == [[1, 1], [2, 2], [2, 2]]
    assert [one["spatial:shape"] for one in layout] == [[1200, 1048], [600, 524], [300, 262]]
    assert layout[2]["spatial:transform"] == [5, 0, 500_000, 0, -5, 5_000_000]
    assert said["multiscales"]["resampling_method"] == "mode"
    assert said["proj:code"] == "EPSG:32632" and "spatial:transform" not in said
    level = json.loads((out / "classes" / "1" / "zarr.json").read_text())["attributes"]
    assert level["spatial:transform"] == [2.5, 0, 500_000, 0, -2.5, 5_000_000]
    assert level["spatial:bbox"] == [500_000, 4_998_500, 501_310, 5_000_000]
    root = json.loads((out / "zarr.json").read_text())
    assert root["attributes"]["skysense"]["layers"] == ["features", "classes"]
    assert root["attributes"]["skysense"]["software"] == "skysense test"
    assert "classes/2/classes" in root["consolidated_metadata"]["metadata"]


def test_a_rotated_map_has_its_affine_and_no_coordinates_that_would_be_wrong(tmp_path: Path) -> None:
    write(tmp_path / "out.zarr", [features()], (20, 20), (32, 32), ROTATED)
    found = xarray.open_zarr(tmp_path / "out.zarr", group="features/0")
    assert set(found.variables) == {"features", "spatial_ref"}
    assert found.attrs["spatial:transform"] == list(ROTATED[:6]) != list(NORTH_UP[:6])


def test_a_crs_without_a_code_is_spelled_out(tmp_path: Path) -> None:
    from skysense.maps.grid import Grid
    from skysense.maps.product.conventions import level_attributes

    local = "+proj=laea +lat_0=47 +lon_0=9 +x_0=0 +y_0=0 +ellps=GRS80 +units=m"
    said = level_attributes(Grid(local, NORTH_UP, 5, 5))
    assert "proj:code" not in said and said["proj:wkt2"].startswith("PROJCRS[")
