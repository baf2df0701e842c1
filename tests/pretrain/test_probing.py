"""Probes in training: better features score higher, nothing of the run is touched, tested places are never learned."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from skysense.data.earth import simulate
from skysense.data.joined import JoinedPlaces
from skysense.data.places import Places
from skysense.errors import ConfigError, InputError, MissingExtra
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.pretrain import probing
from skysense.pretrain.config import ProbeConfig
from skysense.pretrain.probing import SCORE, TrainingProbe, best, open_probe
from skysense.probes.features import FrozenFeatures, extract

CONFIG = ProbeConfig(every=5)
LABELS = ("scene", "multilabel", "land_cover", "crop_type")


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "FRAMES", {"s2": 2, "s1": 1})


@pytest.fixture(scope="module")
def earth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earth")
    simulate(folder, regions=2, places_per_region=8, footprint_cells=4, seed=3)
    return folder


@pytest.fixture(scope="module")
def model(earth: Path) -> SkySense:
    torch.manual_seed(0)
    return SkySense(preset("tiny"), regions=Places(earth).regions.cells)


def train(earth: Path) -> Places:
    return Places(earth).select(split="train")


def remark(earth: Path, out: Path, split: Callable[[str], str | None]) -> Places:
    """The same places, with other splits."""
    for file in earth.glob("*/*"):
        (out / file.parent.name).mkdir(parents=True, exist_ok=True)
        (out / file.parent.name / file.name).symlink_to(file)
    (out / "dataset.json").symlink_to(earth / "dataset.json")
    for file in out.glob("*/place.json"):
        content = json.loads(file.read_text())
        file.unlink()
        file.write_text(json.dumps(content | {"split": split(content["split"])}))
    return Places(out)


def test_a_look_is_a_function_of_the_weights_and_touches_nothing(earth: Path, model: SkySense) -> None:
    probe = open_probe(CONFIG, train(earth))
    model.train()
    model.s1.eval()  # a part that was frozen by hand
    modes = [one.training for one in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    np.random.seed(7)
    torch.manual_seed(7)
    before = torch.get_rng_state(), np.random.get_state()
    first = probe.look(model)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), before[1], strict=True))
    assert [one.training for one in model.modules()] == modes and {True, False} == set(modes)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert open_probe(CONFIG, train(earth)).look(model.eval()) == first, "drop-path is off in both"

    assert set(first) == {SCORE, *(f"probe/{label}_{head}" for label in LABELS for head in ("linear", "knn"))}
    assert first[SCORE] == pytest.approx(np.mean([first[f"probe/{label}_linear"] for label in LABELS]))
    assert all(0 < value <= 1 for value in first.values())
    with torch.no_grad():
        for parameter in model.fusion.parameters():
            parameter.mul_(0.5)
    assert probe.look(model) != first, "weights that changed in place are seen"


def test_features_that_tell_the_answer_score_higher(
    earth: Path, model: SkySense, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = open_probe(replace(CONFIG, labels=("scene", "land_cover")), train(earth))
    scene, cover = probe._tasks
    assert scene.scene_N is not None and cover.cells_hw is not None

    def features(noise: float) -> FrozenFeatures:
        rng = np.random.default_rng(0)
        classes = 1 + max(int(cells.max()) for cells in cover.cells_hw or ())
        told = [np.eye(classes)[cells].transpose(2, 0, 1) for cells in cover.cells_hw or ()]
        cells = tuple((one + noise * rng.normal(size=one.shape)).astype(np.float32) for one in told)
        pooled = np.eye(len(scene.task.classes))[scene.scene_N]
        pooled = (pooled + noise * rng.normal(size=pooled.shape)).astype(np.float32)
        return FrozenFeatures(scene.names, pooled, cells, (np.ones((4, 4), bool),) * len(cells), classes)

    scores = {}
    for noise in (0.01, 100.0):
        monkeypatch.setattr(probing, "extract", lambda *_, noise=noise, **__: features(noise))
        scores[noise] = probe.look(model)
    assert min(scores[0.01].values()) > 0.7 > 0.5 > max(scores[100.0].values())


def test_validation_places_are_tested_and_test_places_left_alone(
    earth: Path, tmp_path: Path, model: SkySense, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def spy(model: SkySense, samples: list, **options: object) -> FrozenFeatures:
        seen.append({sample.name for sample in samples})
        return extract(model, samples, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(probing, "extract", spy)
    by_split = {split: {place.name for place in Places(earth).select(split=split)} for split in ("train", "test")}
    probe = open_probe(CONFIG, train(earth))
    probe.look(model)
    assert seen[-1] == by_split["train"] | by_split["test"]
    assert any('no place is marked "val"' in note for note in probe.notes)
    assert probe.facts["probes"].endswith("fitted on 9, tested on 7")

    kept = sorted(by_split["test"])[:4]
    places = remark(earth, tmp_path / "val", lambda split: "val" if split == "test" else "train")
    for name in kept:
        file = tmp_path / "val" / name / "place.json"
        file.write_text(file.read_text().replace('"val"', '"test"'))
    places = Places(tmp_path / "val")
    probe = open_probe(replace(CONFIG, places=6, labels=("land_cover",)), places.select(split="train"))
    probe.look(model)
    assert len(seen[-1]) == 6 and not seen[-1] & set(kept)
    assert len(seen[-1] & by_split["test"]) == 3
    assert not probe.notes


def test_a_folder_of_its_own_is_tested_in_halves_by_location(earth: Path, tmp_path: Path, model: SkySense) -> None:
    other = remark(earth, tmp_path / "other", lambda _: None)
    probe = open_probe(replace(CONFIG, data=str(other.root)), train(earth))
    assert probe.facts["probes"].endswith("16 places of Simulated Earth, in two halves")
    (one, two), (three, four) = probe._folds
    assert np.array_equal(one, four) and np.array_equal(two, three) and not set(one) & set(two)
    assert 0 < probe.look(model)[SCORE] <= 1
    same = open_probe(replace(CONFIG, data=str(earth / "." / ".." / earth.name)), train(earth))
    assert "tested on 7" in same.facts["probes"], "the folder that is learned from, by another name"


def test_what_cannot_be_probed_is_said_before_training(
    earth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"held out from training.*probe\.data"):
        open_probe(CONFIG, Places(earth))  # all of the folder is learned from
    simulate(tmp_path / "train", regions=1, places_per_region=4, footprint_cells=4, split={"train": 1.0})
    with pytest.raises(InputError, match="held out from training"):
        open_probe(CONFIG, Places(tmp_path / "train"))
    bare = remark(earth, tmp_path / "bare", lambda split: split)
    dataset = tmp_path / "bare" / "dataset.json"
    dataset.unlink()
    dataset.write_text((earth / "dataset.json").read_text().split('"legends"')[0].rstrip().rstrip(",") + "}")
    for file in bare.root.glob("*/place.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"labels": {}}))
    with pytest.raises(InputError, match=r"has no labels to probe.*probe\.data"):
        open_probe(replace(CONFIG, data=str(bare.root)), train(earth))
    with pytest.raises(ConfigError, match=r"names harvest, which .* There are: scene, multilabel"):
        open_probe(replace(CONFIG, labels=("scene", "harvest")), train(earth))
    one_each = Places(earth).select(where=lambda place: place.labels["scene"] == "cropland")
    with pytest.raises(InputError, match="none of the labels scene has two answers"):
        TrainingProbe(replace(CONFIG, labels=("scene",)), one_each, learned=())
    with pytest.raises(ConfigError, match="several folders"):
        open_probe(CONFIG, JoinedPlaces([train(earth), Places(tmp_path / "train")]))
    with pytest.raises(ConfigError, match=r"probe\.places = 3"):
        ProbeConfig(places=3)
    with pytest.raises(ConfigError, match=r"probe\.every = -1"):
        ProbeConfig(every=-1)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingExtra, match="skysense\\[train\\]"):
        open_probe(CONFIG, train(earth))


def test_a_place_that_cannot_be_read_is_left_out_and_said(earth: Path, tmp_path: Path) -> None:
    places = remark(earth, tmp_path / "bad", lambda split: split)
    bad = next(place for place in places if place.split == "test")
    image = bad.folder / "hr.tif"
    image.unlink()
    image.write_bytes(b"II*\0 not an image")
    probe = open_probe(CONFIG, places.select(split="train"))
    assert probe.facts["probes"].endswith("fitted on 9, tested on 6")
    assert any(bad.name in note and "hr.tif" in note for note in probe.notes)


def test_large_places_are_looked_at_in_the_middle(
    earth: Path, model: SkySense, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "SIDE", 2)
    probe = open_probe(CONFIG, train(earth))
    place = Places(earth)[0]
    (sample,) = [sample for sample in probe._samples if sample.name == place.name]
    whole = Places(earth).read_sample(place)
    assert np.array_equal(sample.series["hr"].values, whole.series["hr"].values[..., 32:96, 32:96])
    cover = next(targets for targets in probe._tasks if targets.task.label == "land_cover")
    assert cover.cells_hw is not None and all(cells.shape == (2, 2) for cells in cover.cells_hw)


def test_the_best_step_is_the_first_of_the_highest_scores() -> None:
    looked = ((4.0, 0.5), (9.0, 0.7), (14.0, 0.7))
    rows = [{"step": 0.0, "loss": 3.0}, *({"step": step, SCORE: value} for step, value in looked)]
    assert best(rows) == {"step": 9.0, SCORE: 0.7}
    assert best(rows[:1]) is None
