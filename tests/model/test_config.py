from __future__ import annotations

import dataclasses
import json

import pytest

from skysense.errors import ConfigError
from skysense.model.config import PRESETS, ModelConfig, SwinConfig, ViTConfig, preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    content = json.loads(json.dumps(preset(name).to_dict()))
    assert ModelConfig.from_dict(content) == preset(name)
    assert content["hr"]["depths"] == list(PRESETS[name].hr.depths)


def test_what_is_left_out_keeps_its_default(config: ModelConfig) -> None:
    content = config.to_dict()
    del content["date_on"], content["geo_context"], content["hr"]["window"]
    read = ModelConfig.from_dict(content)
    assert (read.date_on, read.geo_context.prototypes, read.hr.window) == (("hr", "s2", "s1"), 100, 8)


def test_unknown_settings_are_named(config: ModelConfig) -> None:
    content = config.to_dict()
    content["hr"]["embed_dims"] = 8
    with pytest.raises(ConfigError, match=r"^hr: unknown setting embed_dims; known: in_channels, embed_dim, depths"):
        ModelConfig.from_dict(content)
    with pytest.raises(
        ConfigError, match=r"^model: unknown setting colour; known: hr, s2, s1, fusion, geo_context, date_on$"
    ):
        ModelConfig.from_dict(config.to_dict() | {"colour": 1})


def test_missing_and_misshapen_settings_are_named(config: ModelConfig) -> None:
    content = config.to_dict()
    del content["s2"]["in_channels"]
    with pytest.raises(ConfigError, match=r"^s2: missing setting in_channels$"):
        ModelConfig.from_dict(content)
    for section, name, value, message in (
        ("hr", "window", "8", "hr.window: expected int; got '8'"),
        ("hr", "depths", [1, 1, 2.5, 1], r"hr.depths: expected tuple\[int, ...\]; got \[1, 1, 2.5, 1\]"),
        ("hr", "pad_small_map", 1, "hr.pad_small_map: expected bool; got 1"),
        ("fusion", "dim", True, "fusion.dim: expected int; got True"),
    ):
        content = config.to_dict()
        content[section][name] = value
        with pytest.raises(ConfigError, match=rf"^{message}$"):
            ModelConfig.from_dict(content)
    with pytest.raises(ConfigError, match=r"^s1: expected a mapping of settings; got 3$"):
        ModelConfig.from_dict(config.to_dict() | {"s1": 3})


def test_contradictions_are_refused(config: ModelConfig) -> None:
    fusion = dataclasses.replace(config.fusion, input_dim=96)
    with pytest.raises(ConfigError, match=r"last Swin stage is 64 wide .* fusion.input_dim is 96"):
        dataclasses.replace(config, fusion=fusion)
    with pytest.raises(ConfigError, match=r"hr.out_indices must end with the last stage"):
        dataclasses.replace(config, hr=dataclasses.replace(config.hr, out_indices=(0, 1)))
    with pytest.raises(ConfigError, match=r"s2.out_indices must end with the last block"):
        dataclasses.replace(config, s2=dataclasses.replace(config.s2, out_indices=(0,)))
    with pytest.raises(ConfigError, match=r"unknown modalities: radar"):
        dataclasses.replace(config, date_on=("s2", "radar"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": (1, 1, 2, 3)}, "3 heads do not divide the width 2816"),
        ({"depths": (1, 1)}, "one entry for each of 4 stages"),
        ({"depths": (1, 1, 0, 1)}, "depth must be at least 1"),
        ({"drop_path": 1.0}, "drop_path must lie within"),
        ({"out_indices": (3, 1)}, "out_indices must be ascending stages within 0 .. 3"),
        ({"out_indices": ()}, "out_indices must be ascending"),
        ({"window": 1}, "window must be at least 2"),
    ],
)
def test_wrong_swin_dimensions_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SwinConfig(**change)


def test_wrong_vit_dimensions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"image_size 30 must be a multiple of the patch 4"):
        ViTConfig(in_channels=2, image_size=30)
    with pytest.raises(ConfigError, match=r"out_indices must be ascending blocks within 0 .. 23"):
        ViTConfig(in_channels=2, out_indices=(5, 24))


def test_the_region_rule_is_one_of_those_there_are(config: ModelConfig) -> None:
    content = config.to_dict()
    content["geo_context"]["region_rule"] = "web_mercator"
    assert ModelConfig.from_dict(content).geo_context.region_rule == "web_mercator"
    del content["geo_context"]["region_rule"]  # as in files of earlier versions
    assert ModelConfig.from_dict(content).geo_context.region_rule == "equal_area"
    for wrong, message in (("hexagons", "known: equal_area, web_mercator"), (3, "region_rule: expected str; got 3")):
        content["geo_context"]["region_rule"] = wrong
        with pytest.raises(ConfigError, match=message):
            ModelConfig.from_dict(content)


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'titan'; known: tiny, small"):
        preset("titan")
