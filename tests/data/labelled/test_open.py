"""Which format a folder is taken for, and what is said when it is none or several."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.open import open_labelled
from skysense.errors import InputError
from tests.data.labelled.files import coco, rgb, write


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Images with masks, and COCO boxes beside them."""
    write(tmp_path / "images" / "a.png", rgb())
    write(tmp_path / "masks" / "a.png", np.zeros((64, 64), np.uint8))
    coco(tmp_path / "boxes.json", [{"file_name": "a.png"}], [{"bbox": [1, 2, 3, 4]}])
    return tmp_path


def test_the_task_decides_between_formats(several: Path) -> None:
    assert open_labelled(several, task="detection").task == "detection"
    with pytest.raises(InputError, match=re.escape("looks like several formats (masks: images/ and masks/")):
        open_labelled(several)
    with pytest.raises(InputError, match=r"looks like several formats \(masks.*; coco.*--labels.format masks"):
        open_labelled(several, task="segmentation")
    assert open_labelled(several, format="masks").task == "segmentation"


def test_a_task_that_the_labels_do_not_serve(several: Path) -> None:
    with pytest.raises(InputError, match="holds no labels for change; it holds images/ and masks/"):
        open_labelled(several, task="change")
    with pytest.raises(InputError, match="serves segmentation; not detection"):
        open_labelled(several, task="detection", format="masks")
    with pytest.raises(InputError, match="task 'drawing' is none of classification"):
        open_labelled(several, task="drawing")


def test_options_of_another_format(several: Path) -> None:
    with pytest.raises(InputError, match="it does not take label, background"):
        open_labelled(several, format="masks", label="kind", background=None)


def test_nothing_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError) as caught:
        open_labelled(tmp_path)
    for words in ("images/ and masks/", "labelTxt", ".csv", "dataset.json", "Found: notes.txt"):
        assert words in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        open_labelled(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither a folder nor"):
        open_labelled(tmp_path / "notes.txt")


def test_a_csv_beside_folders_of_images_is_the_label(tmp_path: Path) -> None:
    write(tmp_path / "tiles" / "1.png", rgb())
    (tmp_path / "labels.csv").write_text("file,label\ntiles/1.png,water\n")
    assert open_labelled(tmp_path).classes == ("water",)
