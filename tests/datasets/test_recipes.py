"""Every recipe, from the settings in configs/adapt to a report, on a small copy of its data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from skysense.cli import main
from skysense.files import read_json
from skysense.model.weights import save_model
from tests.datasets.fakes import (
    aid,
    bigearthnet,
    dior,
    dynamicearthnet,
    fair1m,
    fmow_s2,
    isaid,
    levir_cd,
    oscd,
    pastis,
    potsdam,
    resisc45,
)
from tests.tasks.labelled_samples import tiny

RECIPES = Path(__file__).parents[2] / "configs" / "adapt"

# Smaller and quicker in every way; what a recipe is about (data, sensors, decoder, rates by layer) stays.
SMALL = [
    *("--epochs", "1", "--batch_size", "4", "--precision", "32-true", "--workers", "0", "--device", "cpu"),
    *("--window_cells", "4", "--augment.crop_cells", "4", "--frames_s2", "3", "--frames_s1", "3"),
]
NARROW = ["--decoder_width", "16"]
TILED = ["--labels.tile", "64"]


def scenes(root: Path) -> None:
    aid.write(root, per_class=5, size=64)


def resisc(root: Path) -> None:
    resisc45.write(root, per_class=3, size=64)


def bigearthnet_v1(root: Path) -> None:
    bigearthnet.write_v1(root, lists="mm")


def dynamic(root: Path) -> None:
    dynamicearthnet.write(root, months=2, size=64)


def fair(root: Path) -> None:
    fair1m.write(root, size=120)


CASES: Mapping[str, tuple[Callable[[Path], object], list[str]]] = {
    "aid": (scenes, []),
    "resisc45": (resisc, []),
    "bigearthnet-s2": (bigearthnet_v1, []),
    "bigearthnet-mm": (bigearthnet_v1, []),
    "fmow-s2": (lambda root: fmow_s2.write(root, classes=fmow_s2.CLASSES[:5]), []),
    "isaid": (isaid.write, NARROW + TILED),
    "potsdam": (potsdam.write, NARROW + TILED),
    "dynamicearthnet-planet": (dynamic, NARROW),
    "dynamicearthnet-s2": (dynamic, NARROW),
    "dynamicearthnet-mm": (dynamic, NARROW),
    "dynamicearthnet-change": (dynamic, NARROW),
    "pastis-mm": (lambda root: pastis.write(root, form="PASTIS-HD"), [*NARROW, "--labels.tile", "256"]),
    "dior": (dior.write, NARROW),
    "dior-r": (dior.write, NARROW),
    "fair1m": (fair, NARROW + TILED),
    "levir-cd": (levir_cd.write, NARROW),
    "oscd": (oscd.write, NARROW),
}


def test_every_recipe_is_tried() -> None:
    assert {file.stem for file in RECIPES.glob("*.yaml")} == set(CASES)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_recipe_runs_to_its_report(name: str, tmp_path: Path) -> None:
    write, more = CASES[name]
    write(tmp_path / "data")
    model, run = tmp_path / "model.safetensors", tmp_path / "run"
    save_model(model, tiny())
    words = ["adapt", "--config", str(RECIPES / f"{name}.yaml"), str(tmp_path / "data"), "--model", str(model)]
    assert main([*words, "--out", str(run), *SMALL, *more]) == 0
    results = read_json(run / "results.json")
    assert results["counts"]["images"] > 0 and (run / "report.html").stat().st_size > 10_000
    adapted = str(run / "adapted.safetensors")
    split = "val" if name in ("fair1m", "isaid") else "test"  # labels of their tests are not public
    again = ["evaluate", adapted, str(tmp_path / "data"), "--out", str(tmp_path / "again")]
    assert main(again if split == "test" else [*again, "--split", split]) == 0
    judged, headline = read_json(tmp_path / "again" / "results.json"), results["headline"]
    assert judged["metrics"][headline]["value"] == pytest.approx(results["metrics"][headline]["value"], nan_ok=True)
