"""``skysense adapt`` and ``skysense evaluate``: from a folder of images and masks to a page, and back from mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from skysense.cli import main
from skysense.files import read_json
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.model.weights import save_model
from skysense.tasks.adapted import load_adapted
from tests.data.labelled.files import rgb, write
from tests.datasets.fakes import aid

NAMES = {"2": "ground", "7": "roof"}
FAST = """
way: head
decoder: light
decoder_width: 16
epochs: 8
batch_size: 4
learning_rate: 0.01
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(file, SkySense(preset("tiny")))
    return str(file)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Dark noise with bright halves; masks hold the numbers 2 and 7."""
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            bright = np.zeros((128, 128), bool)
            bright[:, :64] = index % 2
            bright[:, 64:] = not index % 2
            image = np.where(bright, 180 + rgb(128, 128, index) // 4, rgb(128, 128, index) // 4)
            write(tmp_path / "data" / split / "images" / f"{split}{index}.png", image.astype(np.uint8))
            write(tmp_path / "data" / split / "masks" / f"{split}{index}.png", np.where(bright, 7, 2).astype(np.uint8))
    (tmp_path / "data" / "classes.json").write_text(json.dumps(NAMES))
    return tmp_path / "data"


def headline(folder: Path) -> float:
    return json.loads((folder / "results.json").read_text())["metrics"]["mIoU"]["value"]


def test_from_a_folder_to_a_page(data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["adapt", str(data), "--out", str(run), "--dry_run", "true"]) == 0
    assert f"data: 6 examples for segmentation; open {run / 'data.html'}" in capsys.readouterr().out
    assert "roof" in (run / "data.html").read_text() and not (run / "adapted.safetensors").exists()

    (tmp_path / "task.yaml").write_text(f"model: {model}\n{FAST}")
    command = ["adapt", "--config", str(tmp_path / "task.yaml"), str(data), "--out", str(run), "--device", "cpu"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"8 epochs made; the adapted model is {run / 'adapted.safetensors'}" in printed
    assert "2 images, in percent" in printed and f"open {run / 'report.html'}" in printed
    assert headline(run) > 0.8
    assert "ground" in (run / "report.html").read_text()
    assert load_adapted(run / "adapted.safetensors").config.decoder == "light"

    assert main([*command, "--epochs", "9"]) == 0
    assert "went on after 8 epochs" in capsys.readouterr().out
    assert main([*command, "--seed", "1"]) == 2
    assert "config.seed was 0, is 1" in capsys.readouterr().err


def test_an_adapted_model_is_judged_elsewhere(
    data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "task.yaml").write_text(FAST)
    run, file = tmp_path / "run", str(tmp_path / "run" / "adapted.safetensors")
    words = ["--config", str(tmp_path / "task.yaml"), "--model", model, "--device", "cpu"]
    assert main(["adapt", str(data), "--out", str(run), *words]) == 0
    assert main(["evaluate", file, str(data), "--out", str(tmp_path / "val"), "--split", "val"]) == 0
    assert headline(tmp_path / "val") == pytest.approx(headline(run))  # numbers of masks mean what they meant before
    capsys.readouterr()
    assert main(["evaluate", file, str(data), "--out", str(tmp_path / "test")]) == 2
    assert "holds no example for test, but 4 for train, 2 for val" in capsys.readouterr().err

    (data / "classes.json").write_text(json.dumps(dict(reversed(NAMES.items()))))
    assert main(["evaluate", file, str(data), "--out", str(tmp_path / "all"), "--split", "all"]) == 0
    assert headline(tmp_path / "all") > 0.8
    (data / "classes.json").write_text(json.dumps({"2": "ground", "7": "lake"}))
    assert main(["evaluate", file, str(data), "--out", str(tmp_path / "other"), "--split", "all"]) == 2
    assert "lake" in capsys.readouterr().err


def test_data_that_cannot_be_divided_can_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    write(data / "images" / "a.png", rgb())
    write(data / "masks" / "a.png", np.eye(64, dtype=np.uint8))
    assert main(["adapt", str(data), "--out", str(tmp_path / "run"), "--dry_run", "true"]) == 0
    assert "cannot be divided" in capsys.readouterr().out
    assert main(["adapt", str(data), "--out", str(tmp_path / "run"), "--model", "any"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give a model with --model"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors: there is no such file"),
        (["--model", "MODEL", "--decoder", "bit"], "decoder 'bit' does not answer segmentation"),
        (["--model", "MODEL", "--epochs", "0"], "epochs and batch_size must be at least 1"),
        (["--model", "MODEL", "--modalities", "[s1]"], "has hr, and none of s1"),
        (["--model", "MODEL", "--labels.task", "change"], "holds no labels for change"),
        (["--model", "MODEL", "--labels.tile", "100"], "tile=100 must be a positive multiple of 32"),
        (["--model", "MODEL", "--device", "cuda:77"], "device"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [model if word == "MODEL" else word for word in words]
    assert main(["adapt", str(data), "--out", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error


@pytest.mark.parametrize(
    "words", [["--way", "fast"], ["--epochen", "3"], ["--config", "nowhere.yaml"], ["--epochs", "x"]]
)
def test_options_that_do_not_exist_are_named(words: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["adapt", str(data), "--out", "run", *words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert words[0].removeprefix("--") in error and "Traceback" not in error


def test_files_that_are_no_adapted_models_are_refused(
    data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", model, str(data), "--out", str(tmp_path / "out")]) == 2
    assert "is no adapted model" in capsys.readouterr().err


@pytest.mark.long
def test_what_was_learned_is_not_judged(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy of a published data set, learned from and judged by other shares of it."""
    aid.write(tmp_path, per_class=4, size=64)
    run, file = tmp_path / "run", str(tmp_path / "run" / "adapted.safetensors")
    words = ["--labels.dataset", "aid", "--labels.share", "0.5", "--labels.validate", "false", "--model", model]
    quick = ["--way", "linear", "--epochs", "1", "--device", "cpu"]
    assert main(["adapt", str(tmp_path), "--out", str(run), *words, *quick]) == 0
    judged = ["evaluate", file, str(tmp_path), "--device", "cpu", "--out", str(tmp_path / "again")]
    assert main(judged) == 0
    assert read_json(tmp_path / "again" / "results.json")["counts"]["images"] == 60
    capsys.readouterr()
    assert main([*judged, "--labels.share", "0.25"]) == 2
    assert "the model learned from another division of these examples" in " ".join(capsys.readouterr().err.split())
    assert main([*judged, "--split", "val"]) == 2
    assert "holds no example for 'val'" in capsys.readouterr().err
    assert main([*judged, "--labels.share", "0.25", "--split", "all"]) == 0
    shutil.rmtree(tmp_path / "AID" / "Park")
    assert main(judged) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "no image in Park" in error and "Unpack" in error and "adapted to aid" in error


def test_the_task_of_a_published_data_set_is_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["adapt", str(tmp_path), "--out", str(tmp_path / "run"), "--labels.dataset", "dior"]
    assert main([*words, "--labels.task", "change"]) == 2
    assert "dior is for detection, not for change" in capsys.readouterr().err
    assert main([*words, "--labels.task", "detection"]) == 2
    assert "is no copy of dior" in " ".join(capsys.readouterr().err.split())
    assert main(["adapt", str(tmp_path), "--out", str(tmp_path / "run"), "--labels.share", "0.5"]) == 2
    assert "Name the one that it is with --labels.dataset" in capsys.readouterr().err
