"""Labels of whole images: a folder per class, and tables."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.open import open_labelled
from skysense.errors import InputError
from tests.data.labelled.files import rgb, write


def test_a_folder_per_class(tmp_path: Path) -> None:
    for number, (name, suffix) in enumerate((("town", "png"), ("forest", "tif"), ("forest", "jpg"))):
        write(tmp_path / name / f"{number}.{suffix}", rgb(64, 40, seed=number))
    data = open_labelled(tmp_path)
    assert (data.task, data.classes) == ("classification", ("forest", "town"))
    assert [item.name for item in data.items] == ["forest/1.tif", "forest/2.jpg", "town/0.png"]
    assert [data.read(index).target for index in range(3)] == [0, 0, 1]
    example = data.read(2)
    np.testing.assert_array_equal(example.sample.series["hr"].values[0, :, :64, :40], rgb(64, 40, seed=0))
    assert example.size == (64, 40) and example.per_cell == 32


def test_split_folders_and_given_order_of_classes(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a" / "1.png", rgb())
    write(tmp_path / "valid" / "b" / "1.png", rgb(seed=1))
    data = open_labelled(tmp_path, classes=["b", "a", "c"])
    assert {item.name: item.split for item in data.items} == {"train/a/1.png": "train", "valid/b/1.png": "val"}
    assert [data.read(index).target for index in (0, 1)] == [1, 0]
    with pytest.raises(InputError, match="labels 'a' that are none of the classes b, c"):
        open_labelled(tmp_path, classes=["b", "c"])


def test_a_data_set_goes_to_other_processes(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png", rgb())
    again = pickle.loads(pickle.dumps(open_labelled(tmp_path)))
    assert again.read(0).target == 0


def table(root: Path, text: str) -> Path:
    for number in (1, 2, 3):
        write(root / "tiles" / f"{number}.png", rgb(seed=number))
    (root / "labels.csv").write_text(text, "utf-8-sig")
    return root


def test_a_table(tmp_path: Path) -> None:
    text = "split,file,label,lon,lat,group\ntrain,tiles/1.png,water,11.5,48,g\nval,tiles/2.png,trees,,,\n"
    data = open_labelled(table(tmp_path, text))
    assert (data.task, data.classes) == ("classification", ("trees", "water"))
    first, second = data.items
    assert (first.name, first.split, first.lon, first.lat, first.group) == ("tiles/1.png", "train", 11.5, 48.0, "g")
    assert (second.split, second.lon, second.group) == ("val", None, "tiles/2.png")
    example = data.read(0)
    assert example.target == 1 and (example.sample.lon, example.sample.lat) == (11.5, 48.0)


def test_a_table_with_several_labels(tmp_path: Path) -> None:
    data = open_labelled(table(tmp_path, "file,label\ntiles/1.png,water; trees\ntiles/2.png,\ntiles/3.png,built\n"))
    assert (data.task, data.classes) == ("multilabel", ("built", "trees", "water"))
    labels = np.array([data.read(index).target for index in range(3)])
    assert labels.dtype == bool
    np.testing.assert_array_equal(labels, [[0, 1, 1], [0, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,kind\ntiles/1.png,a\n", "has no column label; its columns are file, kind"),
        ("file,label\ntiles/1.png,a,b\n", "line 2 has 3 cells; the header has 2"),
        ("file,label\ntiles/1.png,a\ntiles/1.png,b\n", "line 3 names tiles/1.png a second time"),
        ("file,label,split\ntiles/1.png,a,later\n", "line 2: split 'later' is none of train, val, test"),
        ("file,label,lon,lat\ntiles/1.png,a,200,1\n", "line 2: position lon 200, lat 1 is outside"),
        ("file,label,lon,lat\ntiles/1.png,a,x,1\n", "line 2: lon and lat must be numbers"),
        ("file,label\ntiles/1.png,\ntiles/2.png,a\n", "tiles/1.png has 0 labels; classification needs one"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        open_labelled(table(tmp_path, text) / "labels.csv")
    assert caught.value.file == tmp_path / "labels.csv"
