"""DynamicEarthNet: land cover from Planet and Sentinel, and its change."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform as reproject

from skysense.data.labelled.dataset import LabelledData
from skysense.datasets import catalogue, check
from skysense.datasets.card import card
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.datasets.dynamicearthnet_files import AREAS
from skysense.errors import InputError
from tests.datasets.fakes.dynamicearthnet import CLASSES, PIXEL, write
from tests.datasets.fakes.smooth import smooth, write_tiff
from tests.datasets.truth import Truth

SIZE = 96
FIRST = "1311_3077_13_10N"
S2_FILE = "sentinel2/1311_3077_13/1311_3077_13_2018_01.tif"
S1_FILE = "sentinel1/1311_3077_13/1311_3077_13_2018_01.tif"
PLANET_FILE = "planet/10N/23E-188N/1311_3077_13/PF-SR/2018-01-01.tif"
LABEL_FILE = f"labels/{FIRST}/Labels/Raster/10N-122W-40N-L3H-SR/10N-122W-40N-L3H-SR-2018_01_01.tif"
READ_OF_S2 = [0, 1, 2, 4, 5, 6, 3, 7, 8, 9]
"""Of the twelve bands of a file those of the model, as specification 3.1 reorders them."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    root = tmp_path_factory.mktemp("dynamicearthnet")
    return root, write(root, size=SIZE)


@pytest.fixture
def own(copy: tuple[Path, Truth], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(copy[0], tmp_path / "copy"))


def opened(kind: str, root: Path, **options) -> LabelledData:
    return open_dataset(f"dynamicearthnet-{kind}", root, **options)


def index(data: LabelledData, name: str) -> int:
    return [item.name for item in data.items].index(name)


def learned(label_HW: NDArray) -> NDArray:
    """Snow and ice is not."""
    return np.where(label_HW == 6, 255, label_HW)


def blocks(values_CHW: NDArray, side: int = 32) -> NDArray:
    bands, height, width = values_CHW.shape
    return values_CHW.astype(float).reshape(bands, height // side, side, width // side, side).mean((2, 4))


def test_the_split_is_whole() -> None:
    areas = [area for each in AREAS.values() for area in each]
    assert {split: len(each) for split, each in AREAS.items()} == {"train": 55, "val": 10, "test": 10}
    assert len(set(areas)) == 75
    assert card("dynamicearthnet-planet").amounts == {split: 24 * len(each) for split, each in AREAS.items()}
    assert card("dynamicearthnet-change").amounts == {split: 23 * len(each) for split, each in AREAS.items()}


def test_planet_and_its_labels(copy: tuple[Path, Truth]) -> None:
    root, truth = copy
    data = opened("planet", root)
    assert (data.task, data.classes) == ("segmentation", CLASSES[:6])
    assert {item.name: item.split for item in data.items} == truth.splits
    for item in data.items:
        example = data.read_item(item)
        series = example.sample.series["hr"]
        assert series.dates[0] == np.datetime64(f"{item.name[-7:]}-01")
        rgb_CHW = truth.pixels[item.name]["planet"][0, [2, 1, 0]]
        wanted_CHW = (rgb_CHW / 3000 * 255).clip(0, 255)
        np.testing.assert_allclose(series.values[0, :, :SIZE, :SIZE], wanted_CHW, atol=0.5001)
        np.testing.assert_array_equal(example.target[:SIZE, :SIZE], learned(truth.labels[item.name]))
        assert (example.size, example.per_cell, example.grid) == ((SIZE, SIZE), 32, (128, 128))
        assert (example.target[SIZE:] == 255).all() and not series.valid[:, SIZE:].any()
    assert any((label_HW == 6).any() for label_HW in truth.labels.values())
    with rasterio.open(root / PLANET_FILE) as file:
        left, bottom, right, top = file.bounds
        (lon,), (lat,) = reproject(file.crs, "EPSG:4326", [(left + right) / 2], [(bottom + top) / 2])
    np.testing.assert_allclose((data.items[0].lon, data.items[0].lat), (lon, lat), atol=1e-9)
    ground = data.read(0).sample.footprint
    assert ground.bounds == (left, top - 128 * PIXEL, left + 128 * PIXEL, top)  # with padding


def test_sentinel_is_averaged_over_cells(copy: tuple[Path, Truth]) -> None:
    root, truth = copy
    data = opened("mm", root)
    assert len(data) == len(truth.labels)
    for item in data.items:
        series, stored = data.read_item(item).sample.series, truth.pixels[item.name]
        assert set(series) == {"hr"} | {
            key for key, archive in (("s2", 2), ("s1", 1)) if f"sentinel{archive}" in stored
        }
        if "s2" in series:
            wanted_Chw = blocks(stored["sentinel2"][READ_OF_S2])
            np.testing.assert_allclose(series["s2"].values[0, :, :3, :3], wanted_Chw, rtol=1e-6)
            assert series["s2"].valid[0, :3, :3].all() and not series["s2"].valid[0, 3].any()
        if "s1" in series:
            power_Chw = blocks(10 ** (stored["sentinel1"][:2].astype(float) / 10))
            np.testing.assert_allclose(series["s1"].values[0, :, :3, :3], 10 * np.log10(power_Chw), rtol=1e-5)
    assert {"1 of 21 months have no image of sentinel2", "1 of 21 months have no image of sentinel1"} <= set(data.notes)


def test_months_without_sentinel2_are_left_out_and_counted(copy: tuple[Path, Truth]) -> None:
    root, truth = copy
    data = opened("s2", root)
    with_it = {name for name, stored in truth.pixels.items() if "sentinel2" in stored}
    assert {item.name for item in data.items} == with_it and len(with_it) == len(truth.pixels) - 1
    assert "labelled months without an image of sentinel2 are left out: 1 for train" in data.notes
    assert data.left_out == {"train": 1}
    example = data.read(0)
    assert (example.per_cell, example.size, set(example.sample.series)) == (1, (SIZE, SIZE), {"s2"})
    stored = truth.pixels[data.items[0].name]["sentinel2"][READ_OF_S2]
    np.testing.assert_array_equal(example.sample.series["s2"].values[0, :, :SIZE, :SIZE], stored)  # on one grid here


@pytest.mark.parametrize(("kind", "amounts"), [("s2", (12, 3, 6)), ("change", (8, 2, 4))])
def test_what_every_copy_lacks_is_not_missing(
    copy: tuple[Path, Truth], kind: str, amounts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A published number counts months that have labels and no image of Sentinel-2."""
    by_split = dict(zip(("train", "val", "test"), amounts, strict=True))
    for module in (catalogue, check):
        monkeypatch.setattr(module, "card", lambda name: replace(card(name), amounts=by_split))
    name = f"dynamicearthnet-{kind}"
    found = {one.about: one for one in check_dataset(name, copy[0])}
    assert {found[f"images for {split}"].state for split in by_split} == {"good"}
    lacking = 1 if kind == "s2" else 2
    says = f"{amounts[0] - lacking} of {amounts[0]}, {lacking} are left out"
    assert found["images for train"].says == says
    assert not any("cannot be compared" in note for note in open_dataset(name, copy[0]).notes)
    by_split["val"] += 1
    assert {one.about: one.state for one in check_dataset(name, copy[0])}["images for val"] == "bad"
    assert any("cannot be compared" in note for note in open_dataset(name, copy[0]).notes)


@pytest.mark.parametrize(("sensor", "pairs"), [(None, 12), ("sentinel-2-l2a", 12), ("optical-hr", 14)])
def test_change_between_one_month_and_the_next(copy: tuple[Path, Truth], sensor: str | None, pairs: int) -> None:
    root, truth = copy
    data = opened("change", root, sensor=sensor)
    assert (data.task, len(data)) == ("semantic-change", pairs)
    key = "hr" if sensor == "optical-hr" else "s2"
    for item in data.items:
        first, second = item.name.split("..")
        earlier, later = truth.labels[first], truth.labels[f"{item.group}/{second}"]
        example = data.read_item(item)
        target, part = example.target, (slice(SIZE), slice(SIZE))
        np.testing.assert_array_equal(target.before_HW[part], learned(earlier))
        np.testing.assert_array_equal(target.after_HW[part], learned(later))
        known = (learned(earlier) < 255) & (learned(later) < 255)
        np.testing.assert_array_equal(target.changed_HW[part][known], (earlier != later)[known])
        assert (target.changed_HW[part][~known] == 255).all() and not known.all()
        days = [sample.series[key].dates[0] for sample in (example.sample, example.after)]
        assert days == [np.datetime64(f"{first[-7:]}-01"), np.datetime64(f"{second}-01")]
    assert any("pairs of months" in note for note in data.notes) == (key == "s2")


def test_parts_are_crops_of_the_whole(copy: tuple[Path, Truth]) -> None:
    whole, tiles = opened("mm", copy[0]), opened("mm", copy[0], tile=64)
    assert len(tiles) == 4 * len(whole)
    everything = whole.read(index(whole, f"{FIRST}/2018-01"))
    for row, col in ((0, 0), (0, 64), (64, 64)):
        part = tiles.read(index(tiles, f"{FIRST}/2018-01@{row},{col}"))
        rows, cols = (slice(start, min(start + 64, SIZE)) for start in (row, col))
        size = (rows.stop - row, cols.stop - col)
        assert part.size == size and tiles.items[index(tiles, part.name)].group == FIRST
        np.testing.assert_array_equal(part.target[: size[0], : size[1]], everything.target[rows, cols])
        for key, series in part.sample.series.items():
            step = 1 if key == "hr" else 32
            high, wide = size[0] // step, size[1] // step
            there = (slice(row // step, rows.stop // step), slice(col // step, cols.stop // step))
            np.testing.assert_allclose(
                series.values[..., :high, :wide], everything.sample.series[key].values[(..., *there)], rtol=1e-6
            )
    here, corner = whole.items[0], tiles.items[0]
    assert corner.lon < here.lon and corner.lat > here.lat


@pytest.mark.parametrize("knobs", [{"nested": True}, {"lists": "csv"}, {"lists": None}])
def test_other_ways_to_unpack(copy: tuple[Path, Truth], tmp_path: Path, knobs: dict) -> None:
    truth = write(tmp_path / "x" / "y", size=32, months=2, **knobs)
    for kind in ("mm", "change"):
        data = opened(kind, tmp_path / "x")
        assert {item.name.split("..")[0] for item in data.items} <= set(truth.labels)
    mm = opened("mm", tmp_path / "x")
    assert {item.name for item in mm.items} == set(truth.labels)
    assert all(mm.read(place).target[:32, :32].tolist() == learned(truth.labels[one.name]).tolist()
               for place, one in enumerate(mm.items))  # fmt: skip


def at(root: Path, pixel: float, west: float = 0.0, north: float = 0.0) -> tuple[str, Affine]:
    """CRS and grid of another resolution that begins so many metres west and north of the labels."""
    with rasterio.open(root / LABEL_FILE) as file:
        left, top = file.transform.c, file.transform.f
        return file.crs.to_string(), Affine(pixel, 0, left - west, 0, -pixel, top + north)


def test_sentinel_on_a_grid_of_its_own(own: Path) -> None:
    """Pixels of 10 m count by the share of them that lies on a cell of 96 m."""
    crs, grid = at(own, 10, west=13, north=4)
    values = smooth(np.random.default_rng(1), (12, 31, 32), 200, 4000, np.uint16)
    write_tiff(own / S2_FILE, values, crs, grid)
    series = opened("mm", own).read(0).sample.series["s2"]
    metres = np.kron(values[READ_OF_S2], np.ones((1, 10, 10)))[:, 4:, 13:]
    cell = round(32 * PIXEL)
    np.testing.assert_allclose(series.values[0, :, :3, :3], blocks(metres[:, : 3 * cell, : 3 * cell], cell), rtol=1e-6)
    alone = opened("s2", own).read(0).sample.series["s2"].values[0, :, :SIZE, :SIZE]
    centres = ((np.arange(SIZE) + 0.5) * PIXEL).astype(int)
    np.testing.assert_array_equal(alone, metres[:, centres][:, :, centres])


def test_sentinel2_alone_is_not_seen_beyond_its_image(own: Path) -> None:
    crs, grid = at(own, 10, west=0, north=0)
    write_tiff(own / S2_FILE, np.full((12, 24, 14), 900, np.uint16), crs, grid)  # 240 m by 140 m
    series = opened("s2", own).read(0).sample.series["s2"]
    seen = (np.arange(SIZE) + 0.5) * PIXEL
    np.testing.assert_array_equal(series.valid[0, :SIZE, :SIZE], (seen < 240)[:, None] & (seen < 140))


def test_cells_that_sentinel_does_not_reach_are_not_valid(own: Path) -> None:
    crs, grid = at(own, 10, west=0, north=0)
    values = np.full((8, 24, 14), -10, np.float32)  # 240 m by 140 m: half of the last row of cells, half a column
    values[:, 0, 0] = np.nan
    write_tiff(own / S1_FILE, values, crs, grid)
    series = opened("mm", own).read(0).sample.series["s1"]
    np.testing.assert_array_equal(series.valid[0, :3, :3], [[1, 0, 0], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(series.values[0][:, series.valid[0]], -10, rtol=1e-6)


def test_names_of_bands_in_a_file_are_believed(own: Path) -> None:
    with rasterio.open(own / S2_FILE, "r+") as file:
        file.descriptions = [f"B{k:02d}" for k in range(1, 9)] + ["B8A", "B09", "B11", "B12"]
        stored = file.read()
    values = opened("mm", own).read(0).sample.series["s2"].values
    np.testing.assert_allclose(values[0, :, :3, :3], blocks(stored[[1, 2, 3, 4, 5, 6, 7, 8, 10, 11]]), rtol=1e-6)


def test_a_part_is_opened_and_said_to_be_one(copy: tuple[Path, Truth], own: Path) -> None:
    shutil.rmtree(own / "planet/17N")
    (own / S1_FILE).unlink()
    data = opened("planet", own)
    assert "1 areas without images of Planet are left out, first 2196_3885_13" in data.notes
    assert "51 of 55 areas for train have no labels here" in data.notes
    found = check_dataset("dynamicearthnet-planet", own)
    states = {one.about: one.state for one in found}
    assert states["layout"] == states["read"] == states["classes"] == "good"
    assert {states[f"images for {split}"] for split in ("train", "val", "test")} == {"bad"}


def test_readers_can_be_copied_and_options_are_checked(copy: tuple[Path, Truth]) -> None:
    data = pickle.loads(pickle.dumps(opened("mm", copy[0])))
    assert data.read(0).name == f"{FIRST}/2018-01"
    with pytest.raises(InputError, match="sensor 'landsat' cannot be read here; known are optical-hr, sentinel-2-l2a"):
        opened("change", copy[0], sensor="landsat")
    with pytest.raises(InputError, match="no option share"):
        opened("planet", copy[0], share=0.5)


def rewritten(file: str, change: Callable[[NDArray], NDArray], root: Path, **profile) -> None:
    with rasterio.open(root / file) as source:
        values, crs, grid = source.read(), source.crs.to_string(), source.transform
    write_tiff(root / file, change(values), profile.get("crs", crs), profile.get("grid", grid))


def cut_short(file: str, root: Path) -> None:
    whole = (root / file).read_bytes()
    (root / file).write_bytes(whole[: len(whole) // 2])


def moved(old: str, new: str, root: Path) -> None:
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(root / old, root / new)


def packed(archive: str, root: Path) -> None:
    shutil.rmtree(root / archive)
    (root / f"{archive}.zip").write_bytes(b"PK")


@pytest.mark.parametrize(
    ("kind", "spoil", "says"),
    [
        ("planet", partial(packed, "labels"), "labels missing; it holds labels.zip, still to be unpacked"),
        ("planet", partial(packed, "planet"), "no image of Planet .*; it holds planet.zip, still to be unpacked"),
        ("s2", partial(packed, "sentinel2"), "no image of sentinel2 .*; it holds sentinel2.zip, still"),
        ("planet", lambda root: (root / PLANET_FILE).unlink(), "1 of 3 images of Planet of 1311_3077_13 are missing"),
        ("s2", lambda root: (root / LABEL_FILE).unlink(), "labels of 2 of 3 months; 2018-01 is missing"),
        ("s2", partial(moved, f"labels/{FIRST}", "labels/9999_9999_13_10N"), "9999_9999_13, which is none of the"),
        ("planet", partial(moved, "dynnet_training_splits/val.txt", "split.json"), "JPEG copy of SitsSCD"),
        ("s2", partial(moved, S2_FILE, "sentinel2/again/1330_3107_13_2018-01.tif"), "are both of 2018-01"),
    ],
)
def test_folders_that_are_no_copy(own: Path, kind: str, spoil: Callable[[Path], object], says: str) -> None:
    spoil(own)
    with pytest.raises(InputError, match=says):
        opened(kind, own)


def test_the_early_release_is_another_product(own: Path) -> None:
    for folder in [*own.rglob("PF-SR")]:
        folder.rename(folder.with_name("L3H-SR"))
    with pytest.raises(InputError, match="early release of EarthVision 2021"):
        opened("planet", own)


@pytest.mark.parametrize(
    ("kind", "spoil", "says"),
    [
        ("planet", partial(cut_short, PLANET_FILE), "2018-01-01.tif: is truncated or damaged"),
        ("planet", partial(cut_short, LABEL_FILE), "2018_01_01.tif: is truncated or damaged"),
        ("s2", partial(cut_short, S2_FILE), "2018_01.tif: is truncated or damaged"),
        ("planet", partial(rewritten, PLANET_FILE, lambda v: (v / 20).clip(0).astype(np.uint8)), "holds uint8"),
        ("planet", partial(rewritten, PLANET_FILE, lambda v: (v / 1e4).astype(np.float32)), "holds float32"),
        ("planet", partial(rewritten, PLANET_FILE, lambda v: v[:3]), "has 3 bands; expected are 4: B, G, R, NIR"),
        ("planet", partial(rewritten, PLANET_FILE, lambda v: v.clip(0).astype("u2") * 16), "within -2000 .. 20000"),
        ("planet", partial(rewritten, PLANET_FILE, lambda v: v[:, :64]), "is 64 x 96 px, its labels are 96 x 96 px"),
        ("planet", partial(rewritten, LABEL_FILE, lambda v: v[:1]), "has 1 bands of uint8; labels have 7"),
        ("planet", partial(rewritten, LABEL_FILE, lambda v: v // 255), "holds 1; bands of labels hold 0 and 255"),
        ("s2", partial(rewritten, S2_FILE, lambda v: (v / 1e4).astype(np.float32)), "between 0 and 1"),
        ("s2", partial(rewritten, S2_FILE, lambda v: v[:10]), "has 10 bands; expected are 12"),
        ("s2", partial(rewritten, S2_FILE, lambda v: v, crs="EPSG:32611"), "in EPSG:32611, the labels in EPSG:32610"),
        ("s2", partial(rewritten, S2_FILE, lambda v: v[:, :64], crs=None, grid=None), "nothing says where they lie"),
        ("mm", partial(rewritten, S1_FILE, lambda v: 10 ** (v / 10)), "looks like linear power, not decibel"),
        ("mm", partial(rewritten, S1_FILE, lambda v: (v + 30).astype(np.uint16) * 50), "lies within -100 .. 60"),
    ],
)  # fmt: skip
def test_files_that_are_wrong(own: Path, kind: str, spoil: Callable[[Path], object], says: str) -> None:
    spoil(own)
    data = opened(kind, own)
    with pytest.raises(InputError, match=says):
        data.read(index(data, f"{FIRST}/2018-01"))
