"""``skysense map``: what is said before and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from skysense.cli import main
from skysense.maps.product.read import open_product
from tests.maps.adapted_models import adapted
from tests.maps.scenes import hr_scene


def test_a_map_and_its_layers_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapted("segmentation").save(tmp_path / "adapted.safetensors")
    scene = hr_scene(tmp_path / "scene.tif", 160, 128)
    model = ["--model", str(tmp_path / "adapted.safetensors")]
    out = tmp_path / "map.tif"
    assert main(["map", str(scene), str(out), *model, "--uncertainty", "true", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "2 windows of 4 cells in 1 part" in said
    assert f"{out}: classes, 160 x 128 px" in said and f"{tmp_path / 'map_uncertainty.tif'}: uncertainty" in said
    assert f"{tmp_path / 'map.tif.png'}: a picture of it" in said
    assert main(["map", str(scene), str(out), *model]) == 2
    assert "exists already" in capsys.readouterr().err
    with open_product(out) as product:
        assert list(product.layers) == ["classes", "uncertainty"]


@pytest.mark.parametrize("option", ["batch_size", "window_cells", "workers"])
@pytest.mark.parametrize("number", ["0", "-4"])
def test_numbers_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, number: str
) -> None:
    adapted("segmentation").save(tmp_path / "adapted.safetensors")
    scene = hr_scene(tmp_path / "scene.tif", 128, 128)
    arguments = ["map", str(scene), str(tmp_path / "map.tif"), "--model", str(tmp_path / "adapted.safetensors")]
    assert main([*arguments, f"--{option}={number}", "--device", "cpu"]) == 2
    assert f"{option} {number}: it must be at least 1" in capsys.readouterr().err.replace("batch size", "batch_size")


def test_objects_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchvision")
    pytest.importorskip("pyogrio")
    adapted("detection").save(tmp_path / "adapted.safetensors")
    scene = hr_scene(tmp_path / "scene.tif", 128, 128)
    arguments = ["map", str(scene), str(tmp_path / "found"), "--model", str(tmp_path / "adapted.safetensors")]
    assert main([*arguments, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'found.gpkg'}: " in said and " thing" in said
    assert main([*arguments, "--device", "cpu", "--score", "1", "--overwrite", "true"]) == 0
    assert "found.gpkg: nothing found" in capsys.readouterr().out
