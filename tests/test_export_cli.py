"""``skysense export``: what is said of what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skysense.cli import main
from skysense.export import front
from skysense.export.front import File
from skysense.export.loss import Loss


def test_files_are_named_with_what_they_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def to_onnx(model: str, out: Path, **options: Any) -> list[File]:
        asked.update(options, model=model, out=out)
        return [
            File(
                out / "s2.onnx",
                1_234_567,
                ("s2",),
                ("features_4", "cells"),
                2.5e-7,
                out / "b.onnx",
                Loss(0.25, 0.01, 0.9),
            )
        ]

    monkeypatch.setattr(front, "to_onnx", to_onnx)
    arguments = ["export", "m.safetensors", "--out", str(tmp_path), "--modalities", "[s2]", "--int8", "true"]
    assert main(arguments) == 0
    assert asked["model"] == "m.safetensors" and asked["out"] == tmp_path and asked["modalities"] == ["s2"]
    assert asked["int8"] is True and asked["overwrite"] is False
    said = capsys.readouterr().out
    assert f"{tmp_path / 's2.onnx'}: s2 to features_4, cells; 1.23 MB" in said
    assert "differs from PyTorch by at most 2.5e-07" in said
    assert f"{tmp_path / 'b.onnx'}: weights in 8 bits; 0.25 of the size, features differ by 1.0 %" in said
    assert f"{tmp_path / 'README.md'}" in said


@pytest.mark.parametrize(("boxes", "words"), [(7, "in scores, 7 boxes"), (0, "nothing was compared with PyTorch")])
def test_a_detector_says_how_many_boxes_were_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], boxes: int, words: str
) -> None:
    file = File(tmp_path / "task.onnx", 1000, ("hr",), ("boxes", "scores", "labels"), 0.0, boxes=boxes)
    monkeypatch.setattr(front, "to_onnx", lambda *_, **__: [file])
    assert main(["export", "m.safetensors", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert words in said and ("differs" in said) == (boxes > 0)
