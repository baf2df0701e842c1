"""Real patches of BigEarthNet, put back into the layout of version 2 and read from there.

Real are the pixels, the names of patches and tiles, labels, splits and the ground. Not real are the names and dates of
the Sentinel-1 images, which are not recorded, and the bands of 20 and 60 m of those patches whose source had
interpolated them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from skysense.cli import main
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.files import read_json
from skysense.model.weights import save_model
from tests.datasets.fakes.smooth import write_tiff
from tests.tasks.labelled_samples import tiny

STEPS = {"B01": 6, "B09": 6, **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 2)}
"""Pixels of 10 m along one of the native band."""


@pytest.fixture(scope="module")
def copy(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the list of version 2 is a Parquet file")
    import pyarrow

    root, rows = tmp_path_factory.mktemp("bigearthnet"), []
    for folder in sorted((kit / "bigearthnet" / "v2").iterdir()):
        about = read_json(folder / "labels.json")
        patch, tile = about["patch_id"], about["patch_id"].rsplit("_", 2)[0]
        scene = f"S1A_IW_GRDH_1SDV_{about['date_s2'].replace('-', '')}T000000"
        radar = f"{scene}_{'_'.join(patch.split('_')[-3:])[1:]}"
        with rasterio.open(folder / "s2.tif") as file:
            for name, values_HW in zip(file.descriptions, file.read(), strict=True):
                step = STEPS.get(name, 1)
                grid = file.transform @ Affine.scale(step)
                path = root / "BigEarthNet-S2" / tile / patch / f"{patch}_{name}.tif"
                write_tiff(path, values_HW[None, ::step, ::step], file.crs.to_string(), grid)
        with rasterio.open(folder / "s1.tif") as file:
            for name, values_HW in zip(file.descriptions, file.read(), strict=True):
                path = root / "BigEarthNet-S1" / scene / radar / f"{radar}_{name}.tif"
                write_tiff(path, values_HW[None], file.crs.to_string(), file.transform)
        split = {"val": "validation"}.get(about["split"], about["split"])
        rows.append({"patch_id": patch, "labels": about["labels_19"], "split": split, "s1_name": radar})
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "metadata.parquet")
    return root


def test_real_patches_are_read_as_they_are(kit: Path, copy: Path) -> None:
    data = open_dataset("bigearthnet-mm", copy)
    folders = {read_json(file)["patch_id"]: file.parent for file in (kit / "bigearthnet" / "v2").glob("*/labels.json")}
    assert {item.name for item in data.items} == set(folders) and len(folders) == 31
    for index, item in enumerate(data.items):
        folder, example = folders[item.name], data.read(index)
        about = read_json(folder / "labels.json")
        assert item.split == about["split"]
        assert {data.classes[one] for one in np.flatnonzero(example.target)} == set(about["labels_19"])
        assert (example.sample.lon, example.sample.lat) == pytest.approx((about["lon"], about["lat"]), abs=1e-3)
        series = example.sample.series["s2"]
        assert str(series.dates[0]) == about["date_s2"]
        native = "repeated" in about["s2_state"]
        with rasterio.open(folder / "s2.tif") as file:
            for band, values_HW in zip(series.sensor.bands, series.values[0], strict=True):
                name = f"B{band[1:].zfill(2)}"
                if native or name not in STEPS:
                    np.testing.assert_array_equal(values_HW, file.read(file.descriptions.index(name) + 1))
        with rasterio.open(folder / "s1.tif") as file:
            np.testing.assert_array_equal(example.sample.series["s1"].values[0], file.read())


@pytest.mark.long
def test_real_patches_from_check_to_report(copy: Path, tmp_path: Path) -> None:
    found = {one.about: one for one in check_dataset("bigearthnet-mm", copy)}
    assert found["layout"].state == found["read"].state == "good"
    assert found["images for train"].says.startswith("21 of ")
    save_model(tmp_path / "model.safetensors", tiny())
    recipe = Path(__file__).parents[2] / "configs" / "adapt" / "bigearthnet-mm.yaml"
    words = [
        "--config",
        str(recipe),
        "--model",
        str(tmp_path / "model.safetensors"),
        "--way",
        "linear",
        "--epochs",
        "2",
    ]
    quick = ["--precision", "32-true", "--workers", "0", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(["adapt", str(copy), *words, *quick]) == 0
    assert read_json(tmp_path / "run" / "results.json")["counts"]["images"] == 10
