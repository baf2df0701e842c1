"""Every recorded case of the published implementation, in whatever dimensions its JSON states.

The folder is found through SKYSENSE_REFERENCE. Each ``X.json`` with an ``X.safetensors`` beside it is one module (or
the whole pipeline) with its weights, its cases and the tolerance that its own rounding suggests.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from skysense.model.align import UpSamplingHead
from skysense.model.assembly import FrameFeatures, SkySense
from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, ViTConfig
from skysense.model.fusion import Fusion
from skysense.model.position_bias import relative_index, relative_offsets
from skysense.model.released import Part, from_released, to_released
from skysense.model.swin import Swin
from skysense.model.vit import ViT
from skysense.model.weights import load_state
from skysense.observation import Batch, Frames
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A, Modality, Sensor

M = TypeVar("M", bound=nn.Module)
SENSORS: dict[Modality, Sensor] = {"hr": OPTICAL_HR, "s2": SENTINEL2_L2A, "s1": SENTINEL1}


@dataclass(frozen=True)
class Record:
    """One recorded module."""

    about: dict[str, Any]
    tensors: dict[str, Tensor]

    def group(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    @property
    def eps(self) -> float:
        (eps,) = self.about["layernorm_eps"]
        return eps


@lru_cache(maxsize=1)  # cases of one file follow each other
def read(path: Path) -> Record:
    return Record(json.loads(path.read_text()), load_file(path.with_suffix(".safetensors")))


def kind_of(config: dict[str, Any]) -> str:
    for kind, mark in (("pipeline", "backbone_gep"), ("swin", "arch"), ("head", "up_scale"), ("vit", "img_size")):
        if mark in config:
            return kind
    assert "input_dims" in config, f"no known module has the settings {sorted(config)}"
    return "fusion"


def found(*kinds: str) -> list[Any]:
    """``(file, case)`` of every recorded case of these kinds of module; all kinds if none is given."""
    folder = os.environ.get("SKYSENSE_REFERENCE")
    if not folder:
        return [pytest.param(None, None, marks=pytest.mark.skip(reason="SKYSENSE_REFERENCE is not set"), id="none")]
    params = []
    for path in sorted(Path(folder).glob("*.json")):
        if not path.with_suffix(".safetensors").is_file():
            continue
        about = json.loads(path.read_text())
        if not kinds or kind_of(about["config"]) in kinds:
            cases = about["cases"] if kinds else [""]
            params += [pytest.param(path, case, id="-".join(filter(None, [path.stem, case]))) for case in cases]
    assert params, f"SKYSENSE_REFERENCE={folder} holds no {', '.join(kinds) or 'module'}"
    return params


def swin_config(config: dict[str, Any], eps: float, *, pad_small_map: bool) -> SwinConfig:
    arch = config["arch"]
    windows = config.get("window_size", 8)
    (window,) = {windows} if isinstance(windows, int) else set(windows)
    return SwinConfig(
        in_channels=config.get("in_channels", 3),
        embed_dim=arch["embed_dims"],
        depths=tuple(arch["depths"]),
        num_heads=tuple(arch["num_heads"]),
        window=window,
        extra_norm_every=arch.get("extra_norm_every_n_blocks", 0),
        out_indices=tuple(config.get("out_indices", (3,))),
        pad_small_map=pad_small_map,
        layer_norm_eps=eps,
    )


def vit_config(config: dict[str, Any], eps: float, out_indices: tuple[int, ...] = ()) -> ViTConfig:
    return ViTConfig(
        in_channels=config.get("in_channels", 10),
        image_size=config["img_size"],
        patch=config["patch_size"],
        dim=config["embed_dims"],
        depth=config["num_layers"],
        heads=config["num_heads"],
        mlp_ratio=config["mlp_ratio"],
        out_indices=out_indices,
        layer_norm_eps=eps,
    )


def fusion_config(config: dict[str, Any], eps: float) -> FusionConfig:
    assert config["with_cls_token"]
    assert config["output_cls_token"]
    return FusionConfig(
        input_dim=config["input_dims"],
        dim=config["embed_dims"],
        depth=config["num_layers"],
        heads=config["num_heads"],
        mlp_ratio=config["mlp_ratio"],
        layer_norm_eps=eps,
    )


def model_config(config: dict[str, Any], eps: float, date_on: list[Modality]) -> ModelConfig:
    hr = config["backbone_gep"]
    return ModelConfig(
        hr=swin_config(hr, eps, pad_small_map=hr.get("pad_small_map", False)),
        s2=vit_config(config["backbone_s2"], eps),
        s1=vit_config(config["backbone_s1"], eps),
        fusion=fusion_config(config["fusion"], eps),
        date_on=tuple(date_on),
    )


def part_of(record: Record) -> Part:
    kind = kind_of(record.about["config"])
    parts: dict[str, Part] = {"swin": "hr", "vit": "s2", "head": "head_s2", "fusion": "fusion", "pipeline": "model"}
    return parts[kind]


def loaded(module: M, record: Record) -> M:
    ours, ignored = from_released(record.group("state/") | record.group("extra/"), part_of(record))
    assert sorted(ignored) == sorted(record.group("extra/"))
    load_state(module, ours)
    return module.eval()


def same(ours: Tensor, record: Record, key: str) -> None:
    expected = record.tensors[key]
    assert ours.shape == expected.shape, f"{key}: {tuple(ours.shape)} is not {tuple(expected.shape)}"
    torch.testing.assert_close(ours, expected, rtol=0, atol=record.about["suggested_atol"], msg=lambda m: f"{key}: {m}")


def watch(module: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Record what submodules return, pieces of a batch together; ``names`` maps what to call it to the submodule."""
    seen: dict[str, Tensor] = {}

    def keep(label: str, out: Tensor | list[Tensor]) -> None:
        seen[label] = out if isinstance(out, Tensor) else torch.cat(out)

    for label, name in names.items():
        module.get_submodule(name).register_forward_hook(lambda _m, _i, out, label=label: keep(label, out))
    return seen


@pytest.mark.parametrize(("path", "case"), found("swin"))
def test_swin(path: Path, case: str) -> None:
    record = read(path)
    about = record.about["cases"][case]
    config = swin_config(record.about["config"], record.eps, pad_small_map=about["pad_small_map"])
    model = loaded(Swin(config), record)
    wanted = {
        key: key.replace("downsample", "merge").replace("attn.w_msa.relative_position_bias", "attention.position_bias")
        for key in about["debug"]
    }
    seen = watch(model, wanted)
    with torch.no_grad():
        maps = model(record.tensors[f"case/{case}/input/x"])
    for stage, ours in zip(config.out_indices, maps, strict=True):
        same(ours, record, f"case/{case}/output/stage{stage}")
    assert set(about["outputs"]) == {f"stage{stage}" for stage in config.out_indices}
    for key in about["debug"]:
        same(seen[key].flatten(1, 2) if seen[key].ndim == 4 else seen[key], record, f"case/{case}/debug/{key}")
    buffers = record.group("buffer/")
    if buffers:
        offsets, index = relative_offsets(config.window), relative_index(config.window)
        torch.testing.assert_close(offsets, buffers["relative_coords_table"].flatten(0, 2), rtol=0, atol=1e-6)
        assert torch.equal(index, buffers["relative_position_index"].flatten())


@pytest.mark.parametrize(("path", "case"), found("vit"))
def test_vit(path: Path, case: str) -> None:
    record = read(path)
    about = record.about["cases"][case]
    depth = record.about["config"]["num_layers"]
    layers = {name: depth - 1 if name == "last" else int(name.removeprefix("layer")) for name in about["outputs"]}
    indices = tuple(sorted(set(layers.values())))
    model = loaded(ViT(vit_config(record.about["config"], record.eps, indices)), record)
    entering: list[Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda _m, args: entering.extend(args[0]))
    with torch.no_grad():
        maps = dict(zip(indices, model(record.tensors[f"case/{case}/input/x"]), strict=True))
    for name, layer in layers.items():
        same(maps[layer], record, f"case/{case}/output/{name}")
    for name in about["debug"]:
        assert name == "tokens_in"
        same(entering[0], record, f"case/{case}/debug/{name}")


@pytest.mark.parametrize(("path", "case"), found("head"))
def test_up_sampling_head(path: Path, case: str) -> None:
    record = read(path)
    config = record.about["config"]
    model = loaded(UpSamplingHead(config["in_dim"], config["out_dim"], config["up_scale"]), record)
    with torch.no_grad():
        same(model(record.tensors[f"case/{case}/input/x"]), record, f"case/{case}/output/y")


@pytest.mark.parametrize(("path", "case"), found("fusion"))
def test_fusion(path: Path, case: str) -> None:
    record = read(path)
    about = record.about["cases"][case]
    model = loaded(Fusion(fusion_config(record.about["config"], record.eps)), record)
    tokens = record.tensors[f"case/{case}/input/x"]
    for name in about["outputs"]:
        with torch.no_grad():
            ours = {"cls": lambda: model(tokens)[:, 0], "two": lambda: model(tokens, keep=2)}[name]()
        same(ours, record, f"case/{case}/output/{name}")
    seen = watch(model, {name: name.replace("layer", "blocks.") for name in about["debug"]})
    with torch.no_grad():
        model(tokens, keep=1 + tokens.shape[1])
    for name in about["debug"]:
        same(seen[name], record, f"case/{case}/debug/{name}")


def frames_of(values_BCTHW: Tensor, day_BT: Tensor) -> Frames:
    values = values_BCTHW.transpose(1, 2)
    valid = torch.ones_like(values[:, :, 0], dtype=torch.bool)
    return Frames(values, day_BT, torch.ones_like(day_BT, dtype=torch.bool), valid)


def encoded(model: SkySense, inputs: dict[str, Tensor]) -> dict[Modality, FrameFeatures]:
    """Features of the recorded, already normalised inputs."""
    features: dict[Modality, Tensor] = {
        "hr": model.hr(inputs["hr"])[-1],
        "s2": model.align_s2(model.s2(inputs["s2"].transpose(1, 2).flatten(0, 1))[-1]),
        "s1": model.align_s1(model.s1(inputs["s1"].transpose(1, 2).flatten(0, 1))[-1]),
    }
    frames: dict[Modality, FrameFeatures] = {}
    for key, values in features.items():
        day_BT = inputs[f"day_{key}"]
        sample, time = torch.ones_like(day_BT).nonzero(as_tuple=True)
        valid = torch.ones_like(values[:, 0], dtype=torch.bool)
        frames[key] = FrameFeatures(values, sample, time, day_BT.flatten(), valid)
    return frames


@pytest.mark.parametrize(("path", "case"), found("pipeline"))
def test_pipeline(path: Path, case: str) -> None:
    record = read(path)
    inputs = record.group(f"case/{case}/input/")
    about = record.about["cases"][case]
    for variant in about["outputs"]:
        settings = record.about["variants"][variant]
        config = model_config(record.about["config"], record.eps, settings["date_embedding_on"])
        model = loaded(SkySense(config), record)
        sequences: list[Tensor] = []
        model.fusion.register_forward_pre_hook(lambda _m, args, to=sequences: to.append(args[0]))
        with torch.no_grad():
            frames = encoded(model, inputs)
            used = {key: frames[key] for key in settings["sequence_order"]}
            height, width = frames["hr"].values_NDhw.shape[2:]
            fused, occupied = model.fuse(used, len(inputs["hr"]), (height, width))
        same(fused, record, f"case/{case}/output/{variant}")
        assert occupied.all()
        for name in about["debug"]:
            if name.startswith("feat_"):
                same(frames[name.removeprefix("feat_")].values_NDhw, record, f"case/{case}/debug/{name}")
            match = re.fullmatch(r"sequence_(\w+)_first(\d+)", name)
            if match and match[1] == variant:
                same(sequences[0][: int(match[2])], record, f"case/{case}/debug/{name}")
            assert match or name.startswith("feat_")


@pytest.mark.parametrize(("path", "case"), found("pipeline"))
def test_pipeline_through_the_sealed_entry(path: Path, case: str) -> None:
    record = read(path)
    inputs = record.group(f"case/{case}/input/")
    inputs["hr"] = inputs["hr"][:, :, None]
    if any(inputs[key].shape[1] != len(sensor.bands) for key, sensor in SENSORS.items()):
        pytest.skip("recorded with other bands than the sensors have")
    frames: dict[Modality, Frames] = {}
    for key, sensor in SENSORS.items():
        mean, std = (torch.tensor(value).view(1, -1, 1, 1, 1) for value in (sensor.mean, sensor.std))
        frames[key] = frames_of(inputs[key].double() * std + mean, inputs[f"day_{key}"])
    batch = Batch(frames, torch.full((len(inputs["hr"]),), -1), ["place"] * len(inputs["hr"]))
    for variant in record.about["cases"][case]["outputs"]:
        settings = record.about["variants"][variant]
        config = model_config(record.about["config"], record.eps, settings["date_embedding_on"])
        model = loaded(SkySense(config), record)
        with torch.no_grad():
            features = model(batch, settings["sequence_order"])
        same(features.fused_BDhw, record, f"case/{case}/output/{variant}")
        assert set(features.frames) == set(settings["sequence_order"])
        assert features.context_BDhw is None


@pytest.mark.parametrize(("path", "case"), found())
def test_names_translate_both_ways(path: Path, case: str) -> None:
    record = read(path)
    state, part = record.group("state/"), part_of(record)
    back = to_released(from_released(state, part)[0], part)
    assert list(back) == list(state)
    assert all(torch.equal(back[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize(("path", "case"), found("swin"))
def test_wrong_epsilon_would_be_seen(path: Path, case: str) -> None:
    """The tolerance separates LayerNorm epsilons, so passing it means something."""
    record = read(path)
    config = swin_config(record.about["config"], record.eps, pad_small_map=record.about["cases"][case]["pad_small_map"])
    model = loaded(Swin(dataclasses.replace(config, layer_norm_eps=record.eps / 10)), record)
    with torch.no_grad():
        maps = model(record.tensors[f"case/{case}/input/x"])
    expected = [record.tensors[f"case/{case}/output/stage{stage}"] for stage in config.out_indices]
    worst = max(float((ours - other).abs().max()) for ours, other in zip(maps, expected, strict=True))
    assert worst > record.about["suggested_atol"]
