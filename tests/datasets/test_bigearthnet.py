"""BigEarthNet beside small copies of both versions."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.dataset import ItemTable, LabelledData
from skysense.data.labelled.split import assign_splits
from skysense.data.labelled.survey import survey
from skysense.datasets import bigearthnet
from skysense.datasets.card import card
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.errors import InputError, MissingExtra
from skysense.observation import Series
from skysense.sensors import SENTINEL1, SENTINEL2_L2A
from tests.datasets.fakes.bigearthnet import CLASSES_43, write_v1, write_v2
from tests.datasets.fakes.smooth import write_tiff
from tests.datasets.truth import Truth

TEN = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SIZE = 24


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def copy_v1(root: Path, lists: str = "mm", **knobs) -> Truth:
    return write_v1(root, size=SIZE, lists=lists, **knobs)


def copy_v2(root: Path) -> Truth:
    pytest.importorskip("pyarrow")
    return write_v2(root, size=SIZE)


def splits_of(data: LabelledData) -> dict[str, str | None]:
    return {item.name: item.split for item in data.items}


def check_all(data: LabelledData, truth: Truth, *, s1: bool) -> None:
    """Every patch as its generator knows it."""
    assert data.classes == truth.classes and data.task == "multilabel"
    for index, item in enumerate(data.items):
        example = data.read(index)
        assert isinstance(example.target, np.ndarray) and example.size == (SIZE, SIZE) and example.per_cell == 1
        assert tuple(np.array(truth.classes)[example.target]) == truth.labels[item.name]
        files = truth.pixels[item.name]
        assert isinstance(files, dict)
        series = example.sample.series
        assert list(series) == (["s2", "s1"] if s1 else ["s2"])
        check_frame(series["s2"], [files[band] for band in TEN])
        assert series["s2"].sensor is SENTINEL2_L2A and series["s2"].values.dtype == np.uint16
        assert str(series["s2"].dates[0]).replace("-", "") == item.name.split("_")[2][:8]
        if s1:
            assert series["s1"].sensor is SENTINEL1
            check_frame(series["s1"], [files["VV"], files["VH"]])


def check_frame(series: Series, bands: list[np.ndarray]) -> None:
    """Pixels of coarser bands are repeated."""
    for band, values_1HW in enumerate(bands):
        factor = SIZE // values_1HW.shape[-1]
        rows, cols = np.indices((SIZE, SIZE)) // factor
        np.testing.assert_array_equal(series.values[0, band], values_1HW[0][rows, cols])
    assert series.valid.all()


@pytest.mark.parametrize("lists", ["mm", "s2", "torchgeo"])
def test_version_1_holds_what_was_written(tmp_path: Path, lists: str) -> None:
    truth = copy_v1(tmp_path, lists)
    data = open_dataset("bigearthnet-mm", tmp_path)
    assert splits_of(data) == truth.splits and data.version == "v1"
    check_all(data, truth, s1=True)
    (number,) = [n for n, item in enumerate(data.items) if "T93020" in item.name][:1]
    assert str(data.read(number).sample.series["s1"].dates[0]) == "2017-09-24"


def test_version_2_holds_what_was_written(tmp_path: Path) -> None:
    truth = copy_v2(tmp_path)
    data = open_dataset("bigearthnet-mm", tmp_path)
    wanted = {name: split.replace("idation", "") for name, split in truth.splits.items()}
    seen = splits_of(data)
    assert len(seen) == 12 and data.version == "v2" and seen == {name: wanted[name] for name in seen}
    check_all(data, truth, s1=True)
    check_all(open_dataset("bigearthnet-s2", tmp_path), truth, s1=False)


def test_version_2_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "BigEarthNet-S2").mkdir()
    (tmp_path / "metadata.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"pyarrow.*skysense\[datasets\]"):
        open_dataset("bigearthnet-s2", tmp_path)


def test_both_cards_gather_the_same_names() -> None:
    s2, mm = card("bigearthnet-s2"), card("bigearthnet-mm")
    assert (s2.classes, s2.values, s2.versions) == (mm.classes, mm.values, mm.versions)
    assert s2.published("v2", None)["train"] == 237_871 and s2.published("v1", 0.1)["train"] == 26_970
    fine = {name for names in s2.values for name in names}
    assert len(fine) == 32 and fine < set(CLASSES_43)


def test_lists_of_google_leave_out_snow_and_clouds_and_read_updated_labels(tmp_path: Path) -> None:
    truth = copy_v1(tmp_path, "google", updated=True)
    data = open_dataset("bigearthnet-mm", tmp_path)
    names = list(truth.splits)
    assert splits_of(data) == {name: truth.splits[name] for name in names[:-2]}
    assert data.version == "v1, lists of Google Research" and "2 patches with snow" in " ".join(data.notes)
    assert not data.read_item(next(item for item in data.items if item.name == names[-3])).target.any()
    check_all(data, truth, s1=True)


def test_lists_as_zenodo_packs_them(tmp_path: Path) -> None:
    truth = copy_v1(tmp_path)
    (tmp_path / "splits").mkdir()
    for split in ("train", "val", "test"):
        file = tmp_path / f"{split}.csv"
        (tmp_path / "splits" / f"{split}.csv.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert splits_of(open_dataset("bigearthnet-s2", tmp_path)) == truth.splits


def test_position_and_ground(tmp_path: Path) -> None:
    copy_v1(tmp_path)
    data = open_dataset("bigearthnet-s2", tmp_path)
    sample = data.read(0).sample
    assert data.items[0].name.startswith("S2A_MSIL2A_20170613")  # tile 33UUP, whose corner is 300000, 5400000
    assert sample.footprint is not None and sample.footprint.crs == "EPSG:32633"
    left, bottom, right, top = sample.footprint.bounds
    column, row = map(int, data.items[0].name.split("_")[-2:])
    assert (left, top) == (300_000 + 1200 * column, 5_400_000 - 1200 * row) and (right - left, top - bottom) == (
        1200,
        1200,
    )
    assert sample.lon == pytest.approx(12.4, abs=0.3) and sample.lat == pytest.approx(48.6, abs=0.3)


def test_a_share_is_of_the_training_list_alone_and_part_of_a_larger(tmp_path: Path) -> None:
    truth = copy_v1(tmp_path, patches=40)

    def used(share: float) -> dict[str, str | None]:
        return splits_of(open_dataset("bigearthnet-s2", tmp_path, share=share))

    def learned(share: float) -> set[str]:
        return {name for name, split in used(share).items() if split == "train"}

    everything = learned(1.0)
    assert len(learned(0.5)) == round(len(everything) / 2) and learned(0.25) < learned(0.5) < everything
    others = {name: split for name, split in truth.splits.items() if split != "train"}
    assert {name: split for name, split in used(0.25).items() if split != "train"} == others
    with pytest.raises(Exception, match="share to learn from must lie above 0"):
        used(0.0)


def test_the_reader_goes_to_other_processes_and_splits_are_kept(tmp_path: Path) -> None:
    truth = copy_v1(tmp_path)
    data = pickle.loads(pickle.dumps(open_dataset("bigearthnet-mm", tmp_path)))
    train = assign_splits(data).select("train")
    assert {item.name for item in train.items} == {name for name, split in truth.splits.items() if split == "train"}
    check_all(train, truth, s1=True)
    seen = survey(train)
    assert isinstance(seen.data.items, ItemTable) and not seen.failures


def test_labels_are_gathered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = copy_v1(tmp_path)
    told: list[tuple[int, int]] = []
    open_dataset("bigearthnet-s2", tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(12, 12)]
    monkeypatch.setattr(bigearthnet, "read_json", lambda file: pytest.fail(f"{file} was opened again"))
    check_all(open_dataset("bigearthnet-mm", tmp_path), truth, s1=True)


def test_check_compares_with_the_version_and_looks_for_folders(tmp_path: Path) -> None:
    copy_v1(tmp_path)
    found = {one.about: one for one in check_dataset("bigearthnet-mm", tmp_path, share=0.1)}
    assert found["layout"].state == "good" and found["layout"].says.endswith("v1")
    assert found["images for train"].says == "1 of 26,970" and found["images for val"].state == "bad"
    assert found["listed"].state == "good" and found["read"].says.startswith("7 of 7")
    data = open_dataset("bigearthnet-mm", tmp_path)
    gone = sorted(data.read_item.paths(data.items[3]))[1]  # type: ignore[attr-defined]
    assert "BigEarthNet-v1.0" in gone
    shutil.rmtree(gone)
    found = {one.about: one for one in check_dataset("bigearthnet-mm", tmp_path)}
    assert found["listed"].state == "bad" and "1 that the lists name are missing" in found["listed"].says
    assert gone in found["listed"].says and found["read"].says.startswith("11 of 12")


def test_what_was_not_observed(tmp_path: Path) -> None:
    import rasterio

    copy_v1(tmp_path)
    data = open_dataset("bigearthnet-mm", tmp_path)
    s2, s1 = data.read_item.paths(data.items[0])  # type: ignore[attr-defined]
    for file in (*Path(s2).glob("*.tif"), *Path(s1).glob("*.tif")):
        with rasterio.open(file, "r+") as band:
            values = band.read(1)
            values[: len(values) // 2] = 0
            if file.stem.endswith("_VV"):
                values[-1, -1] = np.nan
            band.write(values, 1)
    series = data.read(0).sample.series
    assert series["s2"].valid[0].tolist() == [[row >= SIZE // 2] * SIZE for row in range(SIZE)]
    assert series["s1"].valid[0, -1].tolist() == [True] * (SIZE - 1) + [False] and not series["s1"].valid[0, 0].any()
    assert np.isfinite(series["s1"].values).all()


def wrong(tmp_path: Path, name: str = "bigearthnet-mm") -> str:
    with pytest.raises(InputError) as error:
        open_dataset(name, tmp_path)
    assert error.value.file is not None
    return str(error.value)


def test_copies_that_are_not_whole(tmp_path: Path) -> None:
    copy_v1(tmp_path)
    assert "Give the folder above it" in wrong(tmp_path / "BigEarthNet-v1.0")
    mapping = (tmp_path / "s1s2_mapping.csv").read_text().splitlines()
    for split in ("train", "val", "test"):
        file = tmp_path / f"{split}.csv"
        file.write_text("".join(line.split(",")[0] + "\n" for line in file.read_text().splitlines()))
    (tmp_path / "s1s2_mapping.csv").write_text("\n".join(mapping[1:]))
    assert "no Sentinel-1 patch for 1 patches" in wrong(tmp_path)
    (tmp_path / "s1s2_mapping.csv").unlink()
    assert "name Sentinel-2 patches alone" in wrong(tmp_path)
    (tmp_path / "BigEarthNet-S1-v1.0").rename(tmp_path / "BigEarthNet-S1-v1.0.tar.gz")
    assert "BigEarthNet-S1-v1.0 missing" in wrong(tmp_path) and "still to be unpacked" in wrong(tmp_path)
    lines = (tmp_path / "val.csv").read_text()
    (tmp_path / "val.csv").write_text((tmp_path / "train.csv").read_text())
    assert "name a patch twice" in wrong(tmp_path, "bigearthnet-s2")
    (tmp_path / "val.csv").write_text("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57\n" + lines)
    assert "no list of patches of version 1" in wrong(tmp_path, "bigearthnet-s2")
    (tmp_path / "val.csv").unlink()
    assert "val.csv: is missing" in wrong(tmp_path, "bigearthnet-s2")
    (tmp_path / "train.csv").rename(tmp_path / "train.txt")
    shutil.copy(tmp_path / "train.txt", tmp_path / "val.txt")
    (tmp_path / "patches_with_seasonal_snow.csv").unlink()
    assert "patches_with_seasonal_snow.csv: is missing" in wrong(tmp_path, "bigearthnet-s2")
    (tmp_path / "train.txt").unlink()
    assert "train.csv, val.csv and test.csv are missing" in wrong(tmp_path, "bigearthnet-s2")
    (tmp_path / "BigEarthNet-S2").mkdir()
    assert "holds version 1" in wrong(tmp_path, "bigearthnet-s2")
    (tmp_path / "BigEarthNet-v1.0").rename(tmp_path / "other")
    assert "metadata.parquet: is missing" in wrong(tmp_path, "bigearthnet-s2")
    (tmp_path / "BigEarthNet-S2").rmdir()
    assert "no copy of bigearthnet-s2" in wrong(tmp_path, "bigearthnet-s2")


def test_tables_of_version_2_that_are_none(tmp_path: Path) -> None:
    copy_v2(tmp_path)
    from pyarrow import parquet, string

    file = tmp_path / "metadata.parquet"
    table = parquet.read_table(file)
    split = table.schema.get_field_index("split")
    parquet.write_table(table.set_column(split, "split", [["all"] * len(table)]), file)
    assert "has the splits all" in wrong(tmp_path)
    labels = table.schema.get_field_index("labels")
    parquet.write_table(table.set_column(labels, "labels", [[["Cloud"]] * len(table)]), file)
    assert "label 'Cloud'" in wrong(tmp_path)
    parquet.write_table(table.drop_columns("s1_name"), file)
    assert "is not the table of version 2" in wrong(tmp_path)
    parquet.write_table(table.cast(table.schema.set(0, table.schema.field(0).with_type(string()))).slice(0, 5), file)
    assert len(open_dataset("bigearthnet-s2", tmp_path)) == 5
    file.write_bytes(file.read_bytes()[:100])
    assert "is not the table of version 2" in wrong(tmp_path)


def test_damage_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    copy_v1(tmp_path)
    data = open_dataset("bigearthnet-mm", tmp_path)
    folders = [[Path(path) for path in data.read_item.paths(item)] for item in data.items]  # type: ignore[attr-defined]

    def error(index: int) -> str:
        with pytest.raises(InputError) as caught:
            data.read(index)
        return str(caught.value)

    (b03,) = folders[0][0].glob("*_B03.tif")
    b03.write_bytes(b03.read_bytes()[:-200])
    assert "_B03.tif: is truncated or damaged" in error(0)
    (b8a,) = folders[1][0].glob("*_B8A.tif")
    b8a.unlink()
    assert "_B8A.tif: does not exist" in error(1)
    (vv,) = folders[2][1].glob("*_VV.tif")
    shutil.copy(next(folders[2][0].glob("*_B02.tif")), vv)
    assert "within -100 .. 60" in error(2)
    write_tiff(next(folders[3][0].glob("*_B05.tif")), np.ones((1, 5, 5), np.uint16), "EPSG:32633", None)
    assert "_B05.tif: is 5 x 5 px" in error(3)
    write_tiff(next(folders[4][0].glob("*_B12.tif")), np.ones((3, 12, 12), np.uint16), "EPSG:32633", None)
    assert "_B12.tif: has 3 bands" in error(4)


def test_labels_that_cannot_be_read_are_told_and_found_again(tmp_path: Path) -> None:
    truth = copy_v1(tmp_path)
    name = min(truth.splits)
    file = tmp_path / "BigEarthNet-v1.0" / name / f"{name}_labels_metadata.json"
    whole = file.read_text()
    for content, message in (
        ('{"labels": ["Pas', "not valid JSON"),
        ('{"labels": 3}', "_labels_metadata.json: holds no list of names of labels"),
        ('{"labels": [["Pastures"]]}', "_labels_metadata.json: holds no list of names of labels"),
        (json.dumps({"labels": ["Meadow"]}), "label 'Meadow'"),
    ):
        file.write_text(content)
        data = open_dataset("bigearthnet-s2", tmp_path)
        assert "labels of 1 patches cannot be read" in " ".join(data.notes)
        with pytest.raises(InputError, match=message):
            data.read(0)
    file.write_text(whole)
    check_all(open_dataset("bigearthnet-s2", tmp_path), truth, s1=False)
    for each in (tmp_path / "BigEarthNet-v1.0").glob("*/*.json"):
        each.unlink()
    os.utime(tmp_path / "BigEarthNet-v1.0", (1, 1))  # another time: what was gathered no longer counts
    assert "_labels_metadata.json: could not be read" in wrong(tmp_path)
