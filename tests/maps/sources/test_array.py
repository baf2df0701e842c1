"""Imagery in memory: the same pixels as from a file, and errors for what lies nowhere."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray
from pyproj import CRS

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.sources.named import is_pair, named, named_pair
from skysense.maps.sources.open import open_source
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A
from tests.maps.sources.reading import READS, hr_file, read, s1_file, s2_file, s2_like, whole

H, W = 12, 20
NORTH, WEST = 5_400_000, 600_000


def array(values, bands, *, px=10.0, **attrs):
    """Values on the lattice of the files, with what xarray needs to say it."""
    height, width = values.shape[-2:]
    coords = {
        "band": list(bands),
        "y": NORTH - px * (np.arange(height) + 0.5),
        "x": WEST + px * (np.arange(width) + 0.5),
    }
    dims = ("time", "band", "y", "x")[-values.ndim :]
    return xarray.DataArray(values, dims=dims, coords=coords, attrs={"crs": "EPSG:32632", **attrs})


def s2_array(height=H, width=W, **attrs):
    return array(s2_like(height, width), SENTINEL2_L2A.bands, units="reflectance*1e4", **attrs)


def same(one, other):
    assert set(one.series) == set(other.series)
    for key, series in one.series.items():
        assert series.values.dtype == other.series[key].values.dtype
        for name in ("values", "valid", "dates"):
            np.testing.assert_array_equal(getattr(series, name), getattr(other.series[key], name))


@pytest.mark.parametrize("kept", ["as it is", "south first", "bands last", "other bands, reversed", "a variable each"])
def test_an_array_is_read_like_the_file(tmp_path, kept):
    there = s2_array()
    if kept == "south first":
        there = there.isel(y=slice(None, None, -1))
    elif kept == "bands last":
        there = there.transpose("y", "x", "band")
    elif kept == "other bands, reversed":
        there = xarray.concat([there.isel(band=slice(None, None, -1)), there[:1].assign_coords(band=["B1"])], "band")
    elif kept == "a variable each":
        there = there.to_dataset("band")
        assert named(there).data is there  # a data set is a mapping, but not one from sensors
    s2_file(tmp_path / "a.tif", s2_like(H, W))
    imagery = open_source(there, reads=READS)
    file = open_source(tmp_path / "a.tif", reads=READS)
    assert imagery.grid == file.grid
    same(whole(imagery), whole(file))
    same(whole(pickle.loads(pickle.dumps(imagery))), whole(file))


def test_several_arrays_share_a_grid_like_their_files(tmp_path):
    hr = np.random.default_rng(3).integers(1, 255, (3, H * 32, W * 32)).astype(np.uint8)
    s1 = np.random.default_rng(4).normal(-12, 2, (2, H + 3, W + 2)).astype(np.float32)  # ends further south and east
    hr_file(tmp_path / "hr.tif", hr)
    s1_file(tmp_path / "s1.tif", s1)
    s2_file(tmp_path / "s2.tif", s2_like(H, W))
    arrays = {
        "hr": array(hr, OPTICAL_HR.bands, px=0.3125),
        "s2": s2_array(),
        "s1": {"files": array(s1, SENTINEL1.bands), "unit": "dB"},
    }
    files = {key: str(tmp_path / f"{key}.tif") for key in arrays}
    same(read(arrays), read(files))
    same(read(arrays | {"s2": files["s2"]}), read(files))  # and both kinds side by side
    assert is_pair({"before": s2_array(), "after": s2_array()})
    assert [entry.data is not None for entry in named_pair({"before": s2_array(), "after": s2_array()})] == [True] * 2


def test_days_come_from_the_time_coordinate():
    frames = np.stack([s2_like(H, W, seed) for seed in range(3)])
    days = np.array(["2023-07-02", "2023-03-01", "2023-05-01"], "datetime64[ns]")
    series = array(frames, SENTINEL2_L2A.bands, unit="reflectance*1e4").assign_coords(time=days)
    found = read(series).series["s2"]
    assert found.dates.astype(str).tolist() == ["2023-03-01", "2023-05-01", "2023-07-02"]
    np.testing.assert_array_equal(found.values, frames[[1, 2, 0]])
    single = read(series.isel(time=1)).series["s2"]  # the day stays behind as a coordinate without dimension
    assert single.dates.astype(str).tolist() == ["2023-03-01"]
    with pytest.raises(InputError, match="dates of its 3 frames"):
        read(series.drop_vars("time"))


def test_nan_is_no_data_and_nothing_to_warn_of():
    values = np.full((2, H, W), -12, np.float32)
    values[0, 2, 3] = np.nan
    with open_source(array(values, SENTINEL1.bands, units="dB"), reads=READS).open() as reader:
        seen = reader.read(Window(0, 0, H, W)).series["s1"].valid[0]
        assert reader.pixels_not_finite == 0
    assert np.argwhere(~seen).tolist() == [[2, 3]]


def test_bands_named_as_rioxarray_names_them():
    there = s2_array(long_name=SENTINEL2_L2A.bands).assign_coords(band=np.arange(1, 11))
    same(read(there), read(s2_array()))


@pytest.mark.parametrize("said", [CRS("EPSG:32632"), 32632, CRS("EPSG:32632").to_wkt()])
def test_a_crs_may_be_said_in_several_ways(said):
    there = s2_array()
    there.attrs["crs"] = said
    assert open_source(there, reads=READS).grid.crs.to_epsg() == 32632
    assert there.attrs["crs"] is said
    beside = there.drop_attrs().assign_attrs(units="reflectance*1e4")
    beside = beside.assign_coords(spatial_ref=((), 0, {"crs_wkt": CRS("EPSG:32632").to_wkt()}))
    beside.encoding["grid_mapping"] = "spatial_ref"
    assert open_source(beside, reads=READS).grid.crs.to_epsg() == 32632


def test_a_rotated_array_lies_where_its_affine_says():
    there = s2_array().drop_vars(["y", "x"])
    there = there.assign_coords(
        spatial_ref=((), 0, {"crs_wkt": "EPSG:32632", "GeoTransform": "600000 8 6 5400000 6 -8"})
    )
    there.encoding["grid_mapping"] = "spatial_ref"
    assert open_source(there, reads=READS).grid.transform[:6] == (8, 6, 600_000, 6, -8, 5_400_000)


def broken(what):
    there = s2_array()
    if what == "no CRS":
        del there.attrs["crs"]
    elif what == "no CRS that is one":
        there.attrs["crs"] = "somewhere"
    elif what == "no unit":
        del there.attrs["units"]
    elif what == "uneven":
        there = there.assign_coords(x=there.x.values + 0.4 * (np.arange(W) == 5) * 10)
    elif what == "no coordinates":
        there = there.drop_vars("y")
    elif what == "no names":
        there = there.drop_vars("band")
    elif what == "numpy":
        return {"s2": there.values}
    return there


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no CRS", r"no CRS.*\. Write it: .*write_crs"),
        ("no CRS that is one", "'somewhere', which is no CRS"),
        ("no unit", r"does not say its unit.*\. If that is what it holds"),
        ("uneven", r"coordinates x are not evenly spaced\. Resample"),
        ("no coordinates", r"no coordinates y and x.*\. Write the coordinates"),
        ("no names", r"named bands.*\. Name the bands"),
        ("numpy", r"s2: an array of numpy does not say where.*xarray\.DataArray\("),
    ],
)
def test_what_lies_nowhere_is_refused_with_a_way_out(what, message):
    with pytest.raises(InputError, match=message):
        open_source(broken(what), reads=READS)


def test_another_array_is_another_source():
    about = [open_source(s2_array(), reads=READS).about() for _ in range(2)]
    assert about[0] == about[1]
    changed = (s2_array() + np.uint16(1)).assign_attrs(s2_array().attrs)
    assert open_source(changed, reads=READS).about() != about[0]
