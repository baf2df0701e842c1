"""Every head and every sensor as ONNX files, and real imagery through models that have learned from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from examples import kit_to_labelled
from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.open import open_labelled
from skysense.export.check import box_difference, session_of
from skysense.export.front import graphs_of, to_onnx
from skysense.tasks.adapt import adapt
from skysense.tasks.adapted import Adapted, load_adapted
from skysense.tasks.augment import cropped
from tests.export.models import adapted, model
from tests.tasks.labelled_samples import tiny
from tests.tasks.test_kit import BY_HEART, by_heart, richest

for module in ("onnx", "onnxscript", "onnxruntime", "torchvision"):
    pytest.importorskip(module)
pytestmark = pytest.mark.long

TASKS = [
    ("segmentation", "upernet", True),
    ("segmentation", "light", False),
    ("multilabel", None, False),
    ("change", "bit", True),
    ("semantic-change", None, True),
    ("detection", None, True),
    ("oriented-detection", None, True),
]


@pytest.mark.parametrize(("task", "decoder", "fuses"), TASKS)
def test_a_task_of_series(tmp_path: Path, task, decoder, fuses) -> None:
    made = adapted(task, ["s2"], 1, decoder, fuses=fuses)
    (file,) = to_onnx(made, tmp_path / "out", int8=True)
    assert file.difference < 1e-4 and file.loss is not None and file.loss.same is not None
    assert file.loss.size < 0.5 and file.loss.same > 0.9
    (about,) = json.loads((tmp_path / "out" / "skysense.json").read_text("utf-8"))["files"]
    assert about["task"]["classes"] == ["ground", "thing", "other"] and len(about["task"]["colours"]) == 3
    assert ("thresholds" in about["task"]) == ("detection" in task)
    dates = ["before", "before", "after", "after"] if "change" in task else [None, None]
    assert [port.get("date") for port in about["inputs"] if port["kind"] != "region"] == dates[: 4 if fuses else 1]


def test_all_sensors(tmp_path: Path) -> None:
    files = to_onnx(model(), tmp_path / "out", int8=True)
    assert [file.path.name for file in files] == ["hr.onnx", "s2.onnx", "s1.onnx", "fused.onnx"]
    assert max(file.difference for file in files) < 1e-4
    assert all(file.loss is not None and file.loss.cosine is not None and file.loss.cosine > 0.98 for file in files)


def learned(data: LabelledData, out: Path) -> Adapted:
    adapt(replace(BY_HEART, epochs=2), tiny(), data, out, device="cpu")
    return load_adapted(out / "adapted.safetensors")


def test_real_masks(kit: Path, tmp_path: Path) -> None:
    """A decoder that has learned buildings says the same of them in ONNX Runtime, and nearly so in 8 bits."""
    kit_to_labelled.building_masks(kit, tmp_path / "data")
    data = open_labelled(tmp_path / "data", classes=["ground", "building"])
    chosen = richest(data, lambda example: (example.target == 1).sum())

    def cut(example):
        return cropped(example, 0, 0, 256, 256)

    made = learned(by_heart(data, chosen, passes=5, cut=cut), tmp_path / "run")
    (file,) = to_onnx(made, tmp_path / "out", int8=True)
    examples = [made.reading.ready(cut(data.read_item(item))) for item in chosen[:4]]
    images = np.concatenate([example.sample.series["hr"].values for example in examples]).astype(np.float32)
    wanted = torch.stack([answer["mask"] for answer in made.predictor().answers(examples)]).numpy()
    found, small = (
        session_of(tmp_path / "out" / name).run(None, {"hr": images})[0] for name in ("task.onnx", file.int8.name)
    )
    assert 0.02 < (wanted.argmax(1) == 1).mean() < 0.9
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert (small.argmax(1) == wanted.argmax(1)).mean() > 0.97


def test_real_boxes(kit: Path, tmp_path: Path) -> None:
    kit_to_labelled.building_boxes(kit, tmp_path / "data")
    data = open_labelled(tmp_path / "data")
    chosen = richest(data, lambda example: len(example.target.label_N))[:2]

    def cut(example):
        return cropped(example, 0, 0, 256, 256)

    made = learned(by_heart(data, chosen, passes=20, cut=cut), tmp_path / "run")
    to_onnx(made, tmp_path / "out")
    (graph,) = graphs_of(made.encoder.model, made)
    session = session_of(tmp_path / "out" / "task.onnx")
    for item in chosen:
        example = made.reading.ready(cut(data.read_item(item)))
        (wanted,) = made.predictor().answers([example])
        values = torch.from_numpy(example.sample.series["hr"].values.astype(np.float32))
        found = [torch.from_numpy(one) for one in session.run(None, {"hr": values.numpy()})]
        assert len(wanted.scores_N) >= 3
        assert (
            box_difference(graph.finished(tuple(found)), (wanted.boxes_NP, wanted.scores_N, wanted.label_N), 256) < 1e-4
        )
