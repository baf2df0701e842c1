"""The verbs that make maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.cli import main
from skysense.data.earth import simulate
from skysense.geo import Window
from skysense.maps.place_vectors import read_vectors
from skysense.maps.product.read import open_product
from skysense.maps_cli import embed_parser
from skysense.model.weights import save_model
from skysense.sensors import Unit
from tests.maps.scenes import s2_scene, tiny


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(file, tiny())
    return str(file)


def test_imagery_becomes_a_map(tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    scene = s2_scene(tmp_path / "s2.tif", 20, 24)
    arguments = ["embed", f"{{s2: {scene}}}", str(tmp_path / "out"), "--model", weights, "--device", "cpu"]
    status = main([*arguments, "--dims", "4", "--precision", "int8", "--window_cells", "8"])
    found = capsys.readouterr()
    assert status == 0, found.err
    printed = " ".join(found.out.split())
    assert "12 windows of 8 cells in 1 part, about 0.048 km², 4 features int8: up to 2.56 kB" in printed
    assert "no date: the date embedding is left out" in printed
    assert "out.tif: 4 features on 20 x 24 cells of sentinel-2-l2a" in printed
    assert "out.tif.png: their three principal components" in printed
    with open_product(tmp_path / "out.tif") as product:
        assert product.read("features", Window(0, 0, 20, 24)).dtype == np.int8
    assert main(arguments) == 2
    assert "already. Choose another name, or --overwrite true" in " ".join(capsys.readouterr().err.split())


def test_places_become_vectors(tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    simulate(tmp_path / "places", regions=1, places_per_region=2, footprint_cells=8)
    out = tmp_path / "vectors"
    assert main(["embed", str(tmp_path / "places"), str(out), "--model", weights, "--device", "cpu"]) == 0
    assert "vectors.safetensors: vectors of 2 places" in capsys.readouterr().out.replace("\n", "")
    assert read_vectors(out.with_suffix(".safetensors")).vectors_ND.shape == (2, 96)
    assert main(["embed", str(tmp_path / "places"), "w", "--model", weights, "--dims", "4", "--workers", "2"]) == 2
    assert "places are embedded without --dims, --workers" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--batch_size=0", "batch size 0: it must be at least 1"),
        ("--window_cells=0", "window of 0 cells: it must be a positive multiple of 4 cells"),
        ("--window_cells=6", "window of 6 cells"),
        ("--overlap_cells=9", "overlap of 9 cells: it must lie within 0 .. 8"),
    ],
)
@pytest.mark.parametrize("kind", ["imagery", "places"])
def test_numbers_that_are_none_are_refused_before_anything_is_begun(
    tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str], option: str, words: str, kind: str
) -> None:
    if kind == "imagery":
        source = s2_scene(tmp_path / "s2.tif", 20, 24)
    else:
        source = tmp_path / "places"
        simulate(source, regions=1, places_per_region=1, footprint_cells=8)
    before = sorted(tmp_path.iterdir())
    assert main(["embed", str(source), str(tmp_path / "out"), "--model", weights, option, "--device", "cpu"]) == 2
    found = capsys.readouterr()
    assert words in " ".join(found.err.split()) and found.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_no_frames_at_all_are_refused(tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    scene = s2_scene(tmp_path / "s2.tif", 20, 24)
    assert main(["embed", str(scene), str(tmp_path / "out.tif"), "--model", weights, "--frames", "0"]) == 2
    assert "frames 0: it must be at least 1" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("said", ["reflectance*1e4", "REFLECTANCE_1E4"])
def test_a_unit_may_be_said_as_files_and_messages_say_it(said: str) -> None:
    assert embed_parser().parse_args(["a", "b", "--model", "m", "--unit", said]).unit == Unit.REFLECTANCE_1E4
