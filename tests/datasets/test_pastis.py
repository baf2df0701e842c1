"""PASTIS-HD: crops from series of Sentinel-2 and Sentinel-1 and an image of SPOT."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.warp import transform as reproject

from skysense.data.labelled.dataset import LabelledData
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.errors import InputError
from tests.datasets.fakes.pastis import CLASSES, write
from tests.datasets.fakes.smooth import write_tiff
from tests.datasets.truth import Truth

CELLS = 12
S2_FILE, S1_FILE, LABEL_FILE = "DATA_S2/S2_10000.npy", "DATA_S1D/S1D_10000.npy", "ANNOTATIONS/TARGET_10000.npy"
SPOT_FILE = "DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019/SPOT6_RVB_1M00_2019_10000.tif"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    root = tmp_path_factory.mktemp("pastis")
    return root / "PASTIS-HD", write(root, size=CELLS)


@pytest.fixture
def own(copy: tuple[Path, Truth], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(copy[0], tmp_path / "PASTIS-HD"))


def opened(root: Path, **options) -> LabelledData:
    return open_dataset("pastis-mm", root, **options)


def dates_of(root: Path, number: str) -> dict[str, NDArray]:
    """By name of the series, as metadata.geojson has them."""
    features = json.loads((root / "metadata.geojson").read_text())["features"]
    about = next(one["properties"] for one in features if one["id"] == number)
    dates = {name: [str(day) for day in about[f"dates-{name}"].values()] for name in ("S2", "S1A", "S1D")}
    return {
        name: np.array([f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in days], "datetime64[D]") for name, days in dates.items()
    }


def test_series_labels_and_folds(copy: tuple[Path, Truth]) -> None:
    root, truth = copy
    data = opened(root)
    assert (data.task, data.classes) == ("segmentation", CLASSES[:19])
    folds = {"1": "train", "2": "train", "3": "train", "4": "val", "5": "test"}
    assert {item.name: item.split for item in data.items} == {name: folds[of] for name, of in truth.splits.items()}
    for item in data.items:
        example, stored, dates = data.read_item(item), truth.pixels[item.name], dates_of(root, item.name)
        assert (example.per_cell, example.size) == (1, (CELLS, CELLS))
        void = truth.labels[item.name] == 19
        np.testing.assert_array_equal(example.target, np.where(void, 255, truth.labels[item.name]))
        s2, s1 = example.sample.series["s2"], example.sample.series["s1"]
        np.testing.assert_array_equal(s2.dates, dates["S2"])
        nothing = (stored["S2"] == -10_000).all(axis=1)
        assert nothing.any() and s2.values.dtype == np.int16
        np.testing.assert_array_equal(s2.valid, ~nothing)
        np.testing.assert_array_equal(s2.values, np.where(nothing[:, None], 0, stored["S2"]))
        both, days = np.concatenate([stored["S1A"], stored["S1D"]]), np.concatenate([dates["S1A"], dates["S1D"]])
        order = np.argsort(days, kind="stable")
        assert (order != np.arange(len(order))).any()
        np.testing.assert_array_equal(s1.dates, days[order])
        np.testing.assert_array_equal(s1.values, both[order, :2])
    assert any((labels == 19).any() for labels in truth.labels.values())


def test_spot_becomes_32_pixels_along_a_cell(copy: tuple[Path, Truth]) -> None:
    root, truth = copy
    data = opened(root)
    for item in data.items[:2]:
        series = data.read_item(item).sample.series["hr"]
        stored = torch.from_numpy(truth.pixels[item.name]["SPOT"][None].astype(np.float32))
        side = 32 * CELLS
        wanted = torch.nn.functional.interpolate(stored, (side, side), mode="bilinear", align_corners=False)
        np.testing.assert_allclose(series.values, wanted, atol=0.501)
        assert series.valid.all() and np.isnat(series.dates).all()
        with rasterio.open(root / SPOT_FILE.replace("10000", item.name)) as file:
            left, bottom, right, top = file.bounds
            (lon,), (lat,) = reproject(file.crs, "EPSG:4326", [(left + right) / 2], [(bottom + top) / 2])
        np.testing.assert_allclose((item.lon, item.lat), (lon, lat), atol=1e-4)


def test_parts_are_crops_of_the_whole(copy: tuple[Path, Truth]) -> None:
    root, _ = copy
    whole, tiles = opened(root), opened(root, tile=256)
    assert len(tiles) == 4 * len(whole) and {item.group for item in tiles.items} == {item.name for item in whole.items}
    everything = whole.read(0)
    for item in tiles.items[:4]:
        row, col = (int(place) for place in item.name.split("@")[1].split(","))
        part = tiles.read_item(item)
        high, wide = min(8, CELLS - row // 32), min(8, CELLS - col // 32)
        assert part.size == (high, wide)
        rows, cols = slice(row // 32, row // 32 + high), slice(col // 32, col // 32 + wide)
        np.testing.assert_array_equal(part.target[:high, :wide], everything.target[rows, cols])
        for key, series in part.sample.series.items():
            step = 32 if key == "hr" else 1
            there = (..., slice(rows.start * step, rows.stop * step), slice(cols.start * step, cols.stop * step))
            here = (..., slice(high * step), slice(wide * step))
            np.testing.assert_array_equal(series.values[here], everything.sample.series[key].values[there])
            np.testing.assert_array_equal(series.valid[here], everything.sample.series[key].valid[there])
    by_default = {item.name for item in opened(root).items}
    assert by_default == {item.name for item in whole.items}  # a small patch is one part


def test_frames_and_pixels_without_anything_are_left_out(own: Path) -> None:
    s2, s1 = np.load(own / S2_FILE), np.load(own / S1_FILE)
    s2[0], s2[3, 4, 5, 6] = -10_000, -3000  # a band that was resampled beside a gap
    s1[0, 1, 0, 0] = np.nan
    s1[1] = np.inf
    np.save(own / S2_FILE, s2)
    np.save(own / S1_FILE, s1)
    dates = dates_of(own, "10000")
    series = opened(own).read(0).sample.series
    np.testing.assert_array_equal(series["s2"].dates, dates["S2"][1:])
    assert not series["s2"].valid[2, 5, 6] and series["s2"].valid[2].sum() == CELLS**2 - 1
    assert len(series["s1"].dates) == len(dates["S1A"]) + len(dates["S1D"]) - 1
    assert not series["s1"].valid[0 if dates["S1D"][0] < dates["S1A"][0] else 1, 0, 0]
    assert np.isfinite(series["s1"].values).all()


@pytest.mark.parametrize("told", [json.dumps, repr])
def test_dates_may_be_a_text(copy: tuple[Path, Truth], own: Path, told: Callable[[Any], str]) -> None:
    content = json.loads((own / "metadata.geojson").read_text())
    for feature in content["features"]:
        about = feature["properties"]
        for name in ("dates-S2", "dates-S1A", "dates-S1D"):
            about[name] = told(dict(sorted(about[name].items())))  # "10" before "2"
    (own / "metadata.geojson").write_text(json.dumps(content))
    np.testing.assert_array_equal(
        opened(own).read(0).sample.series["s2"].dates, opened(copy[0]).read(0).sample.series["s2"].dates
    )


def test_a_part_is_opened_and_said_to_be_one(copy: tuple[Path, Truth]) -> None:
    found = check_dataset("pastis-mm", copy[0].parent)
    states = {one.about: one.state for one in found}
    assert states["layout"] == states["read"] == states["classes"] == "good" and states["images"] == "bad"
    data = pickle.loads(pickle.dumps(opened(copy[0])))
    assert data.read(0).name == "10000"


@pytest.mark.parametrize(
    ("form", "says"), [("PASTIS", "is PASTIS, of Sentinel-2 alone"), ("PASTIS-R", "is PASTIS-R: D")]
)
def test_releases_without_all_sensors(tmp_path: Path, form: str, says: str) -> None:
    write(tmp_path, form=form, patches=1)
    with pytest.raises(InputError, match=says):
        opened(tmp_path)


def with_metadata(change: Callable[[Any], object], root: Path) -> None:
    content = json.loads((root / "metadata.geojson").read_text())
    change(content)
    (root / "metadata.geojson").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: (root / S1_FILE).unlink(), r"1 of 5 files DATA_S1D/S1D_\*.npy are missing, first .*S1D_10000"),
        (lambda root: shutil.rmtree(root / "DATA_S2"), "no copy of pastis-mm: DATA_S2 missing"),
        (partial(with_metadata, lambda c: c["features"][0]["properties"].pop("dates-S1A")), "no dates of S1A"),
        (partial(with_metadata, lambda c: c.pop("features")), "is not the list of patches of PASTIS"),
        (partial(with_metadata, lambda c: c["features"][0]["properties"].update({"Fold": 7})), "is not the list of"),
        (lambda root: (root / "metadata.geojson").write_text("{"), "is not valid JSON"),
    ],
)
def test_folders_that_are_no_copy(own: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(own)
    with pytest.raises(InputError, match=says):
        opened(own)


def rewritten(file: str, change: Callable[[NDArray], NDArray], root: Path) -> None:
    if file.endswith(".npy"):
        np.save(root / file, change(np.load(root / file)))
    else:
        with rasterio.open(root / file) as source:
            values, crs, grid = source.read(), source.crs.to_string(), source.transform
        write_tiff(root / file, change(values), crs, grid)


def cut_short(file: str, root: Path) -> None:
    whole = (root / file).read_bytes()
    (root / file).write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (partial(cut_short, S2_FILE), "S2_10000.npy: is missing, truncated"),
        (partial(cut_short, S1_FILE), "S1D_10000.npy: is missing, truncated"),
        (partial(cut_short, LABEL_FILE), "TARGET_10000.npy: is missing, truncated"),
        (partial(cut_short, SPOT_FILE), "SPOT6_RVB_1M00_2019_10000.tif: is truncated"),
        (partial(rewritten, S2_FILE, lambda v: v[1:]), r"is \(11, 10, 12, 12\); \(12, 10, 12, 12\) is expected"),
        (partial(rewritten, S2_FILE, lambda v: v.clip(0) / 1e4), "between 0 and 1"),
        (partial(rewritten, S1_FILE, lambda v: 10 ** (v.astype(np.float32) / 10)), "linear power, not decibel"),
        (partial(rewritten, S1_FILE, lambda v: v.astype(np.int16) * 100), "lies within -100 .. 60"),
        (partial(rewritten, LABEL_FILE, lambda v: v + 20), "other numbers than the classes 0 .. 19"),
        (partial(rewritten, LABEL_FILE, lambda v: v[0]), r"is \(12, 12\); \(3, 12, 12\) is expected"),
        (partial(rewritten, SPOT_FILE, lambda v: v[:, ::2, ::2]), "is 60 x 60 px; a patch is 120 x 120 px"),
        (partial(rewritten, SPOT_FILE, lambda v: v.astype(np.uint16)), "8-bit; found uint16"),
        (partial(rewritten, SPOT_FILE, lambda v: v[:1]), "has 1 bands; expected are 3: R, G, B"),
    ],
)
def test_files_that_are_wrong(own: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(own)
    data = opened(own)
    with pytest.raises(InputError, match=says):
        data.read(0)
