"""The demo on simulated and on real places: the page names what it shows, and nothing made up passes for real."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from examples.kit_to_places import convert
from skysense import demo as module
from skysense.benchmark import kit as questions
from skysense.benchmark.kit import Question
from skysense.data.earth import simulate, simulate_scene
from skysense.data.places import Places
from skysense.demo import DEMO, REAL, demo
from skysense.errors import InputError
from skysense.maps.embed import EmbedResult
from skysense.maps.quicklook import write_png

BANNER = "Simulated data."


def words(page: Path) -> str:
    """The text of a page, without pictures."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page.read_text("utf-8"), flags=re.DOTALL).split())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two places with one frame of a series."""
    for name, config in (("DEMO", DEMO), ("REAL", REAL)):
        small = replace(config, batch_size=2, views=replace(config.views, s2_frames=1, s1_frames=1))
        monkeypatch.setattr(module, name, small)


@pytest.mark.usefixtures("quick")
@pytest.mark.long
def test_without_real_places_an_earth_is_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "simulate", partial(simulate, regions=2, places_per_region=4, footprint_cells=8))
    monkeypatch.setattr(module, "simulate_scene", partial(simulate_scene, height=256, width=512))
    stages: list[str] = []
    page = demo(tmp_path, steps=1, progress=lambda done, total, text: stages.append(text[:3]))
    assert list(dict.fromkeys(stages)) == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    text = words(page)
    assert BANNER in text and "learned without labels from a simulated Earth" in text
    assert "Held-out simulated places" in text
    assert "A simulated aerial image, and its map simulated_features.tif" in text
    assert "steps of pre-training 1 " in text
    test = len(Places(tmp_path / "places").select(split="test"))
    assert 0 < test < 8 and f"places learned from {8 - test} held-out places {test} " in text
    assert page.read_text("utf-8").count("<img") == 5


@pytest.mark.usefixtures("quick")
def test_real_places_are_learned_from_asked_about_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "kit"
    simulate(root / "treesat", regions=2, places_per_region=2, footprint_cells=4, seed=1)
    simulate(root / "flair", regions=1, places_per_region=2, footprint_cells=8, seed=2)
    for file in root.glob("*/dataset.json"):  # the page goes by what the folders say of themselves
        said = {"simulated": False, "title": file.parent.name, "source": "a survey", "licence": "CC0"}
        file.write_text(json.dumps(json.loads(file.read_text()) | said))
    asked = Question("Forest scenes", ("treesat",), "scene", "scene"), Question("Few", ("flair",), "scene", "scene")
    monkeypatch.setattr(questions, "QUESTIONS", asked)
    monkeypatch.setattr(module, "LEAST_PLACES", 3)
    page = demo(tmp_path / "out", kit_places=root, steps=2)
    text = words(page)
    assert "imulated" not in text
    assert "learned without labels from 6 real places of 2 small data sets" in text
    assert "2 places; a survey; CC0" in text
    assert "places learned from 6" in text
    assert "Pre-training has seen the imagery of all of these places" in text and "none of their labels" in text
    assert "Forest scenes method accuracy (n = 4)" in text and "Few method" not in text
    assert re.search(r"The real aerial image \S+ of flair, .* real_features.tif: \d+ features on 8 x 8 cells", text)
    assert json.loads((tmp_path / "out" / "real_run" / "run.json").read_text())["config"]["views"]["global_cells"] == 4
    assert not (tmp_path / "out" / "places").exists(), "nothing is simulated"


def test_real_places_of_another_kind_are_refused(tmp_path: Path) -> None:
    simulate(tmp_path / "treesat", regions=1, places_per_region=1, footprint_cells=4, seed=1)
    with pytest.raises(InputError, match="flair"):
        demo(tmp_path / "out", kit_places=tmp_path)


def test_the_picture_of_a_scene_and_of_its_features_show_the_same_ground(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PICTURE_SIDE", 24)
    scene = simulate_scene(tmp_path / "scene.tif", height=128, width=256)
    grey = np.arange(32, dtype=np.uint8).reshape(4, 8)
    write_png(tmp_path / "map.png", np.stack([grey] * 4, axis=-1))
    result = EmbedResult(
        path=tmp_path / "map.tif",
        quicklook=tmp_path / "map.png",
        shape=(3, 4, 8),
        sensors=(),
        windows=1,
        empty=0,
        skipped=(),
        lost={},
        observed=32,
        resumed=0,
        notes=(),
    )
    picture = module.scene_and_map(scene, result)
    assert picture.shape == (12 + 8 + 12, 24, 3), "one above the other, eight pixels apart, three pixels per cell"
    assert (picture[12:20] == 255).all() and picture[:12].std() > 0
    assert np.array_equal(picture[20::3, ::3, 0], grey)


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_the_demo_on_the_kit(kit: Path, tmp_path: Path) -> None:
    convert(kit, tmp_path / "places")
    text = words(demo(tmp_path / "out", kit_places=tmp_path / "places", steps=6))
    assert "learned without labels from 81 real places of 6 small data sets" in text
    assert "places learned from 81" in text, "no place is too small, none is unreadable"
    assert "FLAIR + Chesapeake land cover method place recall (n = 12)" in text
    assert "BigEarthNet classes method mAP (n = 34)" in text and "TreeSatAI genus method mAP (n = 30)" in text
    assert "The real aerial image img_000473 of FLAIR" in text
    assert "imulated" not in text
