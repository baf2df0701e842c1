"""Benchmarks can be started: what they import is there. What they measure is seen by running them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("script", sorted(FOLDER.glob("[!_]*.py")), ids=lambda script: script.stem)
def test_benchmark_imports_what_is_there(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])  # as `make bench` starts it
    runpy.run_path(str(script), run_name="imported")
