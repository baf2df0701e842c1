"""AID and NWPU-RESISC45: what is read, what is learned from, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from skysense.data.labelled.dataset import Item
from skysense.datasets.card import card
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.datasets.splits import draw_share, split_hash
from skysense.errors import ConfigError, InputError
from tests.datasets.fakes import aid, resisc45

AID_COUNTS = (
    *(360, 310, 220, 400, 360, 260, 240, 350, 410, 300, 370, 250, 390, 280, 290, 340, 350, 390, 370, 420, 380, 260),
    *(290, 410, 300, 300, 330, 290, 360, 420),
)


@pytest.mark.parametrize(("name", "fake", "folder"), [("aid", aid, "AID"), ("resisc45", resisc45, "NWPU-RESISC45")])
def test_images_labels_and_a_share_of_every_class(name: str, fake: ModuleType, folder: str, tmp_path: Path) -> None:
    truth = fake.write(tmp_path, per_class=5, lists=True)
    data = open_dataset(name, tmp_path, share=0.2)
    assert data.classes == truth.classes and data.task == "classification"
    assert {f"{folder}/{item.name}" for item in data.items} == set(truth.labels)
    for index in range(0, len(data), 17):
        example, path = data.read(index), f"{folder}/{data.items[index].name}"
        assert data.classes[example.target] == truth.labels[path]
        rows, cols = example.size
        found = example.sample.series["hr"].values[0, :, :rows, :cols]
        assert np.abs(found.astype(int) - truth.pixels[path]).mean() < 4  # what JPEG changes
    learned = [data.classes[data.read(index).target] for index, item in enumerate(data.items) if item.split == "train"]
    assert sorted(learned) == sorted(truth.classes) and {item.split for item in data.items} == {"train", "test"}
    assert open_dataset(name, tmp_path / folder, share=0.2).items == data.items  # the folder inside will do
    assert "225 of" in data.notes[-1] or "150 of" in data.notes[-1]


def test_the_hashes_on_the_cards_are_those_of_whole_copies() -> None:
    folders = {
        "aid": {
            name: [f"{name}/{name.lower()}_{number}.jpg" for number in range(1, count + 1)]
            for name, count in zip(card("aid").classes, AID_COUNTS, strict=True)
        },
        "resisc45": {
            name: [f"{name}/{name}_{number:03}.jpg" for number in range(1, 701)] for name in card("resisc45").classes
        },
    }
    for name, files in folders.items():
        assert sum(map(len, files.values())) == card(name).examples
        for asked, known in card(name).hashes.items():
            splits = draw_share(files, float(asked.removeprefix("share ")))
            assert split_hash(Item(file, file, split) for file, split in splits.items()) == known


def test_a_share_depends_on_names_alone() -> None:
    names = [f"a{number}" for number in range(10)]
    drawn = draw_share({"a": names}, 0.3)
    assert draw_share({"a": names[::-1]}, 0.3) == drawn
    assert sum(split == "train" for split in drawn.values()) == 3
    assert draw_share({"a": names}, 0.3, seed=1) != drawn
    one = {name for name, split in drawn.items() if split == "train"}
    assert one < {name for name, split in draw_share({"a": names}, 0.5).items() if split == "train"}
    for share in (0, 1, 1.5):
        with pytest.raises(ConfigError, match="share"):
            draw_share({"a": names}, share)


def test_what_is_no_copy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is empty"):
        open_dataset("aid", tmp_path)
    (tmp_path / "AID.zip").write_bytes(b"")
    with pytest.raises(InputError, match=r"it holds AID\.zip, still to be unpacked.*skysense datasets show aid"):
        open_dataset("aid", tmp_path)
    (tmp_path / "AID.zip").rename(tmp_path / "AID.zip.part")
    with pytest.raises(InputError, match=r"AID\.zip\.part was not downloaded whole"):
        open_dataset("aid", tmp_path)
    resisc45.write(tmp_path, per_class=1)
    with pytest.raises(InputError, match=r"is no copy of aid: Airport missing; .*"):
        open_dataset("aid", tmp_path)
    with pytest.raises(InputError, match="no data set is called 'AIDS'"):
        open_dataset("AIDS", tmp_path)
    with pytest.raises(InputError, match="resisc45 has no option tile; it takes share"):
        open_dataset("resisc45", tmp_path, tile=64)


def test_half_a_copy(tmp_path: Path) -> None:
    aid.write(tmp_path, per_class=2)
    shutil.rmtree(tmp_path / "AID" / "Viaduct")
    with pytest.raises(InputError, match="no image in Viaduct"):
        open_dataset("aid", tmp_path)


def test_check_says_what_is_good_and_what_is_not(tmp_path: Path) -> None:
    aid.write(tmp_path, per_class=2, size=64)
    found = {one.about: one for one in check_dataset("aid", tmp_path, share=0.5)}
    assert "note" not in found  # the numbers of images are findings of their own
    assert found["layout"].state == "good" and found["read"].state == "good" and found["classes"].state == "good"
    assert found["images"].state == "bad" and found["images"].says == "60 of 10,000 published"
    assert found["splits"].state == "bad" and card("aid").hashes["share 0.5"] in found["splits"].says
    (tmp_path / "AID" / "Park" / "park_2.jpg").write_bytes(b"no image")
    again = check_dataset("aid", tmp_path)
    (drawn,) = [one for one in again if one.about == "splits"]  # a share that nobody named is compared, too
    assert drawn.state == "bad" and card("aid").hashes["share 0.2"] in drawn.says
    broken = [one for one in again if one.state == "bad" and one.about == "read"]
    assert "park_2.jpg" in broken[0].says and broken[-1].says.startswith("59 of 60")
    (wrong,) = check_dataset("resisc45", tmp_path)
    assert wrong.state == "bad" and "is no copy of resisc45" in wrong.says
