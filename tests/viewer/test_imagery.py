"""Plain images: colours by name, what was observed, days, series."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp, Resampling

from skysense.errors import InputError
from skysense.geo import Window
from skysense.viewer.imagery import Imagery, group, open_folder, open_frame
from tests.viewer.farm import DAYS, GRID, HEIGHT, WIDTH, write_image

CORNER = Window(0, 0, 4, 4)


def test_a_folder_is_a_series_in_the_order_of_its_days(series):
    found = open_folder(series)
    assert [frame.title for frame in found.frames] == list(DAYS)
    levels = [found.read(str(at), CORNER)[:, 0, 0].tolist() for at in range(3)]
    assert levels == [[40, 40, 40, 1], [100, 100, 100, 1], [160, 160, 160, 1]]
    low, high = found.stretch
    assert low.ravel().tolist() == [40] * 3 and high.ravel().tolist() == [190] * 3  # of all days together


def test_natural_colours_go_by_name_and_infrared_marked_as_alpha_is_no_mask(tmp_path):
    values = np.zeros((4, HEIGHT, WIDTH), np.uint8)
    values[:] = np.array([[0], [30], [20], [10]])[..., None]
    path = write_image(tmp_path / "a.tif", values, names=("NIR", "B", "G", "R"))
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.alpha, ColorInterp.undefined, ColorInterp.undefined, ColorInterp.undefined]
    frame = open_frame(path)
    assert frame.indexes == (4, 3, 2) and frame.alpha is None
    assert frame.read(CORNER)[:, 0, 0].tolist() == [10, 20, 30, 1]


def test_no_data_is_not_observed(tmp_path):
    values = np.full((1, 100, 100), 7.0, np.float32)
    values[0, 0, :2] = np.nan, -9999
    frame = open_frame(write_image(tmp_path / "a.tif", values, nodata=-9999.0))
    assert frame.read(CORNER)[-1, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("inside", [True, False])
def test_a_mask_in_the_file_or_beside_it_says_what_was_observed(tmp_path, inside):
    path = write_image(tmp_path / "a.tif", np.full((3, HEIGHT, WIDTH), 7, np.uint8))
    seen = np.full((HEIGHT, WIDTH), 255, np.uint8)
    seen[:2, :2] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(seen)
    assert (tmp_path / "a.tif.msk").exists() is not inside
    frame = open_frame(path)
    assert frame.read(CORNER)[-1].tolist() == [[0, 0, 1, 1]] * 2 + [[1, 1, 1, 1]] * 2
    assert frame.read(Window(0, 0, 4, 4), 1)[-1, 0].tolist() == [0, 1, 1, 1]


def test_levels_halve_and_average(tmp_path):
    values = np.tile(np.array([[0, 100], [100, 200]], np.uint8), (700, 600))[None]
    frame = open_frame(write_image(tmp_path / "a.tif", values))
    assert frame.levels == 3 and frame.level(1).width == 600
    assert (frame.read(Window(0, 0, 5, 5), 1)[0] == 100).all()
    assert frame.read(Window(0, 0, frame.level(2).height, frame.level(2).width), 2).shape == (2, 350, 300)


@pytest.mark.parametrize(
    ("name", "day"), [("s2_2020-02-29", "2020-02-29"), ("x20210315T10", "2021-03-15"), ("2021-13-01", ""), ("a", "")]
)
def test_days_from_names(tmp_path, name, day):
    assert open_frame(write_image(tmp_path / f"{name}.tif", np.ones((1, 8, 8), np.uint8))).day == day


def test_images_are_a_series_only_with_days_that_differ(tmp_path):
    names = ("farm_20200101", "farm_20200102", "farm")
    one, two, none = (open_frame(write_image(tmp_path / f"{n}.tif", np.ones((1, 8, 8), np.uint8))) for n in names)
    assert [(made.name, len(made.frames)) for made in group([two, one])] == [("farm", 2)]
    assert [len(made.frames) for made in group([one, none])] == [1, 1]
    assert [len(made.frames) for made in group([one, one])] == [1, 1]


def test_what_has_no_place_or_no_pixel_is_refused_in_words(tmp_path):
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=1, height=8, width=8, dtype="uint8") as dataset:
        dataset.write(np.ones((1, 8, 8), np.uint8))
    with pytest.raises(InputError, match="no CRS or no geotransform"):
        open_frame(tmp_path / "a.tif")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no GeoTIFF"):
        open_folder(tmp_path / "empty")
    blank = write_image(tmp_path / "b.tif", np.zeros((1, 8, 8), np.uint8), nodata=0)
    with pytest.raises(InputError, match="no observed pixel"):
        _ = Imagery(blank, [open_frame(blank)], "blank").stretch


def test_a_file_cut_off_is_told(tmp_path):
    path = write_image(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 255, (3, 400, 400)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:100_000])
    frame = open_frame(path)
    with pytest.raises(InputError, match="cannot be read"):
        frame.read(Window(0, 0, 400, 400))
    assert GRID.crs == frame.grid.crs


def test_colours_of_a_large_image_without_overviews_come_from_some_places(tmp_path):
    values = np.full((1, 2304, 2304), 50, np.uint8)
    values[0, ::2] = 150
    frame = open_frame(write_image(tmp_path / "a.tif", values, tiled=True, blockxsize=256, blockysize=256))
    assert frame.levels == 4 and not frame.overviews
    assert frame.sample().shape[1] == 16 * 128**2 and set(np.unique(frame.sample())) == {50, 150}
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.build_overviews([2, 4, 8], Resampling.average)
    again = open_frame(tmp_path / "a.tif")
    assert again.overviews and again.sample().shape[1] == 288**2
