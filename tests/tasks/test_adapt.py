"""Whole runs on data that are easy to learn: every kind of task and way, cut off, resumed, refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example, Task
from skysense.errors import ConfigError, InputError
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.tasks.adapt import MODEL, Outcome, adapt
from skysense.tasks.adapted import load_adapted
from skysense.tasks.augment import AugmentConfig
from skysense.tasks.config import AdaptConfig
from skysense.tasks.evaluate import evaluate
from skysense.tasks.keeping import SCORE
from skysense.tasks.module import TaskModule
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
    assert adapted.card["adapted"]["cells"] == 4
    assert not any("parametrizations" in name for name in adapted.encoder.state_dict())
    again = evaluate(adapted, data.select("val"), tmp_path / "again")
    assert again.results.metrics == pytest.approx(outcome.evaluation.results.metrics)
    assert (tmp_path / "again" / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("way", "change"),
    [
        ("linear", {}),
        ("full", {"drop_path": 0.3}),
        ("full", {"average": 0.9, "workers": 1}),
        ("linear", {"average": 0.9}),
        ("lora", {"average": 0.9}),
    ],
)
def test_a_run_that_was_cut_off_ends_as_if_it_was_not(way: str, change: dict[str, object], tmp_path: Path) -> None:
    config = replace(FAST, way=way, epochs=4, **change)  # type: ignore[arg-type]
    whole = adapt(replace(config, workers=0), tiny(), scene_data(), tmp_path / "whole")

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
    for part, other in ((one.head, two.head), (one.encoder, two.encoder)):
        for (name, wanted), found in zip(part.state_dict().items(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=0, msg=name)


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    config = replace(FAST, way="full", epochs=2, average=0.9)
    data = labelled("classification", [example("classification", index) for index in range(4)], splits=["train"])
    wanted = load_adapted(adapt(config, tiny(), data, tmp_path).model).encoder.state_dict()
    for epochs in (2, 1):
        again = adapt(replace(config, epochs=epochs), tiny(), data, tmp_path)
        assert again.epochs == again.resumed == 2
        found = load_adapted(again.model).encoder.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_run_that_goes_on_does_not_look_at_everything_again(tmp_path: Path) -> None:
    words: list[str] = []
    for epochs in (1, 2):
        config = replace(FAST, epochs=epochs)
        adapt(config, tiny(), scene_data(4), tmp_path, progress=lambda done, total, said: words.append(said))
        assert words.count("reading made up") == 8


def test_a_run_that_stopped_early_makes_no_further_epoch(tmp_path: Path) -> None:
    config = replace(FAST, way="linear", epochs=30, learning_rate=1e-9, patience=2)
    first = adapt(config, tiny(), scene_data(4), tmp_path)
    again = adapt(config, tiny(), scene_data(4), tmp_path)
    assert first.epochs < 10 and again.epochs == again.resumed == first.epochs


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    config = replace(FAST, way="linear", epochs=1)
    adapt(config, tiny(), scene_data(4), tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"last.ckpt: is damaged"):
        adapt(replace(config, epochs=2), tiny(), scene_data(4), tmp_path)


def test_a_folder_may_be_renamed(tmp_path: Path) -> None:
    config = replace(FAST, way="linear", epochs=3, learning_rate=1e-2)
    adapt(config, tiny(), scene_data(), tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    best = (tmp_path / "two" / "checkpoints" / "best.ckpt").read_bytes()
    outcome = adapt(replace(config, epochs=4), tiny(), scene_data(), tmp_path / "two")
    assert outcome.resumed == 3 and score(outcome) == 1.0
    assert (tmp_path / "two" / "checkpoints" / "best.ckpt").read_bytes() == best  # it was perfect before


def test_a_score_that_is_not_defined_keeps_the_last_epoch(tmp_path: Path) -> None:
    data = mask_data(2)

    def unlabelled(item: Item) -> Example:
        one = data.read_item(item)
        return replace(one, target=np.full_like(one.target, 255)) if item.split == "val" else one

    config = replace(FAST, way="linear", decoder="linear", epochs=2)
    adapt(config, tiny(), replace(data, read_item=unlabelled), tmp_path)
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="smaller learning_rate"):
        adapt(replace(FAST, learning_rate=1e20, warmup=0.0, epochs=6), tiny(), scene_data(8), tmp_path)


def test_mixed_precision_learns(tmp_path: Path) -> None:
    config = replace(FAST, precision="bf16-mixed", epochs=8)
    assert score(adapt(config, tiny(), scene_data(), tmp_path)) == 1.0


def test_the_sensors_of_any_example_are_used(tmp_path: Path) -> None:
    data = labelled("classification", [both_example(index) for index in range(4)])

    def read(item: Item) -> Example:
        one = data.read_item(item)
        return replace(one, sample=one.sample.only(["s2"])) if item.name.endswith("place0") else one

    outcome = adapt(replace(FAST, epochs=1), tiny(), replace(data, read_item=read), tmp_path)
    assert load_adapted(outcome.model).encoder.modalities == ("hr", "s2")
    assert "2 of 8 examples have no hr" in outcome.notes


EVERY: list[tuple[Task, str]] = [
    (task, way)
    for task in ("segmentation", "detection", "oriented-detection", "change", "semantic-change")
    for way in ("head", "lora")
]


@pytest.mark.parametrize(("task", "way"), EVERY)
def test_every_task_runs_in_every_way(task: Task, way: str, tmp_path: Path) -> None:
    data = labelled(task, [example(task, index) for index in range(2)])
    config = replace(FAST, way=way, epochs=1, batch_size=2, decoder_width=16)  # type: ignore[arg-type]
    outcome = adapt(config, tiny(), data, tmp_path)
    assert outcome.epochs == 1 and 0 <= score(outcome) <= 1


def test_a_detector_keeps_the_score_that_was_best_when_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three epochs the second is the best, of two that are equal the first: as its weights are kept."""
    scores, least = iter([0.2, 0.5, 0.5]), iter([0.1, 0.37, 0.9])
    monkeypatch.setattr("skysense.tasks.metrics.detect._Finding.least_score", lambda _: next(least))
    log = TaskModule.log

    def logged(module: TaskModule, name: str, value: object, **options: object) -> None:
        log(module, name, next(scores) if name == SCORE else value, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(TaskModule, "log", logged)
    data = labelled("detection", [example("detection", index) for index in range(2)])
    adapted = adapt(replace(FAST, way="head", epochs=3, batch_size=2, decoder_width=16), tiny(), data, tmp_path)
    assert load_adapted(adapted.model).card["adapted"]["least_score"] == 0.37


def test_only_what_is_used_is_kept(tmp_path: Path) -> None:
    adapted = load_adapted(adapt(replace(FAST, epochs=1), tiny(), scene_data(4), tmp_path).model)
    assert adapted.encoder.model.pieces == ("hr",)
    assert all(name.startswith("model.hr.") for name, _ in adapted.encoder.named_parameters())


def test_classes_are_told_by_name(tmp_path: Path) -> None:
    outcome = adapt(replace(FAST, way="linear", epochs=10), tiny(), scene_data(), tmp_path / "run")
    data = scene_data().select("val")

    def exchanged(item: Item) -> Example:
        one = data.read_item(item)
        return replace(one, target=1 - one.target)  # type: ignore[operator]

    other = replace(data, classes=("thing", "ground"), read_item=exchanged)
    again = evaluate(load_adapted(outcome.model), other, tmp_path / "again")
    assert again.results.metrics["OA"].value == 1.0 and again.results.classes == ("ground", "thing")


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
    # 8 images in batches of 4, once for training and validation, which are alike; and those for the report afterwards
    assert len(calls) == 2 + 2 + shown_again()
    calls.clear()
    adapt(replace(config, epochs=6), tiny(), scene_data(8), tmp_path)
    assert len(calls) == 2 + shown_again()


def shown_again() -> int:
    """Pictures of the best and the worst images are made one by one; there are eight."""
    return 8


def test_a_label_that_was_mended_is_learned(tmp_path: Path) -> None:
    config = replace(FAST, way="linear", epochs=8, learning_rate=1e-2)
    data = scene_data(8)

    def wrong(item: Item) -> Example:
        one = data.read_item(item)
        return replace(one, target=1 - one.target)  # type: ignore[operator]

    assert score(adapt(config, tiny(), replace(data, read_item=wrong), tmp_path)) == 1.0
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    (tmp_path / "checkpoints" / "best.ckpt").unlink()
    mended = adapt(config, tiny(), data, tmp_path)
    assert score(mended) == 1.0
    again = evaluate(load_adapted(mended.model), data.select("val"), tmp_path / "again")
    assert again.results.metrics["OA"].value == 1.0


def test_a_date_that_was_mended_is_encoded_again(tmp_path: Path) -> None:
    data = labelled("segmentation", [series_example(0)], splits=["train"])

    def later(item: Item) -> Example:
        one = data.read_item(item)
        series = one.sample.series["s2"]
        return replace(one, sample=replace(one.sample, series={"s2": replace(series, dates=series.dates + 30)}))

    config = replace(FAST, way="linear", decoder="linear", epochs=1)
    adapt(config, tiny(), data, tmp_path)
    adapt(replace(config, epochs=2), tiny(), replace(data, read_item=later), tmp_path)
    assert len(list((tmp_path / "features").glob("*.safetensors"))) == 2


def test_features_that_nobody_vouches_for_are_removed(tmp_path: Path) -> None:
    config = replace(FAST, way="linear", epochs=1)
    adapt(config, tiny(), scene_data(4), tmp_path)
    (tmp_path / "features" / "features.json").unlink()
    stale = tmp_path / "features" / "stale.safetensors"
    stale.touch()
    adapt(replace(config, epochs=2), tiny(), scene_data(4), tmp_path)
    assert not stale.exists()


def test_a_run_of_another_model_is_refused(tmp_path: Path) -> None:
    config = replace(FAST, way="linear", epochs=1)
    adapt(config, tiny(0), scene_data(4), tmp_path)
    with pytest.raises(InputError, match="began with another model"):
        adapt(config, tiny(1), scene_data(4), tmp_path)
    with pytest.raises(InputError, match="learned from other examples"):
        adapt(config, tiny(0), scene_data(6), tmp_path)
    with pytest.raises(InputError, match=r"opened.tile was None, is 64"):
        adapt(config, tiny(0), scene_data(4), tmp_path, opened={"tile": 64})


def test_settings_that_never_ran_do_not_hold_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        adapt(replace(FAST, way="linear", decoder="bit"), tiny(), scene_data(4), tmp_path)
    assert adapt(replace(FAST, way="linear", epochs=1), tiny(), scene_data(4), tmp_path).epochs == 1


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
    outcome = adapt(config, model, scene_data(), tmp_path / "average")
    kept = load_adapted(outcome.model).encoder.model.state_dict()
    moved = max(float((kept[name] - tensor).abs().max()) for name, tensor in begun.items() if name in kept)
    assert moved > 0
    plain = adapt(replace(config, average=0.0), tiny(), scene_data(), tmp_path / "plain")
    other = load_adapted(plain.model).encoder.model.state_dict()
    further = max(float((other[name] - tensor).abs().max()) for name, tensor in begun.items() if name in other)
    assert moved < 0.8 * further  # the average lags behind


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decoder": "bit"}, "does not answer classification"),
        ({"modalities": ("s1",)}, "has hr, and none of s1"),
        ({"modalities": ("hr", "s3")}, "s3 cannot be used: the model reads"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, InputError), match=words):
        adapt(replace(FAST, **change), tiny(), scene_data(4), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"layer_decay": 0.0},
        {"window_cells": 6},
        {"learning_rate": -1.0},
        {"workers": -1},
        {"decoder_width": 0},
    ],
)
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


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device"):
        adapt(FAST, tiny(), scene_data(4), tmp_path, device=device)


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
    with pytest.raises(InputError, match="has water, land, which are none of ground, thing"):
        evaluate(load_adapted(outcome.model), other, tmp_path / "other")
