"""``skysense export``: what is written, what it says of itself, what is refused; all or nothing is left."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import skysense
from skysense.cli import main
from skysense.errors import ConfigError, InputError, OutputError, SkySenseError
from skysense.export import check, front
from skysense.export.check import inputs_of_check, run
from skysense.export.graphs import EncoderGraph
from skysense.export.writing import files_of, save
from skysense.geo import mercator_tile, region_cell
from skysense.model.weights import save_model, weights_sha256
from tests.export.models import adapted, model

onnx = pytest.importorskip("onnx")
onnx_ir = pytest.importorskip("onnx_ir")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
NO_TORCH = "\nimport sys\nassert not {'torch', 'skysense'} & set(sys.modules)\n"


def code_of_docs(which: str) -> str:
    """The block of Python in the docs that has some words in it."""
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.S) if which in one]
    return block


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder of Sentinel-2 alone, by the command."""
    folder = tmp_path_factory.mktemp("export")
    save_model(folder / "model.safetensors", model().part(["s2", "align_s2"]))
    arguments = ["export", str(folder / "model.safetensors"), "--out", str(folder / "out"), "--int8", "true"]
    assert main(arguments) == 0
    return folder / "out"


def test_files_say_what_they_are(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == ["README.md", "s2.int8.onnx", "s2.onnx", "skysense.json"]
    (about,) = json.loads((exported / "skysense.json").read_text("utf-8"))["files"]
    (port,) = about["inputs"]
    assert port["bands"][:2] == ["B2", "B3"] and port["unit"] == "reflectance*1e4" and port["step_px"] == 8
    assert port["axes"] == ["batch", "bands", "rows", "columns"]
    assert port["normalisation"]["mean"] == list(model().sensor_of("s2").mean)
    assert about["model"]["licence"] == "of a test"
    part = model().part(["s2", "align_s2"])
    assert about["model"]["weights_sha256"] == weights_sha256(part.state_dict())
    assert about["checked"]["difference"] < 1e-5 and about["int8"]["cosine"] > 0.99
    session = onnxruntime.InferenceSession(exported / "s2.onnx")
    inside = json.loads(session.get_modelmeta().custom_metadata_map["skysense"])
    assert inside == {name: value for name, value in about.items() if name in inside}
    assert {"inputs", "outputs", "sizes", "model"} <= set(inside)
    assert b"frames.py" not in (exported / "s2.onnx").read_bytes()  # no traces of the machine it was written on
    assert [one.shape for one in session.get_inputs()] == [["batch", 10, "s2_rows", "s2_columns"]]
    small, large = (
        sum(one.stat().st_size for one in files_of(exported / name)) for name in ("s2.int8.onnx", "s2.onnx")
    )
    assert about["int8"]["size"] == pytest.approx(small / large) and small < 0.6 * large


def test_every_batch_and_size(exported: Path) -> None:
    session, graph = onnxruntime.InferenceSession(exported / "s2.onnx"), EncoderGraph(model(), "s2")
    for batch, rows, columns in ((1, 8, 8), (4, 24, 16), (2, 16, 16)):
        x = torch.randn(batch, 10, rows, columns) * 500 + 1500
        x[0, 3, 2, 5] = torch.nan
        with torch.inference_mode():
            wanted = graph.expected(x)
        for one, other in zip(session.run(None, {"s2": x.numpy()}), wanted, strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=1e-5 * float(other.abs().max()))


def test_the_example_of_the_docs_needs_nothing_of_this_package(exported: Path) -> None:
    code = code_of_docs("InferenceSession").replace("exported/", f"{exported}/")
    assert len(code.splitlines()) <= 15
    done = subprocess.run([sys.executable, "-c", code + NO_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "(2, 64, 4, 4)" in done.stdout and "(2, 128, 16, 16)" in done.stdout


@pytest.mark.parametrize(("lon", "lat"), [(0.0, 0.0), (13.4, 52.5), (-179.99, -60.0), (179.99, 83.0)])
def test_the_region_of_the_docs_is_that_of_the_package(lon: float, lat: float) -> None:
    for words, rule in (("EPSG:6933", region_cell), ("asinh", mercator_tile)):
        names = {"lon": lon, "lat": lat}
        exec(compile(code_of_docs(words), "docs/export.md", "exec"), names)
        assert names["region_id"] == rule(lon, lat)


def test_the_example_of_the_page_runs(exported: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text("utf-8"), re.S)
    done = subprocess.run([sys.executable, "-c", block + NO_TORCH], cwd=exported, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_large_weights_lie_beside_the_graph(exported: Path, tmp_path: Path) -> None:
    graph, path = EncoderGraph(model(), "s2"), tmp_path / "s2.onnx"
    save(onnx_ir.load(exported / "s2.onnx"), path, largest=1000)
    assert [one.name for one in files_of(path)] == ["s2.onnx", "s2.onnx.data"]
    assert path.stat().st_size < (tmp_path / "s2.onnx.data").stat().st_size
    assert check.check(path, graph, model()).difference < 1e-5
    front.write_int8(path, tmp_path / "small.onnx", largest=1000)
    assert len(files_of(tmp_path / "small.onnx")) == 2
    found = run(tmp_path / "small.onnx", graph, inputs_of_check(graph, model()))
    assert found[0].isfinite().all()


def test_what_is_there_is_not_replaced_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "graphs_of", lambda *_: pytest.fail("it was begun"))
    (tmp_path / "out").mkdir()
    part = model().part(["s2"])
    with pytest.raises(OutputError, match="exists already"):
        front.to_onnx(part, tmp_path / "out")
    (tmp_path / "out" / "thesis.tex").write_text("all of it")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="is no folder of an export"):
            front.to_onnx(part, tmp_path / "out", overwrite=overwrite)
    for name in ("skysense.json", "README.md", "s2.onnx", "s2.onnx.data"):
        (tmp_path / "out" / name).write_text("earlier")
    with pytest.raises(OutputError, match="also holds thesis"):
        front.to_onnx(part, tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "thesis.tex").unlink()
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(OutputError, match="is the folder this runs in"):
        front.to_onnx(part, ".", overwrite=True)
    with pytest.raises(OutputError, match="could not be written: file name too long"):
        front.to_onnx(part, "x" * 300)


@pytest.mark.parametrize("count", [0, 3])
def test_a_detector_says_what_its_answers_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The best score, frames, clouds, no paths; and that nothing was compared where nothing was found."""
    pytest.importorskip("torchvision")
    made = copy.deepcopy(adapted("detection", ["s2"], 1, fuses=False))
    made.config, made.card = (
        replace(made.config, clear_only=True, frames_s2=5),
        {"adapted": {"least_score": 0.4, "opened": {"labels": "/home/ann/roofs.geojson"}}},
    )
    boxes = (torch.rand(count, 4), torch.rand(count), torch.zeros(count, dtype=torch.int64))
    monkeypatch.setattr(front, "write_graph", lambda graph, held, path, content: path.write_text("x"))
    monkeypatch.setattr("skysense.export.boxes.BoxGraph.expected", lambda *_: boxes)
    monkeypatch.setattr(check, "run", lambda *_: boxes)
    (file,) = front.to_onnx(made, tmp_path / "out")
    (about,) = json.loads((tmp_path / "out" / "skysense.json").read_text("utf-8"))["files"]
    task, checked = about["task"], about["checked"]
    assert task["thresholds"]["least_score"] == 0.4 and "least_score" in task["still_to_do"]
    assert task["frames"]["most"] == {"s2": 5} and "cloudy" in task["clouds"]
    assert "/home/ann" not in (tmp_path / "out" / "skysense.json").read_text("utf-8")
    assert file.boxes == checked["boxes"] == count
    assert ("nothing was compared" in checked["says"]) == (count == 0)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    if overwrite:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "skysense.json").write_text("earlier")
    monkeypatch.setattr(front, "write_graph", lambda graph, held, path, content: path.write_text("x"))
    monkeypatch.setattr(check, "run", lambda path, graph, inputs: tuple(one + 1 for one in graph.expected(*inputs)))
    with pytest.raises(SkySenseError, match="ONNX Runtime differs from PyTorch"):
        front.to_onnx(model().part(["s2"]), tmp_path / "out", overwrite=overwrite)
    left = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))]
    assert left == (["out", "out/skysense.json"] if overwrite else [])


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(front, "write_graph", full)
    with pytest.raises(OutputError, match="no space left"):
        front.to_onnx(model().part(["s2"]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "write_graph", lambda graph, held, path, content: path.write_text("new"))
    monkeypatch.setattr(check, "run", lambda path, graph, inputs: graph.expected(*inputs))
    (tmp_path / "out").mkdir()
    for name in ("skysense.json", "hr.onnx"):
        (tmp_path / "out" / name).write_text("old")
    front.to_onnx(model().part(["s2"]), tmp_path / "out", overwrite=True)
    names = [path.name for path in sorted((tmp_path / "out").iterdir())]
    assert names == ["README.md", "s2.onnx", "skysense.json"] and len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = model().part(["s2", "align_s2"])
    with pytest.raises(InputError, match="no encoder for hr; it has s2"):
        skysense.to_onnx(part, tmp_path / "out", modalities=["hr"])
    with pytest.raises(ConfigError, match="sensors of its task, s2"):
        skysense.to_onnx(adapted("classification", ["s2"], 1), tmp_path / "out", modalities=["hr"])
    with pytest.raises(InputError, match="the model has no encoder; it has dates"):
        skysense.to_onnx(model().part(["dates"]), tmp_path / "out")
    (tmp_path / "notes.safetensors").write_text("not a model")
    for name, words in (("notes.safetensors", "no safetensors file"), ("nothing.safetensors", "there is no such file")):
        assert main(["export", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert words in said and name in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    save_model(tmp_path / "model.safetensors", model().part(["s2"]))
    assert main(["export", str(tmp_path / "model.safetensors"), "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'skysense[export]'" in capsys.readouterr().err


def test_the_model_that_was_given_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = copy.deepcopy(model().part(["s2"])).train().bfloat16()
    monkeypatch.setattr(front, "write_graph", lambda graph, held, path, content: path.write_text("x"))
    monkeypatch.setattr(check, "run", lambda path, graph, inputs: graph.expected(*inputs))
    front.to_onnx(given, tmp_path / "out")
    assert given.training and next(given.parameters()).dtype == torch.bfloat16
