"""Places read back as they were written: all of it, windows, frames; other programs can open the files."""

from __future__ import annotations

import json
import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skysense.data.places import Failure, Legend, Places, check, write_dataset, write_place
from skysense.data.places_rules import utm_footprint
from skysense.errors import InputError
from skysense.geo import Footprint, RegionTable, Window, region_cell
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL2_L2A
from tests.data.places_samples import LABELS, LEGENDS, assert_same, make_masks, make_sample, write_folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("places"), "b", "a", "c")


@pytest.fixture(scope="module")
def places(root: Path) -> Places:
    return Places(root)


def test_a_place_reads_back_as_it_was_written(places: Places) -> None:
    assert [place.name for place in places] == ["a", "b", "c"] and len(places) == 3
    place, written = places[1], make_sample("b", seed=0)
    read = places.read_sample(place)
    assert read.name == "b" and (read.lon, read.lat) == (11.58, 48.14) and list(read.series) == ["hr", "s2", "s1"]
    for key, series in written.series.items():
        assert_same(read.series[key], series)
    for label, mask in make_masks().items():
        np.testing.assert_array_equal(places.read_mask(place, label), mask)
    assert place.labels == LABELS and place.split == "train" and place.attributes == {"row": 0}
    assert place.cells == (4, 8) and place.modalities == ("hr", "s2", "s1") and place.masks == ("fine", "coarse")
    assert places.legends == LEGENDS and places.title == "Test" and places.simulated
    assert places.dataset.source == "here" and places.dataset.licence == "CC0"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_window_and_frames_equal_a_cut_of_the_whole(places: Places, data: st.DataObject) -> None:
    row, col = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 7))
    window = Window(row, col, data.draw(st.integers(1, 4 - row)), data.draw(st.integers(1, 8 - col)))
    frames = sorted(data.draw(st.sets(st.integers(0, 4), min_size=1)))
    whole = make_sample("b", seed=0)
    read = places.read_sample(places[1], window=window, frames={"s2": frames})
    assert_same(read.series["s2"], whole.series["s2"].take(frames).crop(window))
    for key in ("hr", "s1"):
        assert_same(read.series[key], whole.series[key].crop(window))
    fine, coarse = make_masks()["fine"], make_masks()["coarse"]
    np.testing.assert_array_equal(places.read_mask(places[1], "fine", window), fine[window.scaled(32).slices()])
    np.testing.assert_array_equal(places.read_mask(places[1], "coarse", window), coarse[window.slices()])


def test_the_footprint_is_cut_with_the_window(places: Places) -> None:
    left, _, _, top = places[0].footprint.bounds
    cut = places.read_sample(places[0], ["s2"], Window(1, 2, 2, 4)).footprint
    assert cut.crs == "EPSG:32632" and cut.bounds == pytest.approx((left + 20, top - 30, left + 60, top - 10))


def test_frames_can_be_chosen_by_date(places: Places) -> None:
    seen = {}

    def in_march(modality: str, dates: np.ndarray) -> np.ndarray:
        seen[modality] = len(dates)
        return np.flatnonzero(dates >= np.datetime64("2020-03-01"))

    read = places.read_sample(places[0], frames=in_march)
    assert seen == {"s2": 5, "s1": 5} and read.series["s1"].dates.astype(str).tolist()[0] == "2020-03-01"
    assert [len(series.dates) for series in read.series.values()] == [1, 4, 4]
    assert places.read_dates(places[0], "s2").astype(str).tolist()[:2] == ["2020-02-27", "2020-03-01"]
    assert places.read_dates(places[0], "hr").astype(str).tolist() == ["2019-07-01"]


def test_only_the_sensors_asked_for(places: Places) -> None:
    assert list(places.read_sample(places[0], ["s1", "hr"]).series) == ["hr", "s1"]


def test_a_selection_keeps_the_regions_of_all(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="World", simulated=True, legends={})
    positions = {"a": (-60.0, 10.0), "b": (179.99, -16.5), "c": (20.0, 79.9)}
    for name, (lon, lat) in positions.items():
        write_place(tmp_path, make_sample(name, frames=1, lon=lon, lat=lat).only(["s2"]), split="test")
    write_place(tmp_path, make_sample("d", frames=1, lon=None, lat=None).only(["s2"]))
    places = Places(tmp_path)
    assert places.regions.cells == tuple(sorted(region_cell(*position) for position in positions.values()))
    some = places.select(split="test", where=lambda place: place.lat < 0)
    assert [place.name for place in some] == ["b"] and some.regions.cells == places.regions.cells
    assert some.read_sample(some[0]).region == places.regions.slot(179.99, -16.5)
    assert places.read_sample(places[3]).region is None and [place.name for place in places.select()] == list("abcd")
    foreign = Places(tmp_path, regions=RegionTable([region_cell(20.0, 79.9)]))
    assert [foreign.read_sample(place).region for place in foreign] == [None, None, 0, None]


def test_without_position_nothing_is_georeferenced(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="Nowhere", simulated=False, legends=LEGENDS)
    sample = make_sample("x", lon=None, lat=None)
    folder = write_place(tmp_path, sample, masks=make_masks())
    places = Places(tmp_path)
    read = places.read_sample(places[0])
    assert read.lon is None and read.footprint is None and len(places.regions) == 0 and read.region is None
    assert check(tmp_path).problems == []
    with rasterio.open(folder / "hr.tif") as tif:
        assert tif.crs is None and tuple(tif.bounds) == (0, 0, 80, 40)


def test_an_undated_frame_stays_undated(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="Undated", simulated=False, legends={})
    sample = make_sample("x", frames=1)
    nat = np.array(["NaT"], "datetime64[D]")
    undated = {key: Series(one.sensor, one.values, nat, one.valid, one.clear) for key, one in sample.series.items()}
    folder = write_place(tmp_path, Sample("x", undated, 11.58, 48.14))
    read = Places(tmp_path).read_sample(Places(tmp_path)[0])
    assert all(np.isnat(series.dates).all() for series in read.series.values())
    with xarray.open_dataset(folder / "s2.nc") as cube:
        assert np.isnat(cube.time.values).all()


def test_holes_and_clouds_of_the_image_are_kept(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="Holes", simulated=False, legends={})
    rng = np.random.default_rng(3)
    values = rng.integers(0, 256, (1, 3, 128, 128), np.uint8)
    valid, clear = rng.random((1, 128, 128)) < 0.7, rng.random((1, 128, 128)) < 0.2
    series = Series(OPTICAL_HR, values, np.array(["2020-01-01"], "datetime64[D]"), valid, clear)
    write_place(tmp_path, Sample("x", {"hr": series}, 0.0, 0.0))
    assert_same(Places(tmp_path).read_sample(Places(tmp_path)[0]).series["hr"], series)
    window = Window(1, 2, 2, 2)
    part = Places(tmp_path).read_sample(Places(tmp_path)[0], window=window).series["hr"]
    assert_same(part, series.crop(window))


def test_a_window_may_lie_in_a_gap(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="Gap", simulated=False, legends={})
    valid = np.ones((1, 8, 8), bool)
    valid[:, :4] = False
    s2 = Series(SENTINEL2_L2A, np.full((1, 10, 8, 8), 500, np.uint16), np.array(["NaT"], "datetime64[D]"), valid)
    write_place(tmp_path, Sample("x", {"s2": s2}))
    places = Places(tmp_path)
    assert not places.read_sample(places[0], window=Window(0, 0, 4, 8)).series["s2"].valid.any()


@pytest.mark.parametrize(
    ("lon", "lat", "code"),
    [
        (11.58, 48.14, 32632),
        (-179.9, -16.0, 32701),
        (180.0, 1.0, 32660),
        (0.0, 0.0, 32631),
        (25, 86, 32661),
        (0, -88, 32761),
    ],
)
def test_the_ground_around_a_position(lon: float, lat: float, code: int) -> None:
    footprint = utm_footprint(lon, lat, (4, 8))
    left, bottom, right, top = footprint.bounds
    assert footprint.crs == f"EPSG:{code}" and (right - left, top - bottom) == pytest.approx((80, 40))
    centre = pyproj.Transformer.from_crs(footprint.crs, "EPSG:4326", always_xy=True).transform(
        (left + right) / 2, (bottom + top) / 2
    )
    assert pyproj.Geod(ellps="WGS84").line_length([lon, centre[0]], [lat, centre[1]]) < 0.01


def test_other_programs_open_the_files(root: Path) -> None:
    bounds = Places(root)[0].footprint.bounds
    with rasterio.open(root / "a" / "hr.tif") as tif:
        assert tif.crs.to_epsg() == 32632 and tuple(tif.bounds) == pytest.approx(bounds)
        assert tif.descriptions == ("R", "G", "B") and tif.res == pytest.approx((0.3125, 0.3125))
        assert tif.compression.value == "DEFLATE" and tif.tags()["SKYSENSE_DATE"] == "2019-07-01"
    with rasterio.open(root / "a" / "coarse.tif") as tif:
        assert tif.res == (10, 10) and tuple(tif.bounds) == pytest.approx(bounds)
    with rasterio.open(f"netcdf:{root / 'a' / 's2.nc'}:values") as cube:  # as QGIS does
        assert cube.crs.to_epsg() == 32632 and tuple(cube.bounds) == pytest.approx(bounds) and cube.count == 50
    with xarray.open_dataset(root / "a" / "s2.nc") as cube:
        written = make_sample("a", seed=1).series["s2"]
        assert cube.attrs["unit"] == "reflectance*1e4" and cube.attrs["Conventions"].startswith("CF-")
        np.testing.assert_array_equal(cube["values"].sel(band="B8A"), written.values[:, 7])
        np.testing.assert_array_equal(cube.time.values.astype("datetime64[D]"), written.dates)
        assert pyproj.CRS.from_cf(cube.crs.attrs).to_epsg() == 32632
        assert float(cube.x[0]) == pytest.approx(bounds[0] + 5) and float(cube.y[0]) == pytest.approx(bounds[3] - 5)


def test_files_of_other_programs_are_read_by_band_name(root: Path, tmp_path: Path) -> None:
    """xarray writes the cube, another raster program the image: other order, more bands, other integer types."""
    written = make_sample("a", seed=1)
    folder = tmp_path / "a"
    folder.mkdir()
    for name in ("dataset.json", "a/place.json"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    with xarray.open_dataset(root / "a" / "s2.nc") as cube:
        order = ["B12", "B3", "B2", "B4", "B5", "B11", "B7", "B6", "B8A", "B8", "B9"]
        more = xarray.concat([cube["values"], cube["values"].isel(band=[0]).assign_coords(band=["B9"])], "band")
        turned = cube.drop_dims("band")
        turned["values"] = more.sel(band=order)
        encoding = {"time": {"units": "days since 1970-01-01", "dtype": "float64"}}
        turned.to_netcdf(folder / "s2.nc", encoding=encoding)
    image = written.series["hr"].values[0]
    with rasterio.open(root / "a" / "hr.tif") as tif:
        profile = {"driver": "GTiff", "crs": tif.crs, "transform": tif.transform, "dtype": "uint8", "count": 4}
    with rasterio.open(folder / "hr.tif", "w", width=256, height=128, **profile) as tif:
        tif.write(np.stack([image[2], image[0], image[0] // 2, image[1]]))
        tif.descriptions = ("B", "R", "NIR", "G")
        tif.update_tags(SKYSENSE_SENSOR="optical-hr", SKYSENSE_UNIT="uint8")
    places = Places(tmp_path)
    read = places.read_sample(places[0])
    assert_same(read.series["s2"], written.series["s2"])
    np.testing.assert_array_equal(read.series["hr"].values[0], image)
    assert np.isnat(read.series["hr"].dates[0])


def test_the_index_reads_no_pixels(tmp_path: Path) -> None:
    write_folder(tmp_path, "a")
    for file in (*tmp_path.glob("a/*.tif"), *tmp_path.glob("a/*.nc")):
        file.write_bytes(b"")
    assert Places(tmp_path)[0].masks == ("fine", "coarse")


def test_in_bulk_bad_places_are_skipped_and_listed(tmp_path: Path) -> None:
    write_folder(tmp_path, "a", "b", "c", "d")
    (tmp_path / "b" / "s2.nc").write_bytes(b"CDF")
    (tmp_path / "c" / "place.json").write_text("{")
    with pytest.warns(UserWarning, match="left out 1 places"):
        places = Places(tmp_path)
    failed: list[Failure] = []
    assert [(place.name, sample.name) for place, sample in places.samples(["s2"], failures=failed)] == [
        ("a",) * 2,
        ("d",) * 2,
    ]
    assert [failure.place for failure in failed] == ["c", "b"]
    assert "place.json: is not valid JSON" in failed[0].message and "s2.nc: is truncated" in failed[1].message
    with pytest.raises(InputError, match=r"s2\.nc"):
        list(places.samples(["s2"]))
    assert len(list(places.samples(["s1"], window=Window(0, 0, 4, 4)))) == 3


def test_what_can_be_read_is_found_out_once_and_the_rest_listed(tmp_path: Path) -> None:
    write_folder(tmp_path, "a", "b", "c", "d")
    (tmp_path / "b" / "s2.nc").write_bytes(b"CDF")
    mask = next((tmp_path / "d").glob("*fine*.tif"))
    mask.write_bytes(mask.read_bytes()[:100])
    places, told = Places(tmp_path), list[tuple[int, int]]()
    good = places.readable(lambda done, total: told.append((done, total)))
    assert [place.name for place in good] == ["a", "c"]
    assert [failure.place for failure in good.failures] == ["b", "d"]
    assert good.regions is places.regions and len(places) == 4 and not places.failures
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(InputError, match=r"no place that can be read; the first: .*s2\.nc"):
        places.select(where=lambda place: place.name == "b").readable()


def test_threads_may_read_at_once(places: Places) -> None:
    wanted = make_sample("a", seed=1).series["s2"].values
    equal: list[bool] = []

    def read() -> None:
        equal.extend(bool((places.read_sample(places[0]).series["s2"].values == wanted).all()) for _ in range(10))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal == [True] * 40


def test_a_footprint_in_another_crs(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="Degrees", simulated=False, legends={})
    step = 10 / 111_320
    bounds = (10.0, 0.0, 10.0 + 8 * step, 4 * step)
    sample = make_sample("x", lon=10.0, lat=0.0)
    write_place(tmp_path, Sample("x", sample.series, 10.0, 0.0, Footprint(bounds, "EPSG:4326")))
    assert check(tmp_path).problems == []
    assert Places(tmp_path).read_sample(Places(tmp_path)[0]).footprint == Footprint(bounds, "EPSG:4326")


def _documented(language: str) -> list[str]:
    text = (Path(__file__).parents[2] / "docs" / "places.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_documented_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, pair = _documented("python")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for example in (first, pair):
            exec(compile(example, "docs/places.md", "exec"), {})
    assert len(first.splitlines()) <= 14
    assert Places(tmp_path / "my_places").legends["crop_type"].classes == ("no crop", "wheat", "maize")


def test_the_documented_json_is_right(tmp_path: Path) -> None:
    dataset, place, boxes = map(json.loads, _documented("json"))
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    (tmp_path / "farm-0001").mkdir()
    (tmp_path / "farm-0001" / "place.json").write_text(json.dumps(place))
    (tmp_path / "farm-0001" / "s2.nc").touch()
    (tmp_path / "farm-0001" / "barns.json").write_text(json.dumps(boxes))
    (read,) = Places(tmp_path)
    assert Places(tmp_path).legends["crop_type"] == Legend("mask", ("no crop", "wheat", "maize"), ignore=0)
    assert Places(tmp_path).legends["change"].after and not Places(tmp_path).legends["crop_type"].after
    assert Places(tmp_path).read_boxes(read, "barns").areas.tolist() == [800]
    assert read.labels == {"scene": "forest", "cover": ["trees", "water"]} and read.split == "train"
    assert read.footprint.crs == "EPSG:32632"
    assert read.footprint.bounds == pytest.approx(utm_footprint(11.58, 48.14, (16, 16)).bounds, abs=0.06)
