"""What the doctor says is true of this machine."""

from __future__ import annotations

import importlib

import pytest
import torch

from skysense import doctor
from skysense.cli import main


def test_the_table_names_versions_rates_kernels_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "matmul_rate", lambda *_, **__: 123e9)
    monkeypatch.setattr(doctor, "_installed", lambda package: package != "tensorboard")
    monkeypatch.setenv("SKYSENSE_DATA", "/somewhere")
    assert main(["doctor"]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (torch.__version__, "123 GFLOP/s", "/somewhere", "missing tensorboard", "skysense[train]"):
        assert words in printed, words
    found = {finding.what: finding.found for finding in doctor.examine()}
    assert found["extra datasets"] == "complete"
    assert found["extra train"] == "missing tensorboard: pip install 'skysense[train]'"


def test_a_torchvision_of_another_torch_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> object:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return importlib.__import__(name)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    monkeypatch.setattr(doctor, "matmul_rate", lambda *_, **__: 1e9)
    assert main(["doctor"]) == 1
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "operator torchvision::nms does not exist" in printed and "take both from one index" in printed


def test_the_rate_is_that_of_products_and_kernels_are_those_of_torch() -> None:
    assert 1e9 < doctor.matmul_rate("cpu") < 1e14
    assert doctor.kernel("cpu", 64, biased=False) == "flash attention"
