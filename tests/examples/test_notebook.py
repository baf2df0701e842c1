"""The notebook runs from top to bottom, and is stored without what it prints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "map_a_scene.ipynb"


def code() -> list[str]:
    """The code of its cells."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_no_output_is_stored() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    some = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(some) >= 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in some)
    assert NOTEBOOK.stat().st_size < 10_000


def test_its_code_runs() -> None:
    """Cell by cell in this process, which is a good deal faster than a kernel."""
    for module in ("matplotlib", "xarray"):
        pytest.importorskip(module)
    names: dict[str, Any] = {}
    for number, source in enumerate(code()):
        exec(compile(source, f"cell {number}", "exec"), names)
    assert names["features"].grid.width == 48
    assert names["dataset"].classes.shape == (32, 48)
    novelty = names["dataset"].uncertainty.sel(band="novelty").values
    village, woods = novelty[:12, :8], novelty[12:18, 30:40]
    assert np.median(village) > np.median(woods) + 0.2  # what its text says of the ground nobody labelled


@pytest.mark.long
def test_a_kernel_shows_what_it_says(tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    nbclient.NotebookClient(notebook, timeout=120).execute(cwd=str(tmp_path), env={**os.environ, **where})
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    html = [data["text/html"] for data in shown if "text/html" in data]
    assert sum("data:image/png;base64," in text for text in html) == 3  # features, similar places, classes
    assert sum("image/png" in data for data in shown) == 2
