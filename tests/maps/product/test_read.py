"""Maps read back, and what is none refused."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product, open_product
from tests.maps.product.made import ROTATED, classes, features, write

LAYERS = [features("int8", 3), classes(per_cell=8)]
both = pytest.mark.parametrize("suffix", [".tif", ".zarr"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, np.ndarray]]]:
    folder = tmp_path_factory.mktemp("maps")
    outs = {suffix: folder / f"out{suffix}" for suffix in (".tif", ".zarr")}
    return {suffix: (out, write(out, LAYERS, (150, 131), (64, 96), ROTATED)) for suffix, out in outs.items()}


@both
def test_a_map_says_what_it_is(made: dict, suffix: str) -> None:
    with open_product(made[suffix][0]) as product:
        assert list(product.layers.values()) == LAYERS
        assert (product.grid.height, product.grid.width) == (150, 131) and product.grid.transform == ROTATED
        assert product.grid.crs.to_epsg() == 32632
        assert product.metadata["software"] == "skysense test" and len(product.metadata["run"]) == 64
        assert [product.levels(name) for name in product.layers] == [1, 3]
        pixels = product.pixels("classes", 2)
        assert (pixels.height, pixels.width) == (300, 262)
        np.testing.assert_allclose(pixels.transform[:6], [4.7, 1.7, 500_000, 1.7, -4.7, 5_000_000])


@both
def test_windows_may_hang_over_and_bands_be_chosen(made: dict, suffix: str) -> None:
    out, stored = made[suffix]
    whole = np.pad(stored["features"], ((0, 0), (40, 40), (40, 40)), constant_values=-128)
    scale, offset = np.array(LAYERS[0].scale), np.array(LAYERS[0].offset)
    with open_product(out) as product:
        for window in (Window(-7, -3, 20, 15), Window(140, 120, 30, 50), Window(31, 30, 3, 70), Window(-40, 160, 9, 9)):
            wanted = whole[:, window.row + 40 :, window.col + 40 :][:, : window.height, : window.width]
            wanted = np.pad(
                wanted,
                ((0, 0), (0, window.height - wanted.shape[1]), (0, window.width - wanted.shape[2])),
                constant_values=-128,
            )
            found = product.read("features", window, bands=[2, 0])
            np.testing.assert_array_equal(found, wanted[[2, 0]])
            assert found.dtype == np.int8
            values = np.where(wanted == -128, np.nan, wanted * scale[:, None, None] + offset[:, None, None])
            np.testing.assert_allclose(product.read_values("features", window), values)
            np.testing.assert_allclose(product.read_values("features", window, bands=[1]), values[1:2])


@both
def test_threads_read_the_same(made: dict, suffix: str) -> None:
    out, stored = made[suffix]
    windows = [Window(row, col, 50, 50) for row in range(0, 1200, 50) for col in range(0, 1000, 50)]
    with open_product(out) as product, ThreadPoolExecutor(8) as pool:
        for window, found in zip(windows, pool.map(lambda one: product.read("classes", one), windows), strict=True):
            np.testing.assert_array_equal(found, stored["classes"][:, *window.slices()])


def test_half_precision_stays_half(tmp_path: Path) -> None:
    stored = write(tmp_path / "out.tif", [features("float16")], (20, 20), (32, 32))
    with open_product(tmp_path / "out.tif") as product:
        found = product.read("features", Window(0, 0, 20, 20))
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, stored["features"])


def test_layers_beside_belong_to_the_same_run(made: dict, tmp_path: Path) -> None:
    out, _ = made[".tif"]
    with open_product(out.with_name("out_classes.tif")) as product:
        assert list(product.layers) == ["classes"]
    shutil.copy(out, tmp_path / "out.tif")
    with open_product(tmp_path / "out.tif") as product:
        assert list(product.layers) == ["features"]
    write(tmp_path / "other.tif", LAYERS, (20, 20), (32, 32))
    shutil.move(tmp_path / "other_classes.tif", tmp_path / "out_classes.tif")
    with open_product(tmp_path / "out.tif") as product:
        assert list(product.layers) == ["features"]


@both
def test_maps_of_version_1_knew_no_offset(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = replace(LAYERS[0], offset=None)
    said = {name: value for name, value in layer.to_json().items() if name != "offset"}
    monkeypatch.setattr(Layer, "to_json", lambda _: said)
    monkeypatch.setattr("skysense.maps.product.work.VERSION", 1)
    stored = write(tmp_path / f"out{suffix}", [layer], (40, 50), (32, 32))["features"]
    with open_product(tmp_path / f"out{suffix}") as product:
        assert product.metadata["version"] == 1 and "offset" not in product.metadata.get("layer", {})
        assert product.layers == {"features": layer}
        found = product.read_values("features", Window(0, 0, 40, 50))
    scale = np.array(layer.scale)[:, None, None]
    np.testing.assert_allclose(found, np.where(stored == -128, np.nan, stored * scale), rtol=1e-6)


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match):
        open_product(path)


def test_what_is_no_map_is_refused(made: dict, tmp_path: Path) -> None:
    refused(tmp_path / "none.tif", "is not there")
    (tmp_path / "text.tif").write_text("no TIFF")
    refused(tmp_path / "text.tif", r"text\.tif: could not be read")
    with rasterio.open(
        tmp_path / "plain.tif", "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8", crs="EPSG:32632",
        transform=ROTATED,
    ) as file:  # fmt: skip
        file.write(np.ones((1, 4, 4), np.uint8))
    refused(tmp_path / "plain.tif", r"plain\.tif: is no map of skysense\. Give a map that skysense embed")
    refused(tmp_path, "is a folder and no Zarr")
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    refused(tmp_path, "is no map of skysense")
    (tmp_path / "zarr.json").write_text('{"zarr_format"')
    refused(tmp_path, "is not valid JSON")


def test_what_another_program_cut_out_is_refused(made: dict, tmp_path: Path) -> None:
    """It says of itself what is no longer true."""
    from rasterio.shutil import copy

    copy(made[".tif"][0], tmp_path / "same.tif", driver="GTiff")
    open_product(tmp_path / "same.tif").close()
    with rasterio.open(made[".tif"][0]) as file:
        profile, tags = file.profile | {"height": 20, "width": 20}, file.tags()
    with rasterio.open(tmp_path / "part.tif", "w", **profile) as file:
        file.update_tags(**tags)
    refused(tmp_path / "part.tif", "was changed by another program")


def test_a_newer_map_and_damaged_metadata_are_refused(made: dict, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    shutil.copytree(made[".zarr"][0], out)
    group = json.loads((out / "zarr.json").read_text())
    for key, value, match in (
        ("version", 3, "newer release of skysense. Update"),
        ("grid", {"crs": "EPSG:32632"}, "metadata are damaged"),
        ("format", "other", "metadata are damaged"),
    ):
        changed = {**group, "attributes": {"skysense": {**group["attributes"]["skysense"], key: value}}}
        (out / "zarr.json").write_text(json.dumps(changed))
        refused(out, match)


@both
def test_what_is_damaged_is_named(made: dict, tmp_path: Path, suffix: str) -> None:
    source = made[suffix][0]
    if suffix == ".tif":
        content = bytearray(source.read_bytes())
        content[-3000:-100] = bytes(2900)
        (tmp_path / "out.tif").write_bytes(content)
    else:
        shutil.copytree(source, tmp_path / "out.zarr")
        (tmp_path / "out.zarr" / "features" / "0" / "features" / "c" / "0" / "4" / "1").unlink()
    with open_product(tmp_path / f"out{suffix}") as product, pytest.raises(InputError, match=r"out\.(tif|zarr)"):
        product.read("features", Window(0, 0, 150, 131))


@both
def test_questions_without_an_answer(made: dict, suffix: str) -> None:
    window = Window(0, 0, 4, 4)
    with open_product(made[suffix][0]) as product:
        asks: list[tuple[str, dict, str]] = [
            ("colour", {}, "has no layer 'colour'; it has features, classes"),
            ("features", {"level": 1}, r"has levels 0 \.\. 0 of features, not 1"),
            ("features", {"bands": [3]}, r"has bands 0 \.\. 2 of features"),
        ]
        for layer, more, match in asks:
            with pytest.raises(InputError, match=match):
                Product.read(product, layer, window, **more)
