"""Whole runs on data that are easy to learn: every kind of task and way, cut off, resumed, refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example
from skysense.errors import ConfigError, InputError
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.tasks.adapt import MODEL, Outcome, adapt
from skysense.tasks.adapted import load_adapted
from skysense.tasks.augment import AugmentConfig
from skysense.tasks.config import AdaptConfig
from skysense.tasks.evaluate import evaluate
from tests.tasks.labelled_samples import both_example, example, labelled, series_example, tiny

FAST = AdaptConfig(
    epochs=6, batch_size=4, learning_rate=2e-3, layer_decay=1.0, drop_path=0.0, augment=AugmentConfig(brightness=0.0)
)


def scene_data(count: int = 8) -> LabelledData:
    return labelled("classification", [example("classification", index) for index in range(count)])


def mask_data(count: int = 4) -> LabelledData:
    return labelled("segmentation", [example("segmentation", index) for index in range(count)])


def score(outcome: Outcome) -> float:
    assert outcome.evaluation is not None
    results = outcome.evaluation.results
    return results.metrics[results.headline].value


@pytest.mark.parametrize("way", ["linear", "lora", "full"])
def test_scenes_are_learned_in_every_way(way: str, tmp_path: Path) -> None:
    outcome = adapt(replace(FAST, way=way, epochs=10), tiny(), scene_data(), tmp_path)  # type: ignore[arg-type]
    assert score(outcome) == 1.0
    assert outcome.epochs == 10 and not outcome.skipped


def test_masks_are_learned_by_a_light_decoder(tmp_path: Path) -> None:
    config = replace(FAST, decoder="light", decoder_width=32, epochs=12, learning_rate=4e-3)
    assert score(adapt(config, tiny(), mask_data(), tmp_path)) > 0.85


def test_a_series_is_segmented_cell_by_cell(tmp_path: Path) -> None:
    data = labelled("segmentation", [series_example(index) for index in range(4)])
    config = replace(FAST, decoder="linear", way="linear", epochs=20, learning_rate=2e-2)
    assert score(adapt(config, tiny(), data, tmp_path)) > 0.95


def test_what_only_the_series_shows_needs_the_series(tmp_path: Path) -> None:
    data = labelled("classification", [both_example(index) for index in range(8)])
    config = replace(FAST, way="linear", epochs=15, learning_rate=1e-2)
    both = adapt(config, tiny(), data, tmp_path / "both")
    assert score(both) == 1.0
    assert load_adapted(both.model).encoder.modalities == ("hr", "s2")
    alone = adapt(replace(config, modalities=("hr",)), tiny(), data, tmp_path / "alone")
    assert load_adapted(alone.model).encoder.modalities == ("hr",)


def test_the_file_answers_as_the_run_did(tmp_path: Path) -> None:
    data = mask_data()
    outcome = adapt(
        replace(FAST, way="lora", decoder="light", decoder_width=16, epochs=2), tiny(), data, tmp_path / "run"
    )
    assert outcome.evaluation is not None
    adapted = load_adapted(outcome.model)
    assert adapted.task == "segmentation" and adapted.classes == ("ground", "thing") and adapted.per_cell == 32
    assert not any("parametrizations" in name for name in adapted.encoder.state_dict())
    again = evaluate(adapted, data.select("val"), tmp_path / "again")
    assert again.results.metrics == pytest.approx(outcome.evaluation.results.metrics)
    assert (tmp_path / "again" / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("way", ["linear", "full"])
def test_a_run_that_was_cut_off_ends_as_if_it_was_not(way: str, tmp_path: Path) -> None:
    config = replace(FAST, way=way, epochs=4)  # type: ignore[arg-type]
    whole = adapt(config, tiny(), scene_data(), tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(done: int, total: int, words: str) -> None:
        if words.startswith("learning, epoch 3"):
            raise Killed

    with pytest.raises(Killed):
        adapt(config, tiny(), scene_data(), tmp_path / "cut", progress=kill)
    assert not (tmp_path / "cut" / MODEL).exists()
    resumed = adapt(config, tiny(), scene_data(), tmp_path / "cut")
    assert resumed.resumed == 2 and resumed.epochs == 4
    one, two = load_adapted(whole.model), load_adapted(resumed.model)
    for (name, wanted), found in zip(one.head.state_dict().items(), two.head.state_dict().values(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0, msg=name)


def test_frozen_features_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skysense.tasks.pyramid import Pyramid

    calls = []
    forward = Pyramid.forward

    def counted(self: Pyramid, batch: object) -> object:
        calls.append(batch)
        return forward(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Pyramid, "forward", counted)
    config = replace(FAST, way="linear", epochs=5)
    adapt(config, tiny(), scene_data(8), tmp_path)
    # 8 images each for training and validation in batches of 4, and those for the report afterwards
    assert len(calls) == 2 + 2 + 2 + shown_again()
    calls.clear()
    adapt(replace(config, epochs=6), tiny(), scene_data(8), tmp_path)
    assert len(calls) == 2 + shown_again()


def shown_again() -> int:
    """Pictures of the best and the worst images are made one by one; there are eight."""
    return 8


def test_another_encoder_makes_features_anew(tmp_path: Path) -> None:
    config = replace(FAST, way="linear", epochs=1)
    adapt(config, tiny(0), scene_data(4), tmp_path)
    files = sorted((tmp_path / "features").rglob("*.safetensors"))
    before = [file.read_bytes() for file in files]
    adapt(config, tiny(1), scene_data(4), tmp_path)
    assert sorted((tmp_path / "features").rglob("*.safetensors")) == files
    assert all(file.read_bytes() != old for file, old in zip(files, before, strict=True))


def test_another_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    adapt(replace(FAST, way="linear", epochs=1), tiny(), scene_data(4), tmp_path)
    with pytest.raises(InputError, match=r"config.learning_rate was 0.002, is 0.1"):
        adapt(replace(FAST, way="linear", epochs=1, learning_rate=0.1), tiny(), scene_data(4), tmp_path)


def test_examples_that_cannot_be_read_are_left_out_and_listed(tmp_path: Path) -> None:
    data = scene_data(6)

    def read(item: Item) -> Example:
        if item.name == "train-image1":
            raise InputError("is truncated", file="image1.png")
        return data.read_item(item)

    outcome = adapt(replace(FAST, way="linear", epochs=1), tiny(), replace(data, read_item=read), tmp_path)
    assert outcome.skipped == {"train-image1": "image1.png: is truncated"}

    def none(item: Item) -> Example:
        raise InputError("is truncated", file=f"{item.name}.png")

    with pytest.raises(InputError, match="truncated"):
        adapt(FAST, tiny(), replace(data, read_item=none), tmp_path / "none")


def test_a_class_that_training_never_shows_is_said(tmp_path: Path) -> None:
    data = scene_data(4)
    outcome = adapt(
        replace(FAST, way="linear", epochs=1), tiny(), replace(data, classes=(*data.classes, "dragon")), tmp_path
    )
    assert any("dragon" in note for note in outcome.notes)


def test_without_held_out_examples_nothing_is_claimed(tmp_path: Path) -> None:
    data = labelled("classification", [example("classification", index) for index in range(4)], splits=["train"])
    outcome = adapt(replace(FAST, way="linear", epochs=2), tiny(), data, tmp_path)
    assert outcome.evaluation is None and outcome.model.exists()
    assert any("unknown" in note for note in outcome.notes)


def test_it_stops_when_nothing_gets_better(tmp_path: Path) -> None:
    config = replace(FAST, way="linear", epochs=30, learning_rate=1e-9, patience=2)
    assert adapt(config, tiny(), scene_data(4), tmp_path).epochs < 10


def test_the_average_of_the_weights_is_what_is_kept(tmp_path: Path) -> None:
    config = replace(FAST, way="full", epochs=2, average=0.999, learning_rate=1e-2)
    model = tiny()
    begun = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    outcome = adapt(config, model, scene_data(), tmp_path)
    kept = load_adapted(outcome.model).encoder.model.state_dict()
    moved = max(float((kept[name] - tensor).abs().max()) for name, tensor in begun.items() if name in kept)
    assert 0 < moved < 1e-3  # four steps of a thousandth of what was learned


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decoder": "bit"}, "does not answer classification"),
        ({"modalities": ("s1",)}, "s1 cannot be used"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, InputError), match=words):
        adapt(replace(FAST, **change), tiny(), scene_data(4), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"epochs": 0}, {"layer_decay": 0.0}, {"window_cells": 6}, {"learning_rate": -1.0}])
def test_numbers_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(FAST, **change)  # type: ignore[arg-type]


def test_anchors_suit_the_smaller_boxes(tmp_path: Path) -> None:
    whole = example("detection", 0)
    corners = np.array([[10, 10, 22, 22], [40, 40, 60, 60], [70, 10, 110, 50]], np.float32)
    small = replace(whole, target=replace(whole.target, corners_N4=corners))  # type: ignore[arg-type]
    config = replace(FAST, epochs=1, decoder_width=16)
    outcome = adapt(config, tiny(), labelled("detection", [small]), tmp_path / "small")
    # a quarter of the way from 12 to 20 to 40 px is 16 px: 4 cells of the finest level
    assert load_adapted(outcome.model).config.anchor_scale == pytest.approx(4)
    large = replace(whole, target=replace(whole.target, corners_N4=corners + np.float32([0, 0, 18, 60])))  # type: ignore[arg-type]
    outcome = adapt(config, tiny(), labelled("detection", [large]), tmp_path / "large")
    assert load_adapted(outcome.model).config.anchor_scale == 8  # as published


def test_files_that_are_no_adapted_models_are_refused(tmp_path: Path) -> None:
    from skysense.model.weights import save_model

    with pytest.raises(InputError, match="no such file"):
        load_adapted(tmp_path / "nowhere.safetensors")
    save_model(tmp_path / "model.safetensors", SkySense(preset("tiny")))
    with pytest.raises(InputError, match="is no adapted model"):
        load_adapted(tmp_path / "model.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(InputError, match="safetensors"):
        load_adapted(tmp_path / "cut.safetensors")


def test_other_classes_cannot_be_judged(tmp_path: Path) -> None:
    outcome = adapt(replace(FAST, way="linear", epochs=1), tiny(), scene_data(4), tmp_path)
    other = replace(scene_data(4), classes=("water", "land"))
    with pytest.raises(InputError, match="the model answers classification of ground, thing"):
        evaluate(load_adapted(outcome.model), other, tmp_path / "other")
