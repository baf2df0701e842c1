"""From a scene to a raster of features."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio import warp

from skysense import __version__
from skysense.errors import ConfigError, InputError, OutputError, SkySenseError
from skysense.geo import Window, mercator_tile, region_cell
from skysense.maps.embed import embed
from skysense.maps.features import band_names
from skysense.maps.job import Settings
from skysense.maps.product.read import open_product
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.model.weights import weights_sha256
from skysense.observation import Sample, Series, collate
from skysense.sensors import OPTICAL_HR, SENTINEL2_10M, SENTINEL2_L2A, Sensor
from tests.maps.scenes import (
    HR_GRID,
    S2_GRID,
    hr_scene,
    hr_values,
    s1_scene,
    s1_values,
    s2_scene,
    s2_values,
    tiny,
    write_scene,
)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def metadata(path: Path) -> dict[str, Any]:
    with open_product(path) as product:
        return product.metadata


def side_weights(start: int, length: int, size: int, overlap: int) -> list[float]:
    weights = []
    for at in range(size):
        weight = 1.0
        if at < overlap and start > 0:
            weight *= 0.5 - 0.5 * np.cos(np.pi * (at + 0.5) / overlap)
        if at >= size - overlap and start + size < length:
            weight *= 0.5 - 0.5 * np.cos(np.pi * (size - at - 0.5) / overlap)
        weights.append(weight)
    return weights


def starts(length: int, size: int, overlap: int) -> list[int]:
    if length <= size:
        return [0]
    found = list(range(0, length - size + 1, size - overlap))
    return found if found[-1] + size == length else [*found, length - size]


def slow_blend(
    model: SkySense,
    sensor: Sensor,
    values: np.ndarray,
    seen: np.ndarray,
    *,
    size: int,
    overlap: int,
    slots=None,
    date="NaT",
) -> np.ndarray:
    """The documented formula, cell by cell, one window per forward."""
    px = 32 if sensor.modality == "hr" else 1
    cells = [-(-side // px) for side in seen.shape]
    width = model.cells_dim
    total, weight = np.zeros((width, *cells)), np.zeros(cells)
    for row in starts(cells[0], size, overlap):
        for col in starts(cells[1], size, overlap):
            image = np.zeros((1, len(values), size * px, size * px), values.dtype)
            valid = np.zeros((1, size * px, size * px), bool)
            part = (slice(row * px, (row + size) * px), slice(col * px, (col + size) * px))
            height, length = seen[part].shape
            image[0, :, :height, :length], valid[0, :height, :length] = values[:, *part], seen[part]
            series = Series(sensor, image, np.array([date], "datetime64[D]"), valid)
            region = None if slots is None else slots(row + size / 2, col + size / 2)
            with torch.inference_mode():
                features = model(collate([Sample("one", {sensor.modality: series}, region=region)]))
            cells_Dhw, occupied = features.cells_BDhw[0].numpy(), features.occupied_Bhw[0].numpy()
            down, across = side_weights(row, cells[0], size, overlap), side_weights(col, cells[1], size, overlap)
            for r in range(min(size, cells[0] - row)):
                for c in range(min(size, cells[1] - col)):
                    if occupied[r, c]:
                        total[:, row + r, col + c] += down[r] * across[c] * cells_Dhw[:, r, c]
                        weight[row + r, col + c] += down[r] * across[c]
    with np.errstate(invalid="ignore"):
        return total / weight


def assert_same_map(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_high_resolution_map_is_the_documented_blend(tmp_path: Path, model: SkySense, batch_size: int) -> None:
    values = hr_values(32 * 21 - 9, 32 * 18 - 20).clip(1)  # sides that are no multiple of 32
    values[:, 100:330, 200:420] = 0
    seen = (values != 0).any(axis=0)
    scene = write_scene(tmp_path / "scene.tif", values, names="RGB", nodata=0, tags={"SKYSENSE_DATE": "2023-07-01"})
    result = embed(
        model, scene, tmp_path / "out.tif", settings=Settings(window_cells=8, overlap_cells=3, batch_size=batch_size)
    )
    expected = slow_blend(model, OPTICAL_HR, values, seen, size=8, overlap=3, date="2023-07-01")
    found = read(result.path)
    assert found.shape == result.shape == (96, 21, 18)
    assert np.isnan(found[0]).sum() > 20
    assert result.observed == (~np.isnan(found[0])).sum()
    assert_same_map(found, expected)


def test_sentinel_2_map_is_the_documented_blend_across_two_regions(tmp_path: Path) -> None:
    x, y = 65_536.0 * 12, 65_536.0 * 60 - 3000  # on the border of two regions of the equal-area grid
    grid = Affine(10, 0, x - 120, 0, -10, y)
    values = s2_values(21, 26)
    names = SENTINEL2_L2A.bands
    scene = write_scene(tmp_path / "s.tif", values, names=names, crs="EPSG:6933", transform=grid)
    west, east = (region_cell(*lon_lat) for lon_lat in lon_lats([(x - 100, y - 100), (x + 100, y - 100)]))
    model = tiny((west, east, east + 5)).eval()
    result = embed(
        model,
        scene,
        tmp_path / "out.tif",
        unit="reflectance*1e4",
        date="2024-12-31",
        settings=Settings(window_cells=8, overlap_cells=2),
    )

    def slot(row: float, col: float) -> int:
        return 0 if x - 120 + 10 * col < x else 1

    seen = np.ones((21, 26), bool)
    expected = slow_blend(model, SENTINEL2_L2A, values, seen, size=8, overlap=2, slots=slot, date="2024-12-31")
    found = read(result.path)
    assert found.shape == (192, 21, 26)
    assert_same_map(found, expected)
    assert np.abs(found[96:]).max() > 0.01, "the context takes part"
    assert not any("geo-context" in note for note in result.notes)


@pytest.mark.parametrize("rule", ["equal_area", "web_mercator"])
def test_regions_are_looked_up_by_the_rule_of_the_model(tmp_path: Path, rule: str) -> None:
    """Tiles of a model that knows them by another rule are no regions of the scene."""
    scene = s2_scene(tmp_path / "s.tif", 8, 8)
    with rasterio.open(scene) as file:
        (lon,), (lat,) = warp.transform(file.crs, "EPSG:4326", [file.bounds.left + 40], [file.bounds.top - 40])
    model = tiny((mercator_tile(lon, lat), 2**30)).eval()
    model.config = replace(model.config, geo_context=replace(model.config.geo_context, region_rule=rule))
    result = embed(model, scene, tmp_path / "out.tif", settings=Settings(window_cells=8))
    assert np.abs(read(result.path)[96:]).max() > 0.01 if rule == "web_mercator" else not read(result.path)[96:].any()
    assert any("geo-context" in note for note in result.notes) == (rule == "equal_area")


def test_a_model_of_four_bands_takes_them_out_of_ten(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = preset("tiny")
    model = SkySense(
        replace(config, s2=replace(config.s2, in_channels=4)), pieces=["s2", "align_s2", "fusion", "dates"]
    )
    result = embed(
        model.eval(), s2_scene(tmp_path / "s.tif", 8, 8), tmp_path / "out.tif", settings=Settings(window_cells=8)
    )
    series = Series(
        SENTINEL2_10M, s2_values(8, 8)[None, [0, 1, 2, 6]], np.array(["NaT"], "datetime64[D]"), np.ones((1, 8, 8), bool)
    )
    with torch.inference_mode():
        expected = model(collate([Sample("one", {"s2": series})])).fused_BDhw[0].numpy()
    assert_same_map(read(result.path), expected)
    with pytest.raises(
        InputError,
        match=r"s1.tif: .*VV, VH\) are those of sentinel-1-grd; needed here are those of sentinel-2-l2a-10m: B2",
    ):
        embed(model, s1_scene(tmp_path / "s1.tif", s1_values(8, 8)), tmp_path / "no.tif")
    with pytest.raises(InputError, match=r"s1.tif: is sentinel-1-grd; this model reads s2"):
        embed(model, tmp_path / "s1.tif", tmp_path / "no.tif", sensor="sentinel-1-grd")


def test_windows_without_geo_context_and_simulated_scenes_are_said_aloud(tmp_path: Path) -> None:
    scene = s2_scene(tmp_path / "s.tif", 8, 12)
    with rasterio.open(scene, "r+") as file:
        file.update_tags(SKYSENSE_SIMULATED="yes")
    result = embed(tiny((1, 2)), scene, tmp_path / "out.tif", settings=Settings(window_cells=8))
    assert any("2 of 2 windows lie in regions whose prototypes" in note for note in result.notes)
    assert metadata(result.path)["source"]["simulated"] is True
    with rasterio.open(result.path) as file:
        assert file.descriptions[95:97] == ("fused 95", "context 0")


@pytest.mark.parametrize("kind", ["hr", "s2"])
def test_seams_are_no_steps(tmp_path: Path, model: SkySense, kind: str) -> None:
    scene = hr_scene(tmp_path / "a.tif", 32 * 72, 32 * 72) if kind == "hr" else s2_scene(tmp_path / "a.tif", 100, 100)
    result = embed(model, scene, tmp_path / "out.tif", quicklook=False)
    found, layout = read(result.path), Settings().layout(*result.shape[1:])
    steps = [np.linalg.norm(np.diff(found, axis=axis), axis=0) for axis in (1, 2)]
    across, elsewhere = [], []
    for step, starts_of in zip((steps[0], steps[1].T), (layout.rows, layout.cols), strict=True):
        seams = {start - 1 for start in starts_of[1:]} | {start + layout.size - 1 for start in starts_of[:-1]}
        across += [step[at] for at in sorted(seams)]
        elsewhere += [step[at] for at in range(len(step)) if at not in seams]
    assert np.median(across) <= 1.05 * np.median(elsewhere)


def lon_lats(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    from pyproj import Transformer

    to_degrees = Transformer.from_crs("EPSG:6933", "EPSG:4326", always_xy=True)
    return [to_degrees.transform(*point) for point in points]


def test_grid_is_that_of_the_scene_with_larger_pixels(tmp_path: Path, model: SkySense) -> None:
    result = embed(
        model, hr_scene(tmp_path / "hr.tif", 300, 270), tmp_path / "out.tif", settings=Settings(window_cells=8)
    )
    a, b, c, d, e, f = HR_GRID[:6]
    with rasterio.open(result.path) as file:
        assert file.crs.to_epsg() == 32632
        assert file.transform[:6] == (32 * a, 32 * b, c, 32 * d, 32 * e, f)
        assert (file.height, file.width, file.count) == (10, 9, 96)
        assert np.isnan(file.nodata)
    result = embed(
        model, s2_scene(tmp_path / "s2.tif", 17, 10), tmp_path / "out2.tif", settings=Settings(window_cells=8)
    )
    with rasterio.open(result.path) as file:
        assert file.transform == S2_GRID
        assert (file.height, file.width) == (17, 10)


def test_tags_tell_where_a_map_comes_from(tmp_path: Path, model: SkySense) -> None:
    result = embed(
        model, s1_scene(tmp_path / "s1.tif", s1_values(12, 12)), tmp_path / "out.tif", settings=Settings(window_cells=8)
    )
    found = metadata(result.path)
    assert found["software"] == f"skysense {__version__}"
    assert found["model"]["sha256"] == weights_sha256(model.state_dict())
    sensor = found["source"]["sensors"]["s1"]
    assert (sensor["sensor"], sensor["bands"], sensor["dates"]) == ("sentinel-1-grd", ["VV", "VH"], ["2024-07-14"])
    assert [file["name"] for file in sensor["files"]] == ["s1.tif"]
    assert (found["window_cells"], found["overlap_cells"], found["precision"]) == (8, 1, "float32")
    assert found["account"]["observed"] == 144
    assert result.sensors == ("sentinel-1-grd",)


def test_weights_have_one_hash(model: SkySense) -> None:
    other = copy.deepcopy(model)
    assert weights_sha256(other.state_dict()) == weights_sha256(model.state_dict())
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    assert weights_sha256(other.state_dict()) != weights_sha256(model.state_dict())
    assert len(weights_sha256(model.state_dict())) == 64


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_scene_smaller_than_one_window_and_its_picture(tmp_path: Path, model: SkySense) -> None:
    result = embed(model, hr_scene(tmp_path / "scene.tif", 100, 150), tmp_path / "out.tif")
    assert (result.windows, result.shape, result.observed) == (
        1,
        (96, 4, 5),
        15,
    )  # 4 px of a last row are not half of it
    assert np.isnan(read(result.path)[:, 3]).all()
    assert result.quicklook == tmp_path / "out.tif.png"
    with rasterio.open(result.quicklook) as picture:
        assert (picture.driver, picture.count, picture.height, picture.width) == ("PNG", 4, 4, 5)
        np.testing.assert_array_equal(picture.read(4), 255 * ~np.isnan(read(result.path)[0]))
        assert picture.read([1, 2, 3])[:, :3].std() > 10


def test_a_broken_tile_becomes_no_data_and_the_run_goes_on(tmp_path: Path, model: SkySense) -> None:
    scene = hr_scene(tmp_path / "scene.tif", 768, 768)
    intact = read(embed(model, scene, tmp_path / "intact.tif", settings=Settings(window_cells=8, overlap_cells=0)).path)
    with rasterio.open(scene) as file:  # tiles are 4 x 4 cells; this one lies in the middle window
        offset = int(file.get_tag_item("BLOCK_OFFSET_2_3", "TIFF", bidx=2))
    content = bytearray(scene.read_bytes())
    content[offset : offset + 400] = bytes(400)
    scene.write_bytes(content)
    result = embed(model, scene, tmp_path / "out.tif", settings=Settings(window_cells=8, overlap_cells=0))
    assert [skipped.window for skipped in result.skipped] == [Window(8, 8, 8, 8)]
    assert result.skipped[0].reason == "rows 256.. columns 256.. cannot be read"
    intact[:, 8:16, 8:16] = np.nan
    assert_same_map(read(result.path), intact)
    assert metadata(result.path)["account"]["skipped"] == [[8, 8, 8, "rows 256.. columns 256.. cannot be read"]]


def test_a_truncated_scene_gives_what_is_there(tmp_path: Path, model: SkySense) -> None:
    scene = hr_scene(tmp_path / "scene.tif", 768, 768)
    content = scene.read_bytes()
    scene.write_bytes(content[: len(content) * 6 // 10])
    result = embed(model, scene, tmp_path / "out.tif", settings=Settings(window_cells=8, overlap_cells=0))
    rows = {skipped.window.row for skipped in result.skipped}
    assert 0 < len(result.skipped) < 9
    assert max(rows) == 16
    assert result.observed == 64 * (9 - len(result.skipped))


def test_windows_outside_what_a_sensor_measures_are_skipped_with_the_reason(tmp_path: Path, model: SkySense) -> None:
    values = s1_values(24, 24)
    values[0, 20, 20] = 500
    result = embed(
        model,
        s1_scene(tmp_path / "s.tif", values),
        tmp_path / "out.tif",
        settings=Settings(window_cells=8, overlap_cells=0),
    )
    assert [skipped.window for skipped in result.skipped] == [Window(16, 16, 8, 8)]
    assert re.search(r"hold -\S+ \.\. 500; sentinel-1-grd lies within -100 \.\. 60 dB", result.skipped[0].reason)
    assert result.observed == 24 * 24 - 64


def test_windows_without_data_cost_nothing_and_pixels_that_are_not_finite_are_noted(tmp_path: Path) -> None:
    model = tiny().eval()
    rows: list[int] = []
    model.register_forward_pre_hook(lambda module, args: rows.append(args[0].size))
    values = s1_values(24, 24)
    values[:, 8:16, 8:16] = np.nan
    values[0, 0, 0] = np.inf
    result = embed(
        model,
        s1_scene(tmp_path / "s.tif", values),
        tmp_path / "out.tif",
        settings=Settings(window_cells=8, overlap_cells=0),
    )
    assert (result.windows, result.empty, sum(rows)) == (9, 1, 8)
    assert result.observed == 24 * 24 - 65
    assert result.notes[-1] == "65 pixels read in its windows hold NaN or infinite values and count as no-data"
    assert np.isnan(read(result.path)[:, 8:16, 8:16]).all()


def test_a_scene_whose_cells_are_all_mostly_empty(tmp_path: Path, model: SkySense) -> None:
    values = np.zeros((3, 300, 300), np.uint8)
    values[:, ::16] = 100
    scene = write_scene(tmp_path / "scene.tif", values, names="RGB", nodata=0)
    with pytest.raises(InputError, match=r"scene\.tif: no cell is at least half observed"):
        embed(model, scene, tmp_path / "out.tif")
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]


def test_existing_outputs_are_kept_unless_told(tmp_path: Path, model: SkySense) -> None:
    scene, out = s2_scene(tmp_path / "s2.tif", 8, 8), tmp_path / "out.tif"
    out.write_text("precious")
    with pytest.raises(OutputError, match=r"out\.tif: exists already\. Choose another name, or --overwrite"):
        embed(model, scene, out)
    assert out.read_text() == "precious"
    assert read(embed(model, scene, out, overwrite=True).path).shape == (96, 8, 8)
    out.unlink()
    with pytest.raises(OutputError, match=r"out\.tif\.png: exists already"):
        embed(model, scene, out)
    assert embed(model, scene, out, quicklook=False).quicklook is None


def test_a_geotiff_and_a_zarr_of_one_name_have_a_picture_each(tmp_path: Path, model: SkySense) -> None:
    scene = s2_scene(tmp_path / "s2.tif", 8, 8)
    pictures = [embed(model, scene, tmp_path / f"a{suffix}").quicklook for suffix in (".tif", ".zarr")]
    assert pictures == [tmp_path / "a.tif.png", tmp_path / "a.zarr.png"]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_a_run_that_is_killed_over_its_picture_goes_on(
    tmp_path: Path, model: SkySense, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map that has its name has its picture too."""
    scene, out = s2_scene(tmp_path / "s2.tif", 8, 8), tmp_path / "out.tif"
    whole = embed(model, scene, tmp_path / "whole.tif")
    with monkeypatch.context() as patch:
        patch.setattr("skysense.maps.embed.draw", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed(model, scene, out)
    assert not out.exists()
    monkeypatch.setattr("skysense.maps.making.compute", None)  # nothing is computed again
    result = embed(model, scene, out)
    assert (read(out) == read(whole.path)).all()
    assert result.quicklook.read_bytes() == whole.quicklook.read_bytes()  # type: ignore[union-attr]
    assert not list(tmp_path.glob(".*"))


def test_outputs_that_make_no_sense(tmp_path: Path, model: SkySense) -> None:
    scene = s2_scene(tmp_path / "s2.tif", 8, 8)
    before = scene.read_bytes()
    with pytest.raises(OutputError, match=r"s2\.tif: is the input .*s2\.tif or holds it"):
        embed(model, scene, tmp_path / "." / "s2.tif", overwrite=True)
    with pytest.raises(OutputError, match=r"out\.png: is neither a GeoTIFF nor a Zarr\. Call it \.tif or \.zarr"):
        embed(model, scene, tmp_path / "out.png")
    with pytest.raises(ConfigError, match="multiple of 4"):
        embed(model, scene, tmp_path / "out.tif", settings=Settings(window_cells=6))
    with pytest.raises(ConfigError, match="batch size 0"):
        embed(model, scene, tmp_path / "out.tif", settings=Settings(batch_size=0))
    assert scene.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["s2.tif"]


def test_a_run_that_is_stopped_leaves_its_work_and_the_model_as_it_was(tmp_path: Path) -> None:
    model = tiny().train()

    def stop(done: int, total: int, speed: str) -> None:
        assert not model.training
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(
            model,
            s2_scene(tmp_path / "s2.tif", 40, 40),
            tmp_path / "out.tif",
            settings=Settings(batch_size=2),
            progress=stop,
        )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".out.tif.work", "s2.tif"]
    assert model.training


def test_progress_counts_every_window_once(tmp_path: Path, model: SkySense) -> None:
    seen: list[tuple[int, int, str]] = []
    scene = s2_scene(tmp_path / "s2.tif", 40, 40)
    result = embed(
        model, scene, tmp_path / "out.tif", settings=Settings(batch_size=4), progress=lambda *at: seen.append(at)
    )
    assert [done for done, _, _ in seen] == [4, 8, 9]
    assert {total for _, total, _ in seen} == {result.windows} == {9}
    assert seen[-1][2].endswith(" km²/s")


def test_half_precision(tmp_path: Path, model: SkySense) -> None:
    scene = s2_scene(tmp_path / "s2.tif", 12, 12)
    full = read(embed(model, scene, tmp_path / "full.tif").path)
    half = read(embed(model, scene, tmp_path / "half.tif", precision="float16").path)
    np.testing.assert_array_equal(half, full.astype(np.float16).astype(np.float32))


def test_band_names_follow_the_model() -> None:
    assert band_names(tiny())[-1] == "fused 95"
    assert len(band_names(tiny((3, 4)))) == tiny((3, 4)).cells_dim == 192


def test_what_is_wrong_with_a_scene_is_said_before_anything_is_written(tmp_path: Path, model: SkySense) -> None:
    scene = s1_scene(tmp_path / "s1.tif", 10 ** (s1_values(16, 16) / 10))
    with pytest.raises(
        SkySenseError, match=r"s1\.tif: looks like linear power, not decibel\. Convert with 10 \* log10"
    ):
        embed(model, scene, tmp_path / "deep" / "out.tif")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    ("pattern", "unit", "shape", "words"),
    [
        ("flair/*/image.tif", None, (16, 16), "pixels are 0.2 m"),
        ("naip_series/naip_2010*.tif", None, (16, 16), "called NIR: it is not used as a mask"),
        ("bigearthnet/v2/*/s1.tif", "dB", (120, 120), "no date"),
        ("terramesh/433d_629l_3_1/s2l2a.tif", "reflectance*1e4", (224, 224), "+1000 offset"),
    ],
)
def test_real_scenes(
    kit: Path, tmp_path: Path, model: SkySense, pattern: str, unit: str, shape: tuple[int, int], words: str
) -> None:
    scene = sorted(kit.glob(pattern))[0]
    result = embed(model, scene, tmp_path / "out.tif", unit=unit)
    assert result.shape[1:] == shape
    assert result.observed == shape[0] * shape[1]
    assert any(words in note for note in result.notes), result.notes
    with rasterio.open(scene) as before, rasterio.open(result.path) as after:
        assert after.crs == before.crs
        np.testing.assert_allclose(after.bounds, before.bounds, rtol=1e-12)
        features = after.read()
    assert np.isfinite(features).all()
    assert features.std(axis=(1, 2)).min() > 0, "every feature tells places apart"
