"""The fakes of data sets of scenes and series have the form that is published: names, formats, bands, ground."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp

from tests.datasets.fakes import aid, bigearthnet, dynamicearthnet, fmow_s2, pastis, resisc45

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # photographs have no place


def _names(root: Path, pattern: str) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))


def _near(path: Path, pixels: np.ndarray) -> None:
    with rasterio.open(path) as file:
        assert (file.driver, file.dtypes[0]) == ("JPEG", "uint8")
        assert np.abs(file.read().astype(int) - pixels).mean() < 4


def test_aid(tmp_path):
    truth = aid.write(tmp_path, lists=True)
    folders = _names(tmp_path / "AID", "*")
    assert len(folders) == 30 and tuple(folders) == truth.classes == tuple(sorted(truth.classes))
    assert _names(tmp_path / "AID" / "StorageTanks", "*") == sorted(f"storagetanks_{n}.jpg" for n in range(1, 11))
    assert set(_names(tmp_path, "AID/*/*")) == set(truth.pixels)
    _near(tmp_path / "AID/BareLand/bareland_10.jpg", truth.pixels["AID/BareLand/bareland_10.jpg"])
    lists = {split: (tmp_path / f"aid-{split}.txt").read_text().split() for split in ("train", "val", "test")}
    assert {split: len(names) for split, names in lists.items()} == {"train": 180, "val": 60, "test": 60}
    assert sum(name.startswith("park_") for name in lists["test"]) == 2


def test_resisc45(tmp_path):
    truth = resisc45.write(tmp_path, per_class=4, lists=True)
    assert len(truth.classes) == 45 and truth.classes == tuple(sorted(truth.classes))
    assert set(_names(tmp_path, "NWPU-RESISC45/*/*")) == set(truth.pixels)
    path = "NWPU-RESISC45/railway_station/railway_station_003.jpg"
    assert truth.labels[path] == "railway_station"
    _near(tmp_path / path, truth.pixels[path])
    lists = {split: (tmp_path / f"resisc45-{split}.txt").read_text() for split in ("train", "val", "test")}
    assert {split: text.count("\n") + 1 for split, text in lists.items()} == {"train": 108, "val": 36, "test": 36}
    assert {f"NWPU-RESISC45/{name[:-8]}/{name}" for name in lists["val"].split()} == {
        path for path, split in truth.splits.items() if split == "val"
    }


def test_bigearthnet_v1(tmp_path):
    truth = bigearthnet.write_v1(tmp_path)
    patch = "S2A_MSIL2A_20170613T101031_5_9"
    folder = tmp_path / "BigEarthNet-v1.0" / patch
    assert len(_names(folder, "*.tif")) == 12
    sides = {"B01": 20, "B02": 120, "B8A": 60}
    for band, side in sides.items():
        with rasterio.open(folder / f"{patch}_{band}.tif") as file:
            assert (file.count, file.shape, file.dtypes[0]) == (1, (side, side), "uint16")
            assert file.crs.to_epsg() == 32633 and tuple(file.bounds) == (306000, 5388000, 307200, 5389200)
            np.testing.assert_array_equal(file.read(), truth.pixels[patch][band])
    metadata = json.loads((folder / f"{patch}_labels_metadata.json").read_text())
    assert metadata["coordinates"] == {"ulx": 306000, "uly": 5389200, "lrx": 307200, "lry": 5388000}
    assert metadata["acquisition_date"] == "2017-06-13 10:10:31"
    assert rasterio.crs.CRS.from_wkt(metadata["projection"]).to_epsg() == 32633

    s1 = tmp_path / "BigEarthNet-S1-v1.0" / "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_5_9"
    with rasterio.open(s1 / f"{s1.name}_VH.tif") as file:
        assert (file.shape, file.dtypes[0]) == ((120, 120), "float32")
        np.testing.assert_array_equal(file.read(), truth.pixels[patch]["VH"])
    metadata_s1 = json.loads((s1 / f"{s1.name}_labels_metadata.json").read_text())
    assert metadata_s1["corresponding_s2_patch"] == patch and "lly" in metadata_s1["coordinates"]
    assert metadata_s1["labels"] == metadata["labels"] and metadata_s1["acquisition_time"] == "2017-06-13T16:50:43"

    read = [json.loads(path.read_text())["labels"] for path in (tmp_path / "BigEarthNet-v1.0").glob("*/*.json")]
    assert {name for names in read for name in names} == set(bigearthnet.CLASSES_43)
    assert any(name.startswith("S2B_MSIL2A_20170924T93020_") for name in truth.labels)
    assert {name for names in truth.labels.values() for name in names} == set(bigearthnet.CLASSES)
    assert [name for name, names in truth.labels.items() if not names] == [list(truth.labels)[-3]]
    lines = [line.split(",") for s in ("train", "val", "test") for line in (tmp_path / f"{s}.csv").read_text().split()]
    assert {s2 for s2, _ in lines} == set(truth.splits) == set(list(truth.labels)[:-3])
    assert all((tmp_path / "BigEarthNet-S1-v1.0" / s1).is_dir() for _, s1 in lines)


def test_bigearthnet_v1_lists(tmp_path):
    truth = bigearthnet.write_v1(tmp_path / "google", patches=6, size=12, lists="google")
    listed = [name for s in ("train", "val", "test") for name in (tmp_path / f"google/{s}.txt").read_text().split()]
    assert sorted(listed) == sorted(truth.labels)
    updated = bigearthnet.write_v1(tmp_path / "torchgeo", patches=6, size=12, lists="torchgeo", updated=True)
    assert (tmp_path / "torchgeo/bigearthnet-val.csv").is_file()
    for patch, names in updated.labels.items():
        path = tmp_path / f"torchgeo/BigEarthNet-v1.0/{patch}/{patch}_labels_metadata.json"
        assert tuple(json.loads(path.read_text())["labels"]) == names


def test_bigearthnet_v2(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    truth = bigearthnet.write_v2(tmp_path)
    patch = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_5_9"
    tile = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    s1 = "S1A_IW_GRDH_1SDV_20170613T165043/S1A_IW_GRDH_1SDV_20170613T165043_33UUP_5_9"
    assert len(_names(tmp_path, f"BigEarthNet-S2/{tile}/{patch}/{patch}_B*.tif")) == 12
    assert len(_names(tmp_path, f"BigEarthNet-S1/{s1}/*_V[HV].tif")) == 2
    with rasterio.open(tmp_path / f"Reference_Maps/{tile}/{patch}/{patch}_reference_map.tif") as file:
        assert (file.shape, file.dtypes[0]) == ((120, 120), "uint16")
        np.testing.assert_array_equal(file.read(), truth.pixels[patch]["reference_map"])
    rows = parquet.read_table(tmp_path / "metadata.parquet").to_pylist()
    assert list(rows[0]) == [
        "patch_id", "labels", "split", "country", "s1_name", "s2v1_name", "contains_seasonal_snow",
        "contains_cloud_or_shadow",
    ]  # fmt: skip
    bad = parquet.read_table(tmp_path / "metadata_for_patches_with_snow_cloud_or_shadow.parquet").to_pylist()
    assert [row["contains_seasonal_snow"] + row["contains_cloud_or_shadow"] for row in bad] == [1, 1]
    assert {row["patch_id"]: row["split"] for row in rows + bad} == truth.splits
    assert all(row["labels"] == sorted(truth.labels[row["patch_id"]]) and row["labels"] for row in rows)
    assert set(truth.splits.values()) == {"train", "validation", "test"}
    assert {name for names in truth.labels.values() for name in names} == set(bigearthnet.CLASSES)


def test_dynamicearthnet(tmp_path):
    truth = dynamicearthnet.write(tmp_path, days=(1, 5))
    key = "1330_3107_13_10N/2018-03"
    planet = tmp_path / "planet/10N/26E-183N/1330_3107_13"
    assert len(_names(planet, "PF-SR/*.tif")) == len(_names(planet, "PF-QA/*.tif")) == 6
    with rasterio.open(planet / "PF-SR/2018-03-05.tif") as file:
        assert (file.count, file.dtypes[0], file.res) == (4, "int16", (3.0, 3.0)) and file.crs.to_epsg() == 32610
        np.testing.assert_array_equal(file.read(), truth.pixels[key]["planet"][1])
        grid = file.transform
    scene = "10N-121W-39N-L3H-SR"
    label = tmp_path / f"labels/1330_3107_13_10N/Labels/Raster/{scene}/{scene}-2018_03_01.tif"
    with rasterio.open(label) as file:
        bands = file.read()
        assert bands.dtype == np.uint8 and set(np.unique(bands)) == {0, 255} and file.transform == grid
    assert len(bands) == 7 and (bands.sum(0, dtype=int)[0, :2] == 0).all()
    expected = np.where(bands.any(0), bands.argmax(0), 255)
    np.testing.assert_array_equal(expected, truth.labels[key])
    for sensor, count in {"sentinel2": 12, "sentinel1": 8}.items():
        with rasterio.open(tmp_path / sensor / "1330_3107_13/1330_3107_13_2018_03.tif") as file:
            assert file.count == count and file.transform == grid
            np.testing.assert_array_equal(file.read(), truth.pixels[key][sensor])
    assert [k for k, made in truth.pixels.items() if "sentinel2" not in made] == ["1417_3281_13_11N/2018-02"]
    assert not (tmp_path / "sentinel2/1417_3281_13/1417_3281_13_2018_02.tif").exists()
    assert {int(value) for mask in truth.labels.values() for value in np.unique(mask)} == {*range(7), 255}

    assert (tmp_path / "labels/1417_3281_13_11N/Raster").is_dir()
    assert (tmp_path / "labels/5111_4560_13-38S/Labels/Raster").is_dir()
    assert _names(tmp_path / "labels/2196_3885_13_17N", "**/*-2018-02-01.tif")
    with rasterio.open(next((tmp_path / "labels/5111_4560_13-38S").glob("**/*.tif"))) as file:
        assert file.crs.to_epsg() == 32738
    lines = (tmp_path / "dynnet_training_splits/train.txt").read_text().splitlines()
    assert lines[0] == (
        "/reprocess-cropped/UTM-24000/10N/23E-188N/1311_3077_13/PF-SR "
        "/labels/1311_3077_13_10N/Labels/Raster/10N-122W-40N-L3H-SR/10N-122W-40N-L3H-SR-2018_01_01.tif 2018-01"
    )
    assert len(lines) == 9 and not any("1417_3281_13" in line for line in lines)
    assert any("/labels/5111_4560_13_38S/" in line for line in lines)


def test_dynamicearthnet_as_copied(tmp_path):
    truth = dynamicearthnet.write(tmp_path / "csv", months=2, size=8, lists="csv")
    with (tmp_path / "csv/splits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(truth.labels) == 14
    assert all((tmp_path / "csv" / row["label_path"]).is_file() for row in rows)
    assert all((tmp_path / "csv" / row["s1_path"]).is_file() == (row["missing_s1"] == "False") for row in rows)
    assert [row["missing_s1"] for row in rows].count("True") == 1
    dynamicearthnet.write(tmp_path / "b", months=1, size=8, lists=None, nested=True)
    assert (tmp_path / "b/planet.10N/planet/10N/23E-188N/1311_3077_13/PF-SR/2018-01-01.tif").is_file()
    assert (tmp_path / "b/labels/labels/1311_3077_13_10N/Labels/Raster").is_dir()


def test_pastis_hd(tmp_path):
    truth = pastis.write(tmp_path)
    root = tmp_path / "PASTIS-HD"
    assert _names(root, "*") == [
        "ANNOTATIONS", "DATA_S1A", "DATA_S1D", "DATA_S2", "DATA_SPOT", "INSTANCE_ANNOTATIONS", "NORM_S1A_patch.json",
        "NORM_S1D_patch.json", "NORM_S2_patch.json", "metadata.geojson",
    ]  # fmt: skip
    metadata = json.loads((root / "metadata.geojson").read_text())
    assert metadata["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::2154"
    assert [str(f["properties"]["ID_PATCH"]) for f in metadata["features"]] == list(truth.pixels)
    assert [str(f["properties"]["Fold"]) for f in metadata["features"]] == ["1", "2", "3", "4", "5"]
    for feature in metadata["features"]:
        name, properties = feature["id"], feature["properties"]
        kinds = {"S2": ("int16", 10), "S1A": ("float16", 3), "S1D": ("float16", 3)}
        for sensor, (kind, bands) in kinds.items():
            values = np.load(root / f"DATA_{sensor}/{sensor}_{name}.npy")
            dates = properties[f"dates-{sensor}"]
            days = list(dates.values())
            assert values.dtype == kind and values.shape == (len(days), bands, 16, 16)
            assert days == sorted(set(days)) and list(properties[f"dates-{sensor}"]) == [
                str(i) for i in range(len(days))
            ]
            np.testing.assert_array_equal(values, truth.pixels[name][sensor])
        assert (np.load(root / f"DATA_S2/S2_{name}.npy") == -10_000).any()
        target = np.load(root / f"ANNOTATIONS/TARGET_{name}.npy")
        assert target.shape == (3, 16, 16) and target.dtype == np.uint8
        np.testing.assert_array_equal(target[0], truth.labels[name])
        with rasterio.open(root / f"DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019/SPOT6_RVB_1M00_2019_{name}.tif") as file:
            assert file.shape == (160, 160) and file.bounds.right - file.bounds.left == 1280
            np.testing.assert_array_equal(file.read(), truth.pixels[name]["SPOT"])
            centre = np.mean(feature["geometry"]["coordinates"][0][0][:4], 0)
            (x,), (y,) = rasterio.warp.transform("EPSG:2154", file.crs, [centre[0]], [centre[1]])
            assert abs(x - file.bounds.left - 640) < 1 and abs(file.bounds.top - y - 640) < 1
    assert {int(value) for mask in truth.labels.values() for value in np.unique(mask)} == set(range(20))
    norm = json.loads((root / "NORM_S2_patch.json").read_text())
    assert list(norm) == [f"Fold_{fold}" for fold in range(1, 6)] and len(norm["Fold_1"]["mean"]) == 10


def test_pastis_smaller_forms(tmp_path):
    pastis.write(tmp_path, form="PASTIS", patches=1)
    pastis.write(tmp_path, form="PASTIS-R", patches=1)
    assert _names(tmp_path / "PASTIS", "DATA_*") == ["DATA_S2"]
    assert _names(tmp_path / "PASTIS-R", "DATA_*") == ["DATA_S1A", "DATA_S1D", "DATA_S2"]
    (feature,) = json.loads((tmp_path / "PASTIS/metadata.geojson").read_text())["features"]
    assert [key for key in feature["properties"] if key.startswith("dates")] == ["dates-S2"]


def test_fmow_s2(tmp_path):
    truth = fmow_s2.write(tmp_path)
    assert len(truth.classes) == 62 and truth.classes == tuple(sorted(truth.classes))
    assert len(truth.pixels) == 62 * 3 * 2
    for split in ("train", "val", "test_gt"):
        text = (tmp_path / f"{split}.csv").read_text()
        assert text.startswith(
            ',category,location_id,image_id,timestamp,polygon\n0,airport,0,6,2016-04-16T18:44:27.405Z,"'
        )
        rows = list(csv.DictReader(text.splitlines()))
        paths = set()
        for row in rows:
            place = f"{row['category']}_{row['location_id']}"
            paths.add(f"fmow-sentinel/{split}/{row['category']}/{place}/{place}_{row['image_id']}.tif")
        assert paths == {path for path, of in truth.splits.items() if of == split}
        unlisted = set(_names(tmp_path, f"fmow-sentinel/{split}/*/*/*.tif")) - paths
        assert unlisted == {f"fmow-sentinel/{split}/airport/airport_0/airport_0_108.tif"}
        with rasterio.open(tmp_path / unlisted.pop()) as file:
            assert file.count == 1 and not file.read().any()
        with rasterio.open(tmp_path / f"fmow-sentinel/{split}/zoo/zoo_0/zoo_0_100.tif") as file:
            assert (file.count, file.dtypes[0], file.interleaving.name) == (13, "uint16", "pixel")
            np.testing.assert_array_equal(file.read(), truth.pixels[f"fmow-sentinel/{split}/zoo/zoo_0/zoo_0_100.tif"])
            assert f"{file.bounds.right:.8f} {file.bounds.bottom:.8f}" in rows[-1]["polygon"]
    assert len({values.shape for values in truth.pixels.values()}) > 10


def test_fmow_s2_tables_inside(tmp_path):
    fmow_s2.write(tmp_path, classes=("multi-unit_residential",), images=1, dtype=np.float32, inside=True)
    assert _names(tmp_path, "*") == ["fmow-sentinel"]
    assert (tmp_path / "fmow-sentinel/val.csv").is_file()
