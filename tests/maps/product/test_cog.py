"""The GeoTIFF: every rule of Cloud-Optimized ones, and everything GDAL should know of a layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from skysense.maps.product.layer import Layer
from tests.maps.product.cog_rules import check, images
from tests.maps.product.made import NORTH_UP, ROTATED, classes, features, write


@pytest.mark.parametrize(
    ("stored", "bands", "size", "part"),
    [
        ("float32", 3, (150, 131), (64, 96)),
        ("float16", 5, (70, 45), (64, 32)),
        ("int8", 4, (64, 64), (32, 32)),
        ("uint8", 3, (33, 97), (64, 64)),
        ("float32", 1, (1, 1), (32, 32)),
        ("float32", 300, (40, 20), (32, 32)),
        ("int8", 1, (1030, 530), (512, 256)),
    ],
)
def test_rasterio_reads_what_was_written(
    tmp_path: Path, stored: str, bands: int, size: tuple[int, int], part: tuple[int, int]
) -> None:
    out, layer = tmp_path / "out.tif", features(stored, bands)
    made = write(out, [layer], size, part)["features"]
    check(out)
    with rasterio.open(out) as file:
        np.testing.assert_array_equal(file.read().astype(made.dtype), made)
        assert file.shape == size and file.crs.to_epsg() == 32632 and file.transform == NORTH_UP
        assert file.descriptions == layer.bands
        np.testing.assert_equal(file.nodata, layer.nodata)
        assert file.scales == (layer.scale or (1.0,) * bands)
        assert file.offsets == (layer.offset or (0.0,) * bands)
        assert file.block_shapes == [(32, 32)] * bands
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "16") == (stored == "float16")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.tif"]


def test_other_readers_find_the_numbers_in_their_unit(tmp_path: Path) -> None:
    tiler = pytest.importorskip("rio_tiler.io")
    layer = features("int8", 3)
    made = write(tmp_path / "out.tif", [layer], (70, 45), (64, 32))["features"]
    with tiler.Reader(str(tmp_path / "out.tif")) as reader:
        read = reader.read(unscale=True).array
    np.testing.assert_allclose(read.filled(np.nan), layer.decode(made), rtol=1e-6)


@pytest.mark.parametrize(
    "transform", [ROTATED, Affine(10, 0, 5e5, 0, 10, 5e6), Affine(1e-4, 0, 9, 0, -1e-4, 47), Affine(8, 1, 0, 2, -9, 0)]
)
def test_the_whole_affine_is_kept(tmp_path: Path, transform: Affine) -> None:
    write(tmp_path / "out.tif", [features()], (5, 7), (32, 32), transform)
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_allclose(file.transform[:6], transform[:6], rtol=1e-14)


def test_classes_have_a_colour_table_and_levels_that_every_reader_finds(tmp_path: Path) -> None:
    layer = classes(per_cell=8)
    made = write(tmp_path / "map.tif", [layer], (150, 131), (64, 96))["classes"]
    check(tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(), made)
        assert file.colorinterp == (ColorInterp.palette,)
        assert file.colormap(1)[1] == (0x10, 0x40, 0xFF, 255)
        assert file.overviews(1) == [2, 4] and file.transform.a == 1.25
        assert file.block_shapes == [(256, 256)]
    for level, shape in enumerate([(600, 524), (300, 262)]):
        with rasterio.open(tmp_path / "map.tif", overview_level=level) as file:
            assert file.shape == shape
            assert file.colormap(1)[2] == (0xC0, 0, 0, 255) and file.nodata == 255
            assert set(np.unique(file.read())) == {0, 1, 2, 255}


def test_a_picture_of_three_bands_is_red_green_blue(tmp_path: Path) -> None:
    layer = Layer("image", "image", ("red", "green", "blue"), "uint8", scale=(1.0,) * 3)
    write(tmp_path / "map.tif", [layer], (20, 20), (256, 256))
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def test_further_layers_lie_beside_the_first(tmp_path: Path) -> None:
    layers = [classes(), Layer("probability", "probability", ("a", "b"), "uint8", scale=(1 / 254,) * 2)]
    made = write(tmp_path / "map.tif", layers, (40, 50), (256, 256))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["map.tif", "map_probability.tif"]
    with rasterio.open(tmp_path / "map_probability.tif") as file:
        np.testing.assert_array_equal(file.read(), made["probability"])
        np.testing.assert_allclose(file.scales, 1 / 254, rtol=1e-15)


def test_what_hangs_over_the_border_is_no_data(tmp_path: Path) -> None:
    """Readers that decode tiles themselves must not see numbers there."""
    from skysense.maps.product.codec import decode_tile

    write(tmp_path / "out.tif", [features("int8", 2)], (33, 40), (64, 64))
    (image,) = images(tmp_path / "out.tif")
    content, offset, length = (tmp_path / "out.tif").read_bytes(), image.tags[324][3], image.tags[325][3]
    last = decode_tile(content[offset : offset + length], 2, 32, np.dtype("int8"))
    assert (last[:, 1:] == -128).all() and (last[:, :, 8:] == -128).all() and (last[:, :1, :8] != -128).any()
