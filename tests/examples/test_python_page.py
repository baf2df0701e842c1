"""The page on maps from Python keeps its word: its examples run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skysense.data.earth import simulate_scene
from skysense.model.weights import save_model
from tests.maps.adapted_models import adapted
from tests.maps.scenes import tiny
from tests.maps.sources.reading import hr_file

ROOT = Path(__file__).parents[2]


def blocks() -> list[str]:
    """Its blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "python.md").read_text("utf-8"), re.S | re.M)


def test_its_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("xarray", "matplotlib", "tensorstore"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    simulate_scene("scene.tif", height=1024, width=1536)
    hr_file(tmp_path / "image.tif", np.random.default_rng(0).integers(1, 255, (3, 256, 512)).astype(np.uint8))
    save_model(tmp_path / "model.safetensors", tiny().eval())
    adapted("segmentation").save(tmp_path / "adapted.safetensors")
    names: dict[str, Any] = {}
    for number, source in enumerate(blocks()):
        exec(compile(source, f"block {number}", "exec"), names)
    assert names["features"].features.shape == (96, 32, 48)
    assert names["small"].layers["features"].bands[-1] == "component 15"
    assert names["radar_features"].features.shape == (96, 40, 60)
    assert names["both"].features.shape == (96, 8, 16)  # what both of them cover
    assert len(names["found"]) == 5
    assert names["doubtful"].dims == ("y", "x")
    assert set(names["answer_on_disk"].layers) == {"classes", "probability"}
