"""Several sensors on one grid: which ground, which lattice, and pixels that stay what they are."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.warp import transform

from skysense.errors import ConfigError, InputError
from skysense.geo import Window
from skysense.maps.source import UnreadableWindow
from skysense.maps.sources.area import as_area
from skysense.maps.sources.open import open_pair, open_source
from skysense.maps.sources.position import Positions
from skysense.maps.sources.probe import probe
from tests.maps.scenes import hr_values, s1_values, write_scene
from tests.maps.sources.reading import READS, hr_file, s1_file, s2_file, s2_like, whole


@pytest.fixture
def three(tmp_path: Path) -> dict[str, Path]:
    """An image, Sentinel-2 and Sentinel-1 on one lattice, each over other ground."""
    return {
        "hr": hr_file(tmp_path / "hr.tif", hr_values(640, 704), west=600_040, north=5_399_950),
        "s2": s2_file(tmp_path / "s2.tif", s2_like(40, 40), date="2022-05-06"),
        "s1": s1_file(tmp_path / "s1.tif", s1_values(30, 50), west=599_900),
    }


def test_the_ground_is_what_every_sensor_covers_and_pixels_are_untouched(three) -> None:
    source = pickle.loads(pickle.dumps(open_source(three, reads=READS)))
    assert (source.grid.height, source.grid.width) == (20, 22)
    assert source.grid.at(0, 0) == (600_040, 5_399_950)
    sample = whole(source)
    assert list(sample.series) == ["hr", "s2", "s1"]
    np.testing.assert_array_equal(sample.series["hr"].values[0], hr_values(640, 704))
    np.testing.assert_array_equal(sample.series["s2"].values[0], s2_like(40, 40)[:, 5:25, 4:26])
    np.testing.assert_array_equal(sample.series["s1"].values[0], s1_values(30, 50)[:, 5:25, 14:36])
    assert source.name == "hr.tif + s2.tif + s1.tif"
    assert not any("from" in note for note in source.notes)
    assert list(source.about()["sensors"]) == ["hr", "s2", "s1"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(-8, 19), col=st.integers(-8, 21), height=st.sampled_from([8, 16]))
def test_a_window_is_a_plain_crop_padded_where_it_hangs_over(three, row: int, col: int, height: int) -> None:
    source = open_source(three, reads=READS)
    window = Window(row, col, height, 16)
    whole_s2 = np.pad(s2_like(40, 40)[:, 5:25, 4:26], ((0, 0), (16, 32), (16, 32)))
    if window.intersect(Window(0, 0, 20, 22)) is None:
        return
    with source.open() as reader:
        series = reader.read(window).series["s2"]
    at = (slice(row + 16, row + 16 + height), slice(col + 16, col + 32))
    np.testing.assert_array_equal(series.values[0], whole_s2[:, at[0], at[1]])
    np.testing.assert_array_equal(series.valid[0], whole_s2[0, at[0], at[1]] > 0)


def test_the_grid_may_be_that_of_another_sensor(three, tmp_path: Path) -> None:
    three["s1"] = s1_file(tmp_path / "moved.tif", s1_values(30, 50), west=599_903, north=5_399_996)
    source = open_source(three, reads=READS, grid="s1")
    col, row = source.grid.where(599_903, 5_399_996)
    assert (col, row) == (round(col), round(row))
    rows = slice(-round(row), -round(row) + source.grid.height)
    cols = slice(-round(col), -round(col) + source.grid.width)
    moved = whole(source).series["s1"].values[0]
    np.testing.assert_array_equal(moved, s1_values(30, 50)[:, rows, cols])
    assert moved.shape[1:] == (21, 23)  # the ground of all of them, in whole cells of this lattice
    assert "s2: interpolated from 10 m to pixels of 10 m" in source.notes
    with pytest.raises(ConfigError, match="grid is to be that of hr, which is not there; there are s2"):
        open_source(three["s2"], reads=READS, grid="hr")


def test_an_image_of_another_pixel_size_and_crs_shows_the_same_ground(tmp_path: Path) -> None:
    """A plane over the ground, drawn in UTM, in ETRS-LAEA and in degrees."""

    def plane(x, y):
        return 100 + 0.2 * (x - 600_200) + 0.1 * (y - 5_399_800)

    def drawn(crs: str, west: float, north: float, px: float, side: int) -> np.ndarray:
        rows, cols = np.mgrid[:side, :side] + 0.5
        x, y = west + px * cols.ravel(), north - px * rows.ravel()
        x, y = (np.asarray(axis) for axis in transform(crs, "EPSG:32632", x, y))
        return plane(x, y).reshape(side, side).clip(0, 255)

    s2 = s2_file(tmp_path / "s2.tif", s2_like(40, 40))
    for crs, px, side in (("EPSG:32632", 0.2, 1200), ("EPSG:3035", 0.5, 480), ("EPSG:4326", 4e-6, 700)):
        (west,), (north,) = transform("EPSG:32632", crs, [600_090], [5_399_910])
        values = np.rint(np.repeat(drawn(crs, west, north, px, side)[None], 3, axis=0)).astype(np.uint8)
        hr = write_scene(
            tmp_path / "hr.tif", values, names="RGB", crs=crs, transform=Affine(px, 0, west, 0, -px, north)
        )
        source = open_source({"hr": hr, "s2": s2}, reads=READS)
        assert source.grid.transform.a == 10
        series = whole(source).series["hr"]
        rows, cols = np.mgrid[: series.values.shape[2], : series.values.shape[3]] + 0.5
        expected = plane(*source.grid.finer(32).at(cols, rows))
        seen = series.valid[0]
        assert seen.mean() > 0.8
        assert np.abs(series.values[0, 0] - expected)[seen].max() < 1.1  # both are rounded
        assert any(note.startswith("hr: ") and "to pixels of 0.312 m" in note for note in source.notes)


def test_no_common_ground_names_both_and_where_they_are(three, tmp_path: Path) -> None:
    three["s1"] = s1_file(tmp_path / "far.tif", s1_values(8, 8), west=700_000)
    with pytest.raises(InputError, match=r"far\.tif: covers 11\.7.*, 48\..* no ground in common with .*hr\.tif, 10\."):
        open_source(three, reads=READS)


def test_an_area_in_degrees(three) -> None:
    (west, east), (north, south) = transform("EPSG:32632", "EPSG:4326", [600_103, 600_214], [5_399_938, 5_399_857])
    source = open_source(three, reads=READS, area=(west, south, east, north))
    assert source.grid.at(0, 0) == (600_100, 5_399_940)
    assert (source.grid.height, source.grid.width) == (9, 12)
    assert source.about()["area"]
    wide = open_source(three, reads=READS, area=f"{west - 1},{south - 1},{east + 1},{north + 1}")
    left, _, right, _ = wide.grid.bounds
    assert (left, right) == (599_900, 600_400)  # what any of them covers
    with wide.open() as reader:
        assert list(reader.read(Window(0, 0, 4, 4)).series) == ["s1"]  # the others show nothing there
    with pytest.raises(InputError, match=r"lies outside the area: it covers 10\.35.*the area is 20,50,21,51"):
        open_source(three, reads=READS, area="20,50,21,51")


def test_a_single_image_is_cut_on_its_own_cells(three) -> None:
    (west, east), (north, south) = transform("EPSG:32632", "EPSG:4326", [600_091, 600_119], [5_399_929, 5_399_911])
    source = open_source(three["hr"], reads=READS, area=[west, south, east, north])
    assert (source.grid.height, source.grid.width) == (2, 3)
    np.testing.assert_array_equal(whole(source).series["hr"].values[0], hr_values(640, 704)[:, 64:128, 160:256])


def test_cells_outside_of_polygons_are_no_data(three, tmp_path: Path) -> None:
    x, y = [600_060, 600_140, 600_060, 600_060], [5_399_880, 5_399_880, 5_399_800, 5_399_880]
    ring = np.stack(transform("EPSG:32632", "EPSG:4326", x, y), axis=1).tolist()
    file = tmp_path / "area.geojson"
    file.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    source = pickle.loads(pickle.dumps(open_source(three, reads=READS, area=file)))
    assert (source.grid.height, source.grid.width) == (8, 8)
    sample = whole(source)
    rows, cols = np.mgrid[:8, :8]
    inside = rows + cols < 7
    diagonal = rows + cols == 7  # middles on the edge
    seen = sample.series["s2"].valid[0]
    np.testing.assert_array_equal(seen[~diagonal], inside[~diagonal])
    image = sample.series["hr"].valid[0].reshape(8, 32, 8, 32)
    np.testing.assert_array_equal(image.all(axis=(1, 3)), seen)
    np.testing.assert_array_equal(image.any(axis=(1, 3)), seen)


@pytest.mark.parametrize(
    ("area", "words"),
    [
        ("179,0,-179,1", "must not cross the antimeridian"),
        ("1,2,3", "is not four numbers"),
        ("here", "'here' is no area"),
        ((5, 1, 5, 2), "is empty"),
        ((500_000, 1, 600_000, 2), "is not longitude and latitude"),
    ],
)
def test_areas_that_are_none(area, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_area(area)


def test_polygons_across_the_antimeridian_are_refused(tmp_path: Path) -> None:
    ring = [[179, 0], [181, 0], [181, 1], [179, 1], [179, 0]]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    with pytest.raises(InputError, match=r"a\.geojson: crosses the antimeridian"):
        as_area(tmp_path / "a.geojson")


def test_yaml_names_sensors_and_paths_beside_it(three, tmp_path: Path) -> None:
    file = tmp_path / "what.yaml"
    file.write_text("hr: hr.tif\ns2: {files: s2.tif, date: 2021-02-03}\ns1: [s1.tif]\n")
    source = open_source(file, reads=READS)
    assert source.about()["sensors"]["s2"]["dates"] == ["2021-02-03"]
    text = f"{{hr: {three['hr']}, s2: {three['s2']}}}"
    assert list(open_source(text, reads=READS).sensors) == ["hr", "s2"]
    assert list(open_source(f"[{three['s2']}]", reads=READS).sensors) == ["s2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hr: a.tif\nlandsat: b.tif\n", r"what\.yaml: unknown sensor landsat; known are hr, s2, s1"),
        ("s2: {path: a.tif}\n", "s2: unknown key path; known are files, sensor, unit, date"),
        ("s2: {unit: dB}\n", "s2: no 'files'"),
        ("s2: 5\n", r"s2: expected a path or a list of paths, found \[5\]"),
        ("s2: [", "is not YAML"),
        ("{}", "names no sensor"),
        ("before: a.tif\nafter: b.tif\n", "names two dates; only a model of change reads them"),
    ],
)
def test_yaml_that_says_something_else(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "what.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        open_source(file, reads=READS)


def test_what_is_said_of_several_sensors_at_once_is_refused(three) -> None:
    with pytest.raises(InputError, match=r"unit 'dB' could be of any of hr, s2, s1\. Say it where the sensor is named"):
        open_source(three, reads=READS, unit="dB")
    with pytest.raises(InputError, match=r"s1\.tif: this model reads hr, s2, not s1"):
        open_source(three, reads={key: READS[key] for key in ("hr", "s2")})
    with pytest.raises(
        InputError, match=r"are those of sentinel-2-l2a; needed here are those of sentinel-1-grd: VV, VH"
    ):
        open_source({"s1": three["s2"]}, reads=READS)


def test_before_and_after_a_change_lie_on_one_grid(three, tmp_path: Path) -> None:
    later = hr_file(tmp_path / "later.tif", hr_values(640, 640, 1), west=600_080, north=5_399_950)
    before, after = open_pair({"before": {"hr": three["hr"]}, "after": later}, reads=READS)
    assert before.grid == after.grid
    np.testing.assert_array_equal(whole(before).series["hr"].values[0], hr_values(640, 704)[:, :, 128:])
    np.testing.assert_array_equal(whole(after).series["hr"].values[0], hr_values(640, 640, 1)[:, :, :576])
    with pytest.raises(InputError, match="does not name two dates"):
        open_pair({"before": three["hr"]}, reads=READS)


def test_a_rotated_image_decides_the_grid_when_asked(tmp_path: Path) -> None:
    turned = Affine.translation(600_200, 5_399_950) @ Affine.rotation(-30) @ Affine.scale(0.3125, -0.3125)
    hr = write_scene(tmp_path / "hr.tif", hr_values(320, 320), names="RGB", transform=turned)
    s2 = s2_file(tmp_path / "s2.tif", np.full((10, 60, 60), 1500, np.uint16))
    source = open_source({"hr": hr, "s2": s2}, reads=READS, grid="hr")
    assert (source.grid.height, source.grid.width) == (10, 10)
    sample = whole(source)
    np.testing.assert_array_equal(sample.series["hr"].values[0], hr_values(320, 320))
    assert (sample.series["s2"].values == 1500).all()
    assert sample.series["s2"].valid.all()


def test_a_sensor_that_cannot_be_read_leaves_the_others(three) -> None:
    data = bytearray(three["s1"].read_bytes())
    data[-3000:] = bytes(3000)
    three["s1"].write_bytes(data)
    source = open_source(three, reads=READS)
    with source.open() as reader:
        sample = reader.read(Window(0, 0, 8, 8))
        assert list(sample.series) == ["hr", "s2"]
        assert "s1.tif" in reader.lost[0]
        with pytest.raises(UnreadableWindow, match="lies outside the scene"):
            reader.read(Window(30, 0, 8, 8))
    notes = probe(source, [Window(0, 0, 8, 8)])
    assert notes == ("s1: none of the 1 windows looked at shows an observed pixel of it",)


def test_the_middle_of_a_window_on_the_earth(three) -> None:
    source = open_source(three, reads=READS)
    (lon,), (lat,) = transform("EPSG:32632", "EPSG:4326", [600_040 + 190], [5_399_950 - 100])
    np.testing.assert_allclose(Positions(source.grid).centre(Window(0, 16, 32, 16)), (lon, lat), atol=1e-7)


def test_tiles_are_joined_before_they_are_resampled_and_in_parts_if_there_are_many_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = hr_values(800, 600).clip(1)
    hr_file(tmp_path / "a.tif", values[:, :, :300], west=600_020, px=0.2)
    hr_file(tmp_path / "b.tif", values[:, :, 300:], west=600_080, px=0.2)
    named = {"hr": [tmp_path / "a.tif", tmp_path / "b.tif"], "s2": s2_file(tmp_path / "s2.tif", s2_like(40, 40))}
    source = open_source(named, reads=READS)
    image = whole(source).series["hr"]
    assert image.valid[:, 1:-1, 1:-1].all()  # no seam
    monkeypatch.setattr("skysense.maps.sources.files._MOST_PIXELS", 20_000)
    again = whole(source).series["hr"]
    np.testing.assert_array_equal(again.values, image.values)
    np.testing.assert_array_equal(again.valid, image.valid)
