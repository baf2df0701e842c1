"""The fakes of images say what the descriptions of the data sets say: names, formats, tags, lists."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from tests.datasets.fakes import dior, fair1m, isaid, levir_cd, oscd, potsdam

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _read(path: Path) -> NDArray:
    with rasterio.open(path) as file:
        return file.read()


def test_dior(tmp_path):
    truth = dior.write(tmp_path, faults=True)
    assert _names(tmp_path) == ["Annotations", "ImageSets", "JPEGImages-test", "JPEGImages-trainval"]
    numbers = ["00001", "00002", "00003", "05863", "05864"]
    assert _names(tmp_path / "JPEGImages-trainval") == [f"{n}.jpg" for n in numbers]
    for kind in ("Horizontal", "Oriented"):
        names = _names(tmp_path / f"Annotations/{kind} Bounding Boxes")
        assert names == [f"{n}.xml" for n in [*numbers, "11726", "11727"]]
    assert _names(tmp_path / "ImageSets/Main") == ["test.txt", "train.txt", "val.txt"]
    assert (tmp_path / "ImageSets/Main/val.txt").read_text() == "05863\n05864\n"

    with rasterio.open(tmp_path / "JPEGImages-trainval/00003.jpg") as file:
        assert (file.driver, file.count, file.dtypes[0], file.width, file.height) == ("JPEG", 3, "uint8", 161, 160)
        np.testing.assert_array_equal(file.read(), truth.pixels["JPEGImages-trainval/00003.jpg"])

    flat = ET.parse(tmp_path / "Annotations/Horizontal Bounding Boxes/00003.xml").getroot()
    assert [flat.find("size/width").text, len(flat.findall("object")), flat.find(".//difficult")] == ["160", 8, None]
    assert [t.tag for t in flat.find("object")] == ["name", "pose", "bndbox"]
    turned = ET.parse(tmp_path / "Annotations/Oriented Bounding Boxes/00001.xml").getroot()
    tags = ["type", "name", "pose", "truncated", "difficult", "robndbox", "angle"]
    assert [t.tag for t in turned.findall("object")[1]] == tags
    corners = truth.labels["Annotations/Oriented Bounding Boxes/00001.xml"][1][1]
    assert [float(t.text) for t in turned.findall("object")[1].find("robndbox")] == list(corners.ravel())
    assert {name for boxes in truth.labels.values() for name, _, _ in boxes} == set(dior.CLASSES)
    spoiled = [corners for _, corners, _ in truth.labels["Annotations/Oriented Bounding Boxes/00003.xml"]]
    assert spoiled[0].min() < 0 and (spoiled[1] == spoiled[1][0]).all()


def test_dior_old(tmp_path):
    truth = dior.write(tmp_path, old=True, train=1, val=1, test=1)
    assert _names(tmp_path / "Annotations") == ["00001.xml", "05863.xml", "11726.xml"]
    assert _names(tmp_path / "ImageSets/Main") == ["test.txt", "trainval.txt"]
    assert list(truth.splits.values()) == ["trainval", "trainval", "test"]
    assert set(truth.pixels) == {"JPEGImages/00001.jpg", "JPEGImages/05863.jpg", "JPEGImages/11726.jpg"}


def test_levir_cd(tmp_path):
    truth = levir_cd.write(tmp_path)
    assert _names(tmp_path) == ["test", "train", "val"]
    for folder in ("A", "B", "label"):
        assert _names(tmp_path / "train" / folder) == ["train_1.png", "train_2.png", "train_3.png"]
    mask = _read(tmp_path / "val/label/val_2.png")
    assert mask.shape == (1, 64, 64) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    np.testing.assert_array_equal(mask[0] == 255, truth.labels["val/A/val_2.png"] == 1)
    np.testing.assert_array_equal(_read(tmp_path / "test/B/test_1.png"), truth.pixels["test/A/test_1.png"][1])
    levir_cd.write(tmp_path / "flat", flat=True)
    assert _names(tmp_path / "flat") == ["A", "B", "label"] and len(_names(tmp_path / "flat/B")) == 7


def test_levir_cd_crops(tmp_path):
    whole = levir_cd.write(tmp_path / "whole")
    truth = levir_cd.write_crops(tmp_path / "crops", train=1)
    assert _names(tmp_path / "crops") == ["A", "B", "label", "list"]
    assert _names(tmp_path / "crops/list") == ["test.txt", "train.txt", "val.txt"]
    lines = (tmp_path / "crops/list/train.txt").read_text().splitlines()
    assert lines == [f"train_1_{k}.png" for k in range(1, 17)]
    assert len(_names(tmp_path / "crops/label")) == len(truth.splits) == 48
    sixth = whole.pixels["val/A/val_1.png"][..., 16:32, 16:32]
    np.testing.assert_array_equal(_read(tmp_path / "crops/B/val_1_6.png"), sixth[1])
    levir_cd.write_crops(tmp_path / "offsets", naming="offsets")
    assert (tmp_path / "offsets/A/test_1_0000_0048.png").is_file()


def test_isaid(tmp_path):
    truth = isaid.write(tmp_path, odd_bands=True)
    three = ["P0003.png", "P0003_instance_color_RGB.png", "P0003_instance_id_RGB.png"]
    assert _names(tmp_path / "val/images")[:3] == three and _names(tmp_path / "test/images") == ["P0006.png"]
    assert _names(tmp_path / "train/Annotations") == ["iSAID_train.json", "iSAID_train_20190823_114751.json"]
    bands = [
        _read(tmp_path / f"{s}.png").shape[0] for s in ("train/images/P0000", "train/images/P0001", "val/images/P0003")
    ]
    assert bands == [4, 3, 1]
    said = json.loads((tmp_path / "train/Annotations/iSAID_train.json").read_text())
    assert [i["file_name"] for i in said["images"]] == ["P0000.png", "P0001.png", "P0002.png"]
    assert {c["id"]: c["name"] for c in said["categories"]}[7] == "Harbor" and "width" not in said["images"][0]

    colours, ids = (_read(tmp_path / f"train/images/P0000_instance_{kind}_RGB.png") for kind in ("color", "id"))
    numbers = ids[0] + 256 * ids[1].astype(int) + 65536 * ids[2].astype(int)
    for thing in [a for a in said["annotations"] if a["image_id"] == 0]:
        outline = np.array(thing["segmentation"][0], int).reshape(-1, 2)
        x, y = outline.T
        assert len(set(numbers[y, x])) == 1 and (numbers == numbers[y[0], x[0]]).sum() == thing["area"]
        np.testing.assert_array_equal(colours[:, y[0], x[0]], isaid.COLOURS[thing["category_name"]])
        assert thing["bbox"][:2] == list(outline.min(axis=0))
    assert len(said["annotations"][0]["segmentation"]) == 2  # one instance in two parts
    assert (truth.labels["train/images/P0000.png"] > 0).sum() == (numbers > 0).sum()
    assert set(np.unique(np.concatenate([truth.labels[f"train/images/P000{k}.png"].ravel() for k in range(3)]))) == set(
        range(16)
    )
    isaid.write(tmp_path / "archives", merged=False)
    assert (tmp_path / "archives/val/Semantic_masks/images/P0003_instance_color_RGB.png").is_file()


def test_isaid_patches(tmp_path):
    truth = isaid.write_patches(tmp_path)
    whole = isaid.write(tmp_path / "whole")
    images, labels = _names(tmp_path / "img_dir/train"), _names(tmp_path / "ann_dir/train")
    assert labels == sorted(name.replace(".png", "_instance_color_RGB.png") for name in images)
    first = [name for name in images if name.startswith("P0000")]
    assert len(first) == 5 * 4 and "P0000_104_160_84_140.png" in first  # 160 x 140: the last windows slide back
    label = _read(tmp_path / "ann_dir/train/P0000_104_160_84_140_instance_color_RGB.png")
    np.testing.assert_array_equal(label, whole.labels["train/images/P0000.png"][None, 104:, 84:])
    low = truth.labels["img_dir/train/P0002_0_56_0_56.png"]  # an image of 40 rows
    assert (low[40:] == 255).all() and (low[:40] < 16).all()
    assert _names(tmp_path / "img_dir/test") == ["P0006.png"] and _names(tmp_path / "ann_dir/test") == []

    isaid.write_patches(tmp_path / "spoilt", bmp=True, collapsed=True)
    path = tmp_path / "spoilt/img_dir/train/P0000_0_56_0_56.png"
    assert path.read_bytes()[:2] == b"BM"
    np.testing.assert_array_equal(_read(path), truth.pixels["img_dir/train/P0000_0_56_0_56.png"])
    spoilt = tmp_path / "spoilt/ann_dir/train/P0000_0_56_0_56_instance_color_RGB.png"
    assert set(np.unique(_read(spoilt))) == {0, 1} and spoilt.read_bytes()[24:26] == b"\x01\x03"  # one bit, palette


def test_fair1m(tmp_path):
    truth = fair1m.write(tmp_path, faults=True)
    assert _names(tmp_path) == ["test", "train", "validation"] and _names(tmp_path / "test") == ["images"]
    assert _names(tmp_path / "train/part1/images") == ["0.tif", "1.tif", "2.tif"]
    assert _names(tmp_path / "train/part2/labelXml") == ["1732.xml", "1733.xml"]
    assert _names(tmp_path / "validation/images") == ["0.tif", "1.tif"]
    with rasterio.open(tmp_path / "train/part1/images/1.tif") as file:
        assert (file.driver, file.count, file.dtypes[0], file.width, file.height) == ("GTiff", 3, "uint8", 160, 120)
    label = ET.parse(tmp_path / "train/part1/labelXml/1.xml").getroot()
    assert [t.tag for t in label] == ["source", "research", "size", "objects"]
    thing = label.find("objects/object")
    assert [t.tag for t in thing] == ["coordinate", "type", "description", "possibleresult", "points"]
    points = [[float(value) for value in point.text.split(",")] for point in thing.iter("point")]
    name, corners, _ = truth.labels["train/part1/images/1.tif"][0]
    assert points == [*corners.tolist(), corners[0].tolist()] and thing.find("possibleresult/name").text == name
    assert truth.labels["train/part1/images/2.tif"] == []
    assert {name for boxes in truth.labels.values() for name, _, _ in boxes} == set(fair1m.CLASSES)

    older = fair1m.write(tmp_path / "1", version="1.0", label_folder="labelXmls/labelXml")
    assert _names(tmp_path / "1") == ["test", "train"]
    assert (tmp_path / "1/train/part2/labelXmls/labelXml/1733.xml").is_file()
    key = "train/part2/images/1732.tif"
    np.testing.assert_array_equal(older.pixels[key], truth.pixels[key])


def test_potsdam(tmp_path):
    truth = potsdam.write(tmp_path)
    assert len(potsdam.TRAIN) == 24 and len(potsdam.TEST) == 14
    archives = ["1_DSM", "2_Ortho_RGB", "3_Ortho_IRRG", "4_Ortho_RGBIR", "5_Labels_all", "5_Labels_all_noBoundary"]
    assert _names(tmp_path)[:6] == archives and len(_names(tmp_path)) == 8
    rgb = tmp_path / "2_Ortho_RGB/2_Ortho_RGB/top_potsdam_2_10_RGB.tif"
    with rasterio.open(rgb) as file:
        assert (file.driver, file.dtypes[0], file.crs, file.shape) == ("GTiff", "uint8", None, (96, 96))
        assert (file.transform.a, file.transform.e) == (0.05, -0.05)  # out of the world file
        first = file.read()
    assert rgb.with_suffix(".tfw").read_text().splitlines()[4:] == ["366976.525", "5809761.000"]
    four = _read(tmp_path / "4_Ortho_RGBIR/4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif")
    infrared = _read(tmp_path / "3_Ortho_IRRG/3_Ortho_IRRG/top_potsdam_2_10_IRRG.tif")
    np.testing.assert_array_equal(first, four[:3])
    np.testing.assert_array_equal(infrared, four[[3, 0, 1]])
    assert len(_names(tmp_path / "5_Labels_for_participants/5_Labels_for_participants")) == 3 * 2

    for tile, exact in (("2_10", True), ("2_13", True), ("4_12", False), ("6_7", False)):
        path = f"5_Labels_all_noBoundary/top_potsdam_{tile}_label_noBoundary.tif"
        stored = _read(tmp_path / path)
        assert (set(np.unique(stored)) == {0, 255}) is exact
        colours = np.moveaxis((stored > 127) * 255, 0, -1)
        said = truth.labels[path]
        assert set(np.unique(said)) == {*range(6), 255}
        for index, colour in enumerate(potsdam.COLOURS.values()):
            np.testing.assert_array_equal((colours == colour).all(axis=-1), said == index)
        whole = truth.labels[f"2_Ortho_RGB/2_Ortho_RGB/top_potsdam_{tile}_RGB.tif"]
        assert (whole[said != 255] == said[said != 255]).all() and whole.max() == 5
    potsdam.write(tmp_path / "one", tiles=("3_13",), nested=False)
    assert (tmp_path / "one/top_potsdam_3_13_label.tif").is_file()
    assert _read(tmp_path / "one/1_DSM/dsm_potsdam_03_13.tif").dtype == np.float32


def test_potsdam_patches(tmp_path):
    truth = potsdam.write_patches(tmp_path)
    names = _names(tmp_path / "img_dir/val")
    assert len(names) == 9 and "2_13_0_56_40_96.png" in names and _names(tmp_path / "ann_dir/val") == names
    label = _read(tmp_path / "ann_dir/train/2_10_0_56_40_96.png")[0]
    assert label.dtype == np.uint8 and label.max() <= 6
    np.testing.assert_array_equal(label == 0, truth.labels["img_dir/train/2_10_0_56_40_96.png"] == 255)
    assert _read(tmp_path / "ann_dir/train/4_12_0_0_40_40.png").max() == 0


def test_oscd(tmp_path):
    truth = oscd.write(tmp_path)
    assert len(oscd.TRAIN) == 14 and len(oscd.TEST) == 10
    assert _names(tmp_path) == sorted([oscd.IMAGES, oscd.TRAIN_LABELS, oscd.TEST_LABELS])
    images, labels = tmp_path / oscd.IMAGES, tmp_path / oscd.TRAIN_LABELS
    texts = ["README.txt", "all.txt", "test.txt", "train.txt"]
    assert [name for name in _names(images) if name.endswith(".txt")] == texts
    assert (images / "train.txt").read_text() == "aguasclaras,bercy,bordeaux\n"
    parts = ["dates.txt", "imgs_1", "imgs_1_rect", "imgs_2", "imgs_2_rect", "pair"]
    assert _names(images / "bercy") == parts
    assert _names(images / "aguasclaras") == ["aguasclaras.geojson", *parts]
    assert (images / "bercy/dates.txt").read_text() == "date_1: 20161130\ndate_2: 20170829\n"
    assert _names(images / "bercy/imgs_1_rect") == sorted(f"{band}.tif" for band in oscd.BANDS)
    assert _names(images / "bercy/imgs_1")[0].startswith("S2A_OPER_MSI_L1C_TL_")
    assert _names(images / "bercy/imgs_2")[0].startswith("T31UDQ_20170829T")
    assert {_read(path).shape for path in (images / "bercy/imgs_2").iterdir()} == {(1, 48, 42), (1, 24, 21), (1, 8, 7)}

    band = _read(images / "bercy/imgs_2_rect/B8A.tif")
    assert band.dtype == np.uint16 and band.shape == (1, 40, 36)
    np.testing.assert_array_equal(band[0], truth.pixels["bercy"][1, oscd.BANDS.index("B8A")])
    assert truth.pixels["bercy"][:, oscd.BANDS.index("B10")].max() < 60
    mask = truth.labels["bercy"]
    assert 0 < mask.mean() < 0.5
    np.testing.assert_array_equal(_read(labels / "bercy/cm/cm.png")[0], mask * 255)
    np.testing.assert_array_equal(_read(labels / "bercy/cm/bercy-cm.tif")[0], mask + 1)
    oscd.write(tmp_path / "merged", merged=True, train=1, test=1)
    assert _names(tmp_path / "merged/brasilia") == ["brasilia.geojson", "cm", *parts]
