"""What is opened as what."""

from __future__ import annotations

import math

import numpy as np
import pytest
import rasterio
from affine import Affine

from skysense.errors import InputError
from skysense.maps.grid import Grid
from skysense.maps.product.read import Product
from skysense.viewer.blocks import Blocks
from skysense.viewer.imagery import Imagery
from skysense.viewer.pictures import Painter
from skysense.viewer.shown import _zoom, describe, open_all
from tests.viewer.farm import DIMENSIONS, write_image, write_map


def test_maps_images_and_folders_are_told_apart(farm, series, tmp_path):
    plain = write_image(tmp_path / "plain.tif", np.ones((3, 16, 16), np.uint8))
    shown = open_all([farm, plain, series])
    assert [(one.number, one.name, type(one.raster)) for one in shown] == [
        (0, "plain.tif", Imagery), (1, "farm.tif", Product), (2, "days", Imagery),
    ]  # fmt: skip
    assert shown[1].features is not None and shown[0].features is None and shown[0].layer("features") is None


def test_layers_are_shown_once_however_often_their_files_are_named(farm, tmp_path):
    files = sorted(farm.parent.glob("farm*.tif"))
    assert len(files) == 4
    shown = open_all(files[::-1])
    assert [(one.name, list(one.raster.layers)) for one in shown] == [
        ("farm.tif", ["features", "classes", "probability", "uncertainty"])
    ]
    alone = open_all([farm.with_name("farm_classes.tif")])  # without the map it is a map itself
    assert [list(one.raster.layers) for one in alone] == [["classes"]]
    other = write_map(tmp_path / "farm.tif")  # a map of the same name elsewhere
    assert len(open_all([*files, other])) == 2


def test_maps_side_by_side_across_the_antimeridian(tmp_path):
    def image(left: float):
        grid = Grid(rasterio.CRS.from_epsg(4326), Affine(0.01, 0, left, 0, -0.01, -16), 20, 20)
        return write_image(tmp_path / f"{left}.tif", np.ones((3, 20, 20), np.uint8), grid)

    about = describe(open_all([image(179.7), image(-179.8), image(179.9)]), Painter(Blocks()))
    assert about["bounds"] == pytest.approx([179.7, -16.2, 180.4, -16])
    assert [item["bounds"][0] for item in about["items"]] == pytest.approx([179.7, 180.2, 179.9])
    zooms = [item["layers"][0]["zoom"] for item in about["items"]]
    assert zooms == [zooms[0]] * 3


def test_what_the_page_has_no_place_for_is_told(tmp_path):
    def image(side: float):
        grid = Grid(rasterio.CRS.from_epsg(3413), Affine(side, 0, -10 * side, 0, -side, 10 * side), 20, 20)
        return write_image(tmp_path / f"{side}.tif", np.ones((3, 20, 20), np.uint8), grid)

    with pytest.raises(InputError, match=r"beyond 85 degrees .* \(Web Mercator\)"):
        open_all([image(1000)])
    about = describe(open_all([image(100_000)]), Painter(Blocks()))
    assert about["bounds"] == pytest.approx([-180, 77, 180, 85.0511], abs=0.1)
    beyond = rasterio.CRS.from_proj4("+proj=geos +h=35785831")
    nowhere = Grid(beyond, Affine(1000, 0, 8e6, 0, -1000, 8e6), 20, 20)
    with pytest.raises(InputError, match="lies nowhere on the Earth"):
        open_all([write_image(tmp_path / "nowhere.tif", np.ones((3, 20, 20), np.uint8), nowhere)])


@pytest.mark.parametrize("stored", ["int8", "float16", "float32"])
def test_a_zarr_is_shown_as_the_same_map(tmp_path, farm, stored):
    pytest.importorskip("tensorstore")
    zarr = open_all([write_map(tmp_path / "farm.zarr", stored)])
    about, plain = describe(zarr, Painter(Blocks())), describe(open_all([farm]), Painter(Blocks()))
    assert about["items"][0]["layers"][0]["bands"] == DIMENSIONS
    assert about | {"items": [about["items"][0] | {"name": "farm.tif"}]} == plain


def test_nothing_and_something_foreign_are_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to show"):
        open_all([])
    (tmp_path / "a.tif").write_text("no raster")
    with pytest.raises(InputError, match="not a raster"):
        open_all([tmp_path / "a.tif"])
    with pytest.raises(InputError, match="does not exist"):
        open_all([tmp_path / "b.tif"])
    with pytest.raises(InputError, match="is not there"):
        open_all([tmp_path / "b.zarr"])


@pytest.mark.parametrize(("shape", "crs"), [((10, 400), 32632), ((400, 10), 32632), ((400, 10), 2193)])
def test_zoom_is_that_of_a_pixel_whatever_the_shape(shape, crs):
    origin = {32632: (500_000, 5_540_000), 2193: (1_600_000, 5_540_000)}[crs]  # both at a latitude of about 50, 40
    found = _zoom(Grid(rasterio.CRS.from_epsg(crs), Affine(10, 0, origin[0], 0, -10, origin[1]), *shape))
    latitude = {32632: 50.0, 2193: -40.3}[crs]
    wanted = math.log2(2 * math.pi * 6_378_137 / 256 / (10 / math.cos(math.radians(latitude))))
    assert found == pytest.approx(wanted, abs=0.02)


def test_a_crs_without_a_number_is_called_by_its_name(tmp_path):
    local = rasterio.CRS.from_wkt(
        'PROJCS["Our valley",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
        'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
        'PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",9.37],PARAMETER["scale_factor",1],'
        'PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1]]'
    )
    grid = Grid(local, Affine(10, 0, 0, 0, -10, 5_500_000), 16, 16)
    shown = open_all([write_image(tmp_path / "valley.tif", np.ones((3, 16, 16), np.uint8), grid)])
    assert describe(shown, Painter(Blocks()))["items"][0]["crs"] == "Our valley"
