"""Series kept as cubes: axes in any order, days, units, places, and chunks that are broken."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.sources.open import open_source
from skysense.sensors import SENTINEL2_L2A
from tests.maps.scenes import hr_values, s1_values
from tests.maps.sources.reading import READS, hr_file, read, s2_file, s2_like, whole

xarray = pytest.importorskip("xarray")
pytest.importorskip("zarr")
pytestmark = pytest.mark.filterwarnings("ignore:.*Zarr V3 spec", "ignore:Consolidated metadata")

DAYS = np.array(["2022-03-01T10:30", "2022-01-01T10:30", "2022-02-01T10:30"], "datetime64[ns]")
UNIT = "reflectance*1e4"


def series(height: int = 12, width: int = 16) -> np.ndarray:
    return np.stack([s2_like(height, width, seed) for seed in range(3)])


def cube(values: np.ndarray, *, dims=("time", "band", "y", "x"), crs="EPSG:32632", **attrs):
    """A cube of Sentinel-2 whose axes lie in another order."""
    _, _, height, width = values.shape
    order = [("time", "band", "y", "x").index(dim) for dim in dims]
    coords = {
        "time": DAYS[: len(values)],
        "band": list(SENTINEL2_L2A.bands),
        "y": 5_400_000 - 5 - 10 * np.arange(height),
        "x": 600_000 + 5 + 10 * np.arange(width),
    }
    array = xarray.DataArray(values.transpose(order), dims=dims, coords=coords, attrs={"units": UNIT, **attrs})
    dataset = array.to_dataset(name="s2")
    if crs is not None:
        dataset.attrs["proj:code"] = crs
    return dataset


@pytest.mark.parametrize("dims", [("time", "band", "y", "x"), ("y", "x", "band", "time"), ("band", "time", "x", "y")])
@pytest.mark.parametrize("version", [2, 3])
def test_axes_in_any_order(tmp_path: Path, dims, version: int) -> None:
    values = series()
    cube(values, dims=dims).to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False)
    source = pickle.loads(pickle.dumps(open_source(tmp_path / "a.zarr", reads=READS)))
    found = whole(source).series["s2"]
    assert source.grid.at(0, 0) == (600_000, 5_400_000)
    assert [str(day) for day in found.dates] == ["2022-01-01", "2022-02-01", "2022-03-01"]
    np.testing.assert_array_equal(found.values, values[[1, 2, 0]])
    assert found.values.dtype == np.uint16
    assert source.notes == ("sentinel-2-l2a: 3 dates, 2022-01-01 .. 2022-03-01",)
    (file,) = source.about()["sensors"]["s2"]["files"]
    assert file["name"] == "a.zarr" and file["files"] > 3


def test_a_variable_per_band_from_south_to_north(tmp_path: Path) -> None:
    values = series()
    whole_cube = cube(values)["s2"].sel(y=slice(None, None, -1))
    dataset = xarray.Dataset(
        {f"B{band[1:].zfill(2)}": whole_cube.sel(band=band, drop=True) for band in SENTINEL2_L2A.bands}
    )
    dataset = dataset.assign_coords(spatial_ref=xarray.DataArray(0, attrs={"crs_wkt": CRS.from_epsg(32632).to_wkt()}))
    dataset.to_zarr(tmp_path / "a.zarr")
    found = read(tmp_path / "a.zarr").series["s2"]
    np.testing.assert_array_equal(found.values, values[[1, 2, 0]])


def test_a_window_of_a_cube_beside_an_image(tmp_path: Path) -> None:
    values = series(40, 40)
    cube(values).to_zarr(tmp_path / "a.zarr")
    hr = hr_file(tmp_path / "hr.tif", hr_values(320, 320), west=600_100, north=5_399_900)
    source = open_source({"hr": hr, "s2": tmp_path / "a.zarr"}, reads=READS)
    assert source.grid.at(0, 0) == (600_100, 5_399_900)
    with source.open() as reader:
        found = reader.read(Window(4, 4, 8, 8)).series["s2"]
    np.testing.assert_array_equal(found.values[:, :, :6, :6], values[[1, 2, 0], :, 14:20, 14:20])
    assert found.valid.sum() == 3 * 36


def test_no_data_by_value_and_by_masks(tmp_path: Path) -> None:
    values = series()
    values[0, 3, 2, 2] = 0
    dataset = cube(values, _FillValue=np.uint16(0))
    classes = np.full((3, 12, 16), 4, np.uint8)
    classes[1, 5, 5], classes[1, 6, 6] = 9, 1
    dataset["SCL"] = (("time", "y", "x"), classes)
    dataset.to_zarr(tmp_path / "a.zarr")
    found = read(tmp_path / "a.zarr").series["s2"]
    assert np.argwhere(~found.valid).tolist() == [[0, 6, 6], [2, 2, 2]]
    assert np.argwhere(found.valid & ~found.clear).tolist() == [[0, 5, 5]]


def test_scaled_numbers_are_brought_to_the_unit(tmp_path: Path) -> None:
    values = series() + np.uint16(1000)
    cube(values, units="1", scale_factor=1e-4, add_offset=-0.1).to_zarr(tmp_path / "a.zarr")
    found = read(tmp_path / "a.zarr").series["s2"]
    np.testing.assert_allclose(found.values, series()[[1, 2, 0]], atol=1e-3)
    assert found.values.dtype == np.float32


def test_decibels_in_netcdf_with_gaps(tmp_path: Path) -> None:
    values = s1_values(12, 16)
    values[0, 3, 4] = np.nan
    y, x = 5_400_000 - 10 - 20 * np.arange(12), 600_000 + 10 + 20 * np.arange(16)
    array = xarray.DataArray(values, dims=("band", "y", "x"), coords={"band": ["VV", "VH"], "y": y, "x": x})
    dataset = array.to_dataset(name="s1")
    dataset.attrs = {"crs": "EPSG:32632", "unit": "dB"}
    dataset.to_netcdf(tmp_path / "s1_20220715.nc")
    source = open_source(tmp_path / "s1_20220715.nc", reads=READS)
    found = whole(source).series["s1"]
    assert [str(day) for day in found.dates] == ["2022-07-15"]
    assert np.argwhere(~found.valid).tolist() == [[0, 3, 4]]
    s2 = s2_file(tmp_path / "s2.tif", s2_like(24, 32))
    beside = read({"s1": tmp_path / "s1_20220715.nc", "s2": s2}).series["s1"]
    np.testing.assert_array_equal(beside.values[0, 1], values[1].repeat(2, 0).repeat(2, 1) * beside.valid[0])


def test_a_broken_chunk_costs_its_frames(tmp_path: Path) -> None:
    dataset = cube(series(32, 32))
    dataset.to_zarr(tmp_path / "a.zarr", encoding={"s2": {"chunks": (1, 10, 16, 16)}}, zarr_format=3)
    chunk = tmp_path / "a.zarr" / "s2" / "c" / "2" / "0" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:50])
    source = open_source(tmp_path / "a.zarr", reads=READS)
    with source.open() as reader:
        assert len(reader.read(Window(0, 0, 16, 16)).series["s2"].dates) == 3
        assert len(reader.read(Window(16, 16, 16, 16)).series["s2"].dates) == 2
        assert len(reader.lost) == 1 and "a.zarr: rows 16.. columns 16.. of s2 cannot be read" in reader.lost[0]


def _in_unit(dataset, unit):
    dataset["s2"].attrs = {} if unit is None else {"units": unit}
    return dataset


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda dataset: dataset.assign_attrs({"proj:code": None}), "has no CRS, and a map needs one"),
        (lambda dataset: dataset.assign_attrs({"proj:code": "EPSG:1"}), "says proj:code 'EPSG:1', which is no CRS"),
        (lambda dataset: dataset.drop_vars(["x", "y"]), "variable s2 has no coordinates y and x and no GeoTransform"),
        (
            lambda dataset: dataset.assign_coords(x=dataset.x + (dataset.x > 600_100)),
            "coordinates x are not evenly spaced",
        ),
        (lambda dataset: dataset.drop_vars("time"), "does not say the dates of its 3 frames"),
        (lambda dataset: dataset.drop_vars("band"), "holds no image or series with named bands"),
        (lambda dataset: dataset.isel(band=slice(9)), r"its bands \(B2, .*B11\) are those of no known sensor"),
        (lambda dataset: _in_unit(dataset, "dB"), "is in 'dB'; sentinel-2-l2a must be"),
        (lambda dataset: _in_unit(dataset, None), "does not say its unit"),
    ],
)
def test_cubes_that_cannot_be_used(tmp_path: Path, spoil, words: str) -> None:
    dataset = spoil(cube(series()))
    dataset.attrs = {key: value for key, value in dataset.attrs.items() if value is not None}
    dataset.to_zarr(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=rf"a\.zarr: {words}"):
        open_source(tmp_path / "a.zarr", reads=READS)


def test_what_is_no_cube(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"dear diary")
    with pytest.raises(InputError, match=r"a\.nc: is not a cube that can be read \(foreign or truncated\)"):
        open_source(tmp_path / "a.nc", reads=READS)
    with pytest.raises(InputError, match=r"b\.zarr: does not exist"):
        open_source(tmp_path / "b.zarr", reads=READS)


def test_several_cubes_are_joined_in_time_and_in_ground(tmp_path: Path) -> None:
    """Two that lie side by side and share a day, and one of another year and number type, named first."""
    values = series(12, 24)
    left, right = cube(values[:2, ..., :16]), cube(values[:, ..., 12:])
    right = right.assign_coords(x=right.x + 120)
    left["s2"][0, :, 4, 14] = 0  # the second cube shows it
    left["s2"].attrs["_FillValue"] = np.uint16(0)
    later = cube(values[:1, ..., :16].astype(np.float32)).assign_coords(time=DAYS[:1] + np.timedelta64(365, "D"))
    paths = [tmp_path / "later.zarr", tmp_path / "left.zarr", tmp_path / "right.nc"]
    for path, one in zip(paths, (later, left, right), strict=True):
        one.to_zarr(path) if path.suffix == ".zarr" else one.to_netcdf(path)
    source = pickle.loads(pickle.dumps(open_source([*map(str, paths)], reads=READS)))
    assert source.notes == ("sentinel-2-l2a: 3 cubes, 4 dates, 2022-01-01 .. 2023-03-01",)
    assert [file["name"] for file in source.about()["sensors"]["s2"]["files"]] == [path.name for path in paths]
    assert (source.grid.height, source.grid.width) == (12, 24)
    found = whole(source).series["s2"]
    assert [str(day) for day in found.dates] == ["2022-01-01", "2022-02-01", "2022-03-01", "2023-03-01"]
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values[0], values[1])
    np.testing.assert_array_equal(found.values[2], values[0])
    np.testing.assert_array_equal(found.valid.all(axis=(1, 2)), [True, False, True, False])
    np.testing.assert_array_equal(found.values[1, :, :, 12:], values[2, :, :, 12:])
    assert found.valid[1, :, 12:].all() and not found.valid[1, :, :12].any()
    assert found.valid[3, :, :16].all() and not found.valid[3, :, 16:].any()
    np.testing.assert_array_equal(read(f"{{s2: [{paths[1]}, {paths[2]}]}}").series["s2"].values, found.values[:3])


def test_of_several_cubes_a_broken_one_costs_its_frames(tmp_path: Path) -> None:
    values = series()
    one, two = cube(values[:1]), cube(values[1:]).assign_coords(time=DAYS[1:])
    one["clear"] = (("time", "y", "x"), np.arange(192).reshape(1, 12, 16) % 2 == 0)
    for name, dataset in (("one", one), ("two", two)):
        dataset.to_zarr(tmp_path / f"{name}.zarr")
    source = open_source([tmp_path / "one.zarr", tmp_path / "two.zarr"], reads=READS)
    for chunk in (tmp_path / "two.zarr" / "s2").rglob("*"):
        if chunk.is_file() and not chunk.name.startswith((".z", "zarr.json")):
            chunk.write_bytes(b"broken")
    with source.open() as reader:
        found = reader.read(Window(0, 0, 12, 16)).series["s2"]
        assert len(reader.lost) == 2 and "two.zarr" in reader.lost[0]
    assert [str(day) for day in found.dates] == ["2022-03-01"]
    np.testing.assert_array_equal(found.clear[0], np.arange(192).reshape(12, 16) % 2 == 0)


def test_lists_of_cubes_that_are_no_series(tmp_path: Path) -> None:
    cube(series()).to_zarr(tmp_path / "a.zarr")
    coords = {"y": 5_400_000 - 5 - 10 * np.arange(12), "x": 600_005 + 10 * np.arange(16), "band": ["VV", "VH"]}
    radar = xarray.DataArray(s1_values(12, 16), dims=("band", "y", "x"), coords=coords, attrs={"units": "dB"})
    radar.to_dataset(name="s1").assign_attrs({"proj:code": "EPSG:32632"}).to_zarr(tmp_path / "s1.zarr")
    tif = s2_file(tmp_path / "b.tif", s2_like(12, 16), date="2022-05-01")
    with pytest.raises(InputError, match=r"b\.tif: is one of several files, of which some are cubes and some are not"):
        open_source([tmp_path / "a.zarr", tif], reads=READS)
    with pytest.raises(InputError, match=r"s1\.zarr: is sentinel-1-grd, a\.zarr is sentinel-2-l2a: a list is a s"):
        open_source([tmp_path / "a.zarr", tmp_path / "s1.zarr"], reads=READS)
    with pytest.raises(InputError, match=r"s1\.zarr: does not say when it was taken, and it is one of 2 cubes"):
        open_source([tmp_path / "s1.zarr", tmp_path / "s1.zarr"], reads=READS)


def test_a_cube_that_lies_nowhere_is_told_how_to_be_put_somewhere(tmp_path: Path) -> None:
    placed = cube(series())
    lost = placed.drop_vars(["x", "y"]).drop_attrs(deep=False)
    lost.to_netcdf(tmp_path / "lost.nc")
    with pytest.raises(InputError) as found:
        open_source(tmp_path / "lost.nc", reads=READS)
    assert "says nothing of where its pixels lie (no CRS, no coordinates y and x, no GeoTransform)" in str(found.value)
    advice = "dataset.assign_coords(y=middles_of_rows, x=middles_of_columns).assign_attrs({'proj:code': 'EPSG:32632'})"
    assert advice in str(found.value)
    names = {"dataset": lost, "middles_of_rows": placed.y.values, "middles_of_columns": placed.x.values}
    eval(advice, names).to_netcdf(tmp_path / "placed.nc")
    assert open_source(tmp_path / "placed.nc", reads=READS).grid.at(0, 0) == (600_000, 5_400_000)
