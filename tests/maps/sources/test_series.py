"""A series kept as files: what is one frame, what is left out, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import calculate_default_transform

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.source import UnreadableWindow
from skysense.maps.sources.open import open_source
from skysense.sensors import SENTINEL2_L2A
from tests.maps.scenes import S2_GRID, hr_values, s1_values, write_scene
from tests.maps.sources.reading import READS, hr_file, read, s1_file, s2_file, s2_like, whole

UNIT = "reflectance*1e4"


def days(series) -> list[str]:
    return [str(day) for day in series.dates]


def test_a_folder_is_a_series_by_the_dates_of_names_and_tags(tmp_path: Path) -> None:
    folder = tmp_path / "s2"
    (folder / "2021-08-09").mkdir(parents=True)
    first, second, third = (s2_like(12, 16, seed) for seed in range(3))
    s2_file(folder / "S2A_MSIL2A_20220715T103031_N0400_R108_T32TQM_20230101T000000.tif", third)
    s2_file(folder / "b.TIF", first, date="2020-05-06")
    s2_file(folder / "2021-08-09" / "c.tif", second)
    (folder / ".b.tif").write_text("a hidden file is not looked at")
    source = open_source(folder, reads=READS)
    series = whole(pickle.loads(pickle.dumps(source))).series["s2"]
    assert days(series) == ["2020-05-06", "2021-08-09", "2022-07-15"]
    np.testing.assert_array_equal(series.values, np.stack([first, second, third]))
    assert source.notes == ("sentinel-2-l2a: 3 files, 3 dates, 2020-05-06 .. 2022-07-15",)
    about = source.about()["sensors"]["s2"]
    assert about["dates"] == days(series)
    assert {one["name"] for one in about["files"]} >= {"b.TIF", "2021-08-09/c.tif"}
    (folder / "b.TIF").touch()
    assert source.about() != {"name": "s2", "sensors": {"s2": about}}


def test_bands_in_files_of_their_own_with_20_m_bands_beside_10_m_ones(tmp_path: Path) -> None:
    fine, coarse = s2_like(8, 8), s2_like(4, 4, 1)
    for at, band in enumerate(SENTINEL2_L2A.bands):
        name = f"T32TQM_20220715T103031_{band[0]}{band[1:].zfill(2)}"
        if band in ("B2", "B3", "B4", "B8"):
            s2_file(tmp_path / f"{name}_10m.tif", fine[at : at + 1], bands=[None])
        s2_file(tmp_path / f"{name}_20m.tif", coarse[at : at + 1], px=20, bands=[None])
    s2_file(tmp_path / "T32TQM_20220715T103031_B09_60m.tif", coarse[:1], px=60, bands=[None])
    source = open_source(tmp_path, reads=READS)
    series = whole(source).series["s2"]
    assert (source.grid.height, source.grid.width, source.grid.transform.a) == (8, 8, 10)
    for at, band in enumerate(SENTINEL2_L2A.bands):
        expected = fine[at] if band in ("B2", "B3", "B4", "B8") else coarse[at].repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(series.values[0, at], expected, err_msg=band)
    assert "B5, B6, B7, B8A, B11, B12: each pixel stands for 2 x 2" in source.notes
    assert "T32TQM_20220715T103031_B04_20m.tif is not used: its bands are there in finer pixels" in source.notes
    assert any(note.startswith("1 files hold no band of sentinel-2-l2a") for note in source.notes)


def test_tiles_of_one_day_are_one_frame_the_first_name_on_top(tmp_path: Path) -> None:
    left, right = s2_like(8, 10), s2_like(8, 10, 1)
    left[:, 2, 7:] = 0
    s2_file(tmp_path / "a_20220715.tif", left, nodata=0)
    s2_file(tmp_path / "b_20220715.tif", right, west=600_050, nodata=0)
    series = read(tmp_path).series["s2"]
    assert series.values.shape == (1, 10, 8, 15)
    assert series.valid.all()
    expected = np.concatenate([left, right[:, :, 5:]], axis=2)
    expected[:, 2, 7:10] = right[:, 2, 2:5]
    np.testing.assert_array_equal(series.values[0], expected)


def test_tiles_of_another_zone_are_brought_onto_the_lattice_of_most(tmp_path: Path) -> None:
    for day in ("20220101", "20220201"):
        s2_file(tmp_path / f"{day}.tif", s2_like(40, 40))
    bounds = (600_000, 5_399_600, 600_400, 5_400_000)
    to, width, height = calculate_default_transform("EPSG:32632", "EPSG:32633", 40, 40, *bounds)
    flat = np.full((10, height, width), 1234, np.uint16)
    with rasterio.open(
        tmp_path / "20220301.tif", "w", driver="GTiff", count=10, dtype="uint16", height=height, width=width,
        crs="EPSG:32633", transform=to,
    ) as file:  # fmt: skip
        file.descriptions = SENTINEL2_L2A.bands
        file.update_tags(SKYSENSE_UNIT=UNIT)
        file.write(flat)
    source = open_source(tmp_path, reads=READS)
    assert source.grid.crs.to_epsg() == 32632
    with source.open() as reader:
        series = reader.read(source_window(source)).series["s2"]
    np.testing.assert_array_equal(series.values[:2], np.stack([s2_like(40, 40)[:, 12:28, 12:28]] * 2))
    assert (series.values[2] == 1234).all()
    assert series.valid.all()
    assert source.notes[1].startswith("interpolated from")


def source_window(source) -> Window:
    """16 cells that lie on what the first file covers."""
    col, row = source.grid.where(600_120, 5_399_880)
    return Window(round(row), round(col), 16, 16)


def test_a_series_needs_dates(tmp_path: Path) -> None:
    s1_file(tmp_path / "a.tif", s1_values(8, 8))
    s1_file(tmp_path / "b_20220102.tif", s1_values(8, 8))
    with pytest.raises(InputError, match=r"a\.tif: does not say when it was taken, and it is one of 2 files"):
        open_source(tmp_path, reads=READS)
    assert days(read(tmp_path, date="2022-01-03").series["s1"]) == ["2022-01-03"]
    pair = [tmp_path / "a.tif", s1_file(tmp_path / "c.tif", s1_values(8, 8))]
    with pytest.raises(InputError, match=r"a\.tif: does not say when"):
        open_source(pair, reads=READS)


def test_bands_without_a_date_may_be_one_frame(tmp_path: Path) -> None:
    values = s1_values(8, 8)
    tags = {"SKYSENSE_UNIT": "dB"}
    write_scene(tmp_path / "vv.tif", values[:1], names=["VV"], transform=S2_GRID, tags=tags)
    write_scene(tmp_path / "vh.tif", values[1:], names=["VH"], transform=S2_GRID, tags=tags)
    series = read(tmp_path).series["s1"]
    assert days(series) == ["NaT"]
    np.testing.assert_array_equal(series.values[0], values)


def test_a_day_that_lacks_a_band_is_left_out_and_said(tmp_path: Path) -> None:
    s2_file(tmp_path / "20220101.tif", s2_like(8, 8))
    s2_file(tmp_path / "20220201.tif", s2_like(8, 8)[:9], bands=SENTINEL2_L2A.bands[:9])
    source = open_source(tmp_path, reads=READS)
    assert days(whole(source).series["s2"]) == ["2022-01-01"]
    assert "2022-02-01 is left out: no file of it holds B12" in source.notes
    (tmp_path / "20220101.tif").unlink()
    with pytest.raises(InputError, match="are those of no known sensor"):
        open_source(tmp_path, reads=READS)
    s2_file(tmp_path / "20220201b.tif", s2_like(8, 8), bands=SENTINEL2_L2A.bands)
    with pytest.raises(InputError, match=r"holds B11, B2.* which another file of 2022-02-01 holds together with other"):
        open_source(tmp_path, reads=READS)


def test_frames_that_show_nothing_are_left_out(tmp_path: Path) -> None:
    empty = s1_values(8, 8)
    empty[:] = np.nan
    s1_file(tmp_path / "20220101.tif", s1_values(8, 8))
    s1_file(tmp_path / "20220201.tif", empty)
    s1_file(tmp_path / "20220301.tif", s1_values(8, 8), west=600_080)
    source = open_source(tmp_path, reads=READS)
    assert source.grid.width == 16
    with source.open() as reader:
        assert days(reader.read(Window(0, 0, 8, 8)).series["s1"]) == ["2022-01-01"]
        assert days(reader.read(Window(0, 8, 8, 8)).series["s1"]) == ["2022-03-01"]
        assert days(reader.read(Window(0, 4, 8, 8)).series["s1"]) == ["2022-01-01", "2022-03-01"]
        assert reader.pixels_not_finite == 64 + 32
        assert reader.lost == []


def test_a_broken_file_costs_its_frame_and_only_there(tmp_path: Path) -> None:
    for day in ("20220101", "20220201"):
        s1_file(tmp_path / f"{day}.tif", s1_values(256, 256))
    data = bytearray((tmp_path / "20220201.tif").read_bytes())
    with rasterio.open(tmp_path / "20220201.tif") as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    data[offset : offset + 400] = bytes(400)
    (tmp_path / "20220201.tif").write_bytes(data)
    source = open_source(tmp_path, reads=READS)
    with source.open() as reader:
        assert len(reader.read(Window(0, 0, 16, 16)).series["s1"].dates) == 2
        assert len(reader.read(Window(200, 200, 16, 16)).series["s1"].dates) == 1
        assert len(reader.lost) == 1
        assert "20220201.tif: rows 200.. columns 200.. cannot be read" in reader.lost[0]
    (tmp_path / "20220101.tif").unlink()
    with (
        open_source(tmp_path, reads=READS).open() as reader,
        pytest.raises(UnreadableWindow, match=r"20220201\.tif: rows 200"),
    ):
        reader.read(Window(200, 200, 16, 16))


def test_a_truncated_file_of_a_series_is_named(tmp_path: Path) -> None:
    s1_file(tmp_path / "20220101.tif", s1_values(64, 64))
    stump = s1_file(tmp_path / "20220201.tif", s1_values(64, 64)).read_bytes()[:100]
    (tmp_path / "20220201.tif").write_bytes(stump)
    with pytest.raises(InputError, match=r"20220201\.tif: is not a raster that can be read"):
        open_source(tmp_path, reads=READS)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="empty: holds no raster"):
        open_source(empty, reads=READS)


def test_a_limit_on_frames_is_filled_with_such_as_show_something(tmp_path: Path) -> None:
    for month in range(1, 10):
        values = s1_values(8, 8)
        if month in (1, 5, 9):  # where an even spread would look first
            values[:] = np.nan
        s1_file(tmp_path / f"2022{month:02d}01.tif", values)
    source = open_source(tmp_path, reads=READS, frames={"s1": 3})
    series = whole(source).series["s1"]
    assert days(series) == ["2022-02-01", "2022-06-01", "2022-08-01"]
    assert series.valid.all()
    assert source.about()["frames"] == {"s1": 3}
    assert len(read(tmp_path).series["s1"].dates) == 6


def test_images_of_several_days_are_one_image(tmp_path: Path) -> None:
    old, new = hr_values(64, 128).clip(1), hr_values(64, 64, 1).clip(1)
    hr_file(tmp_path / "20190101.tif", old, nodata=0)
    hr_file(tmp_path / "20210101.tif", new, nodata=0)
    series = read(tmp_path).series["hr"]
    assert days(series) == ["2019-01-01"]  # shows more of it
    np.testing.assert_array_equal(series.values[0], old)
    with open_source(tmp_path, reads=READS).open() as reader:
        part = reader.read(Window(0, 0, 2, 2)).series["hr"]
    assert days(part) == ["2021-01-01"]  # as much, and later
    np.testing.assert_array_equal(part.values[0], new)
