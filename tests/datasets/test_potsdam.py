"""ISPRS Potsdam: windows, lossy labels, positions, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.dataset import Item
from skysense.datasets.card import card
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.datasets.potsdam import TEST, TRAIN
from skysense.datasets.splits import split_hash
from skysense.errors import InputError
from tests.data.labelled.files import rgb, write
from tests.datasets.fakes import potsdam


def paths(root: Path, name: str) -> list[Path]:
    return sorted(root.rglob(name))


@pytest.mark.parametrize("nested", [True, False])
def test_windows_labels_and_splits(nested: bool, tmp_path: Path) -> None:
    truth = potsdam.write(tmp_path, nested=nested)
    data = open_dataset("potsdam", tmp_path, tile=64)
    assert data.classes == truth.classes and data.task == "segmentation"
    images = {Path(path).name: path for path in truth.pixels if path.endswith("_RGB.tif")}
    labels = {Path(path).name: found for path, found in truth.labels.items() if path.endswith("noBoundary.tif")}
    counted = {name: np.zeros((96, 96), int) for name in images}
    reader = pickle.loads(pickle.dumps(data.read_item))
    for item in data.items:
        name, corner = item.name.split("@")
        row, col = map(int, corner.split(","))
        example = reader(item)
        rows, cols = example.size
        here = (slice(row, row + rows), slice(col, col + cols))
        counted[name][here] += 1
        assert item.split == truth.splits[images[name]] and item.group == name
        np.testing.assert_array_equal(
            example.sample.series["hr"].values[0, :, :rows, :cols], truth.pixels[images[name]][:, *here]
        )
        eroded = labels[name.replace("_RGB", "_label_noBoundary")]
        np.testing.assert_array_equal(example.target[:rows, :cols], eroded[here])  # of 4_12 and 6_7 too
        assert (example.target[rows:] == 255).all() and (example.target[:, cols:] == 255).all()
    assert all((count_HW == 1).all() for count_HW in counted.values())  # no pixel is judged twice
    assert {item.name for item in data.items} == {
        f"{name}@{row},{col}" for name in images for row in (0, 64) for col in (0, 64)
    }
    assert "4 of 38 published" in data.notes[-1]


def test_positions_come_from_world_files(tmp_path: Path) -> None:
    potsdam.write(tmp_path, tiles=("2_10", "2_13"))
    for file in paths(tmp_path, "top_potsdam_2_13_RGB.tfw"):
        file.unlink()
    known, unknown = open_dataset("potsdam", tmp_path).items
    assert known.lon == pytest.approx(13.0438, abs=1e-3) and known.lat == pytest.approx(52.4221, abs=1e-3)
    assert (unknown.lon, unknown.lat) == (None, None)


def test_the_lists_and_their_hash() -> None:
    assert set(potsdam.TRAIN) == TRAIN and set(potsdam.TEST) == TEST
    for tile, known, count in ((512, "tile 512", 3456), (1024, "tile 1024", 864)):
        starts = range(0, 6000, tile)
        assert len(TRAIN) * len(starts) ** 2 == count  # of 512 px: as many as mmsegmentation cuts
        items = [
            Item(f"top_potsdam_{number}_RGB.tif@{row},{col}", "", "train" if number in TRAIN else "test")
            for number in TRAIN | TEST
            for row in starts
            for col in starts
        ]
        assert split_hash(items) == card("potsdam").hashes[known]


def test_what_is_no_whole_copy(tmp_path: Path) -> None:
    truth = potsdam.write(tmp_path)
    for file in paths(tmp_path, "*2_13_label_noBoundary.tif"):
        file.unlink()
    missing = r"1 of 4 labels without boundaries are missing, first 5_Labels_all_noBoundary/top_potsdam_2_13_label_noB"
    with pytest.raises(InputError, match=missing):
        open_dataset("potsdam", tmp_path)
    for file in paths(tmp_path, "top_potsdam_*_RGB.tif"):
        file.unlink()
    with pytest.raises(InputError, match=r"only other bands of them. Unpack 2_Ortho_RGB\.zip"):
        open_dataset("potsdam", tmp_path)
    write(tmp_path / "2_Ortho_RGB/top_potsdam_2_10_RGB.tif", truth.pixels[next(iter(truth.pixels))])
    with pytest.raises(InputError, match=r"3 of 4 images in red.*first 2_Ortho_RGB/top_potsdam_2_13_RGB\.tif|2 of 3"):
        open_dataset("potsdam", tmp_path)
    write(tmp_path / "2_Ortho_RGB/top_potsdam_9_9_RGB.tif", rgb())
    with pytest.raises(InputError, match="holds 9_9, which is no image of ISPRS Potsdam"):
        open_dataset("potsdam", tmp_path)


def test_look_alikes(tmp_path: Path) -> None:
    for name, said in (
        ("Potsdam.zip", r"it holds Potsdam\.zip, still to be unpacked"),
        ("Potsdam.zip.part", "not downlo"),
    ):
        (tmp_path / name.split(".")[-1]).mkdir()
        (tmp_path / name.split(".")[-1] / name).touch()
        with pytest.raises(InputError, match=said):
            open_dataset("potsdam", tmp_path / name.split(".")[-1])
    write(tmp_path / "v/top_mosaic_09cm_area1.tif", rgb())
    with pytest.raises(InputError, match="it looks like ISPRS Vaihingen"):
        open_dataset("potsdam", tmp_path / "v")
    potsdam.write_patches(tmp_path / "patches")
    with pytest.raises(InputError, match="it holds patches, whose numbering of classes is not told"):
        open_dataset("potsdam", tmp_path / "patches")
    with pytest.raises(InputError, match="is not a folder"):
        open_dataset("potsdam", tmp_path / "nowhere")


def test_labels_that_do_not_belong(tmp_path: Path) -> None:
    potsdam.write(tmp_path, tiles=("2_10", "2_11", "2_12"))
    for number, mask in (("2_10", np.zeros((1, 96, 96), np.uint8)), ("2_11", np.zeros((3, 96, 95), np.uint8))):
        write(tmp_path / f"5_Labels_all_noBoundary/top_potsdam_{number}_label_noBoundary.tif", mask)
    (image,) = paths(tmp_path, "top_potsdam_2_12_RGB.tif")
    image.write_bytes(image.read_bytes()[:9000])
    data = open_dataset("potsdam", tmp_path)
    for index, said in enumerate(
        ("has 1 bands; its classes are colours", "is 96 x 95 px; its image is 96 x 96", "2_12_RGB")
    ):
        with pytest.raises(InputError, match=said):
            data.read(index)


def test_the_report_on_a_copy(tmp_path: Path) -> None:
    potsdam.write(tmp_path)
    found = {one.about: one for one in check_dataset("potsdam", tmp_path)}
    assert found["layout"].state == "good" and found["read"].state == "good" and found["classes"].state == "good"
    assert (found["images for test"].state, found["images for test"].says) == ("bad", "1 of 14")
    assert found["splits"].state == "bad"
