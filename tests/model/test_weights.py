from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from skysense.errors import ConfigError, InputError
from skysense.geo import mercator_tile, region_cell
from skysense.model.assembly import SkySense
from skysense.model.config import ModelConfig, ViTConfig
from skysense.model.loading import load as load_model
from skysense.model.released import from_released, to_released
from skysense.model.vit import ViT
from skysense.model.weights import load_state, save_model
from skysense.observation import Batch


def test_saving_and_loading_keeps_everything(model: SkySense, batch_of: Callable[..., Batch], tmp_path: Path) -> None:
    assert model.geo is not None
    model.geo.initialised[1] = True
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    assert list(tmp_path.iterdir()) == [path]
    again = load_model(path)
    assert again.config == model.config
    assert not again.training
    assert again.geo is not None
    assert again.geo.region_cells.tolist() == [11, 42]
    batch = batch_of(region=1)
    with torch.no_grad():
        assert torch.equal(again(batch).cells_BDhw, model(batch).cells_BDhw)


def test_a_model_without_regions_is_saved_too(config: ModelConfig, tmp_path: Path) -> None:
    save_model(tmp_path / "plain.safetensors", SkySense(config))
    assert load_model(tmp_path / "plain.safetensors").geo is None


def test_a_model_looks_regions_up_by_the_rule_it_was_saved_with(config: ModelConfig, tmp_path: Path) -> None:
    path, here = tmp_path / "tiles.safetensors", mercator_tile(11.58, 48.14)
    geo = replace(config.geo_context, region_rule="web_mercator")
    save_model(path, SkySense(replace(config, geo_context=geo), regions=[here - 1, here]))
    table = load_model(path).region_table
    assert (table.slot(11.58, 48.14), table.slot(11.58 - 5.625, 48.14), table.slot(0.0, 0.0)) == (1, 0, None)


def test_a_file_that_knows_no_region_rule_is_equal_area(config: ModelConfig, tmp_path: Path) -> None:
    path = tmp_path / "earlier.safetensors"
    save_model(path, SkySense(config, regions=[region_cell(11.58, 48.14)]))
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    content = json.loads(about["config"])
    del content["geo_context"]["region_rule"]
    save_file(load_file(path), path, about | {"config": json.dumps(content)})
    assert load_model(path).region_table.slot(11.58, 48.14) == 0


def test_damaged_and_foreign_files_are_refused(model: SkySense, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_model(good, model)
    content = good.read_bytes()
    for length in (0, 5, 1000, len(content) - 1):
        bad.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"bad.safetensors: is truncated or no safetensors file"):
            load_model(bad)
    bad.write_bytes(b"GIF89a" * 100)
    with pytest.raises(InputError, match=r"no safetensors file"):
        load_model(bad)
    save_file({"weight": torch.zeros(2)}, bad)
    with pytest.raises(InputError, match=r"no skysense model"):
        load_model(bad)
    with pytest.raises(InputError, match=r"nothing.safetensors: there is no such file"):
        load_model(tmp_path / "nothing.safetensors")


def test_files_that_match_in_part_are_refused(model: SkySense, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    about = {"format": "skysense-model", "version": "1", "config": json.dumps(model.config.to_dict())}
    state = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file({key: tensor for key, tensor in state.items() if key != "s1.position"}, path, about)
    with pytest.raises(InputError, match=r"do not match the model; 1 missing: s1.position$"):
        load_model(path)
    save_file(state | {"extra": torch.zeros(1), "hr.patch_embed.norm.bias": torch.zeros(9)}, path, about)
    with pytest.raises(
        InputError, match=r"1 superfluous: extra; 1 of another shape: hr.patch_embed.norm.bias is \(9,\), not \(8,\)$"
    ):
        load_model(path)
    save_file(state, path, about | {"version": "2"})
    with pytest.raises(InputError, match=r"format version 2; this program reads 1"):
        load_model(path)
    config = model.config.to_dict()
    config["hr"]["colour"] = 3
    save_file(state, path, about | {"config": json.dumps(config)})
    with pytest.raises(InputError, match=r"does not know: hr: unknown setting colour"):
        load_model(path)
    save_file(state, path, about | {"config": "{"})
    with pytest.raises(InputError, match=r"no readable configuration"):
        load_model(path)


def test_a_state_that_does_not_fit_changes_nothing(model: SkySense) -> None:
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state = {key: torch.zeros_like(tensor) for key, tensor in before.items()}
    del state["dates.table"]
    with pytest.raises(InputError, match=r"1 missing: dates.table"):
        load_state(model, state)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_released_names_of_the_whole_model_translate_both_ways(model: SkySense) -> None:
    ours = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("geo.")}
    released = to_released(model.state_dict(), "model")
    assert released["ctpe"].shape == (1, 365, 64)
    assert released["backbone_gep.stages.2.blocks.1.norm3.weight"] is not None
    assert released["head_s2.decoder.0.weight"].shape == (64 * 16, 16, 1, 1)
    assert released["fusion.porj_linear.weight"].shape == (24, 64)
    back, ignored = from_released(released, "model")
    assert ignored == []
    assert list(back) == list(ours)
    assert all(torch.equal(back[key], tensor) for key, tensor in ours.items())


def test_known_left_overs_are_ignored_and_reported(model: SkySense) -> None:
    released = to_released(model.hr.state_dict(), "hr")
    buffer = "stages.0.blocks.0.attn.w_msa.relative_position_index"
    ours, ignored = from_released(released | {"mask_token": torch.zeros(1), buffer: torch.zeros(1)}, "hr")
    assert ignored == ["mask_token", buffer]
    load_state(model.hr, ours)
    assert from_released({"ctpe": torch.zeros(1)}, "s2")[1] == ["ctpe"]


def test_what_only_skysense_plusplus_has_is_ignored_and_reported() -> None:
    encoder = ViT(ViTConfig(in_channels=2, image_size=16, dim=16, depth=1, heads=2, cls_token=False))
    released = to_released(encoder.state_dict(), "s1")
    assert "cls_token" not in released
    extra = {key: torch.zeros(1) for key in ("cls_token", "mask_token", "vocabulary_token", "vocabulary_weight")}
    ours, ignored = from_released(extra | released, "s1")
    assert ignored == list(extra)
    load_state(encoder, ours)
    mixers = {key: torch.zeros(1) for key in ("attn1.proj_in.weight", "attn3.attn.attn.in_proj_bias", "norm_attn.bias")}
    assert from_released(mixers, "hr")[1] == list(mixers)
    with pytest.raises(InputError, match="belong to no part"):
        from_released({"attn4.proj_in.weight": torch.zeros(1)}, "hr")


def test_foreign_names_are_refused(model: SkySense) -> None:
    released = to_released(model.s2.state_dict(), "s2")
    with pytest.raises(
        InputError, match=r"26 of 28 tensors belong to no part of a released 'hr' file: cls_token, pos_embed"
    ):
        from_released(released, "hr")
    for key in (
        "layers.0.norm1.weight",
        "backbone.layers.0.ln1.weight",
        "layers.0.ln1.weight.more",
        "layers.x.ln1.bias",
    ):
        with pytest.raises(InputError, match=r"belong to no part"):
            from_released({key: torch.zeros(1)}, "s2")
    with pytest.raises(InputError, match=r"not part of our 'fusion': nonsense"):
        to_released({"nonsense": torch.zeros(1)}, "fusion")
    with pytest.raises(ConfigError, match=r"unknown part 's3'; known: model, hr"):
        from_released({}, "s3")  # type: ignore[arg-type]


def test_a_file_of_another_size_is_refused_with_its_shapes(model: SkySense) -> None:
    released = to_released(model.align_s2.state_dict(), "head_s2")
    released["decoder.0.weight"] = torch.zeros(64, 16, 3, 3)
    ours, _ = from_released(released, "head_s2")
    with pytest.raises(InputError, match=r"projection.weight is \(64, 16, 3, 3\), not \(1024, 16\)"):
        load_state(model.align_s2, ours)


def test_saved_tensors_carry_readable_names(model: SkySense, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", model)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {
        "hr.stages.2.blocks.1.extra_norm.weight",
        "s2.blocks.0.mlp.up.weight",
        "dates.table",
        "geo.prototypes",
    } <= names
