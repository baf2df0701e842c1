"""Names and shapes of the full-size modules, without allocating them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from skysense.model.align import UpSamplingHead
from skysense.model.assembly import SkySense
from skysense.model.config import FusionConfig, SwinConfig, ViTConfig, preset
from skysense.model.fusion import DateTable, Fusion
from skysense.model.released import Part, to_released
from skysense.model.swin import Swin
from skysense.model.vit import ViT

FULL = FusionConfig()


def full_size(name: str) -> tuple[nn.Module, Part]:
    """The published dimensions (specification section 1) are the defaults of the configurations."""
    with torch.device("meta"):
        if name.startswith("swin"):
            return Swin(SwinConfig(out_indices=(0, 1, 2, 3) if name.endswith("out0123") else (3,))), "hr"
        if name.startswith("vit"):
            return ViT(ViTConfig(in_channels=10 if name.endswith("s2") else 2)), "s2"
        if name == "up_head":
            return UpSamplingHead(1024, FULL.input_dim, 4), "head_s2"
        return Fusion(FULL), "fusion"


@pytest.mark.parametrize("name", ["swin_h", "swin_h_out0123", "vit_l_s2", "vit_l_s1", "up_head", "fusion"])
def test_full_size_module_has_the_released_names_and_shapes(reference: Path, name: str) -> None:
    manifest = json.loads((reference / "manifests" / f"{name}.json").read_text())
    module, part = full_size(name)
    ours = {key: list(tensor.shape) for key, tensor in to_released(module.state_dict(), part).items()}
    assert ours == manifest["parameters"]
    assert sum(parameter.numel() for parameter in module.parameters()) == manifest["total_parameters"]


@pytest.mark.parametrize(
    ("name", "parameters", "tensors"),
    [
        ("swin_h", 655_074_704, 429),
        ("swin_h_out0123", 655_079_632, 435),
        ("vit_l_s2", 302_738_432, 292),
        ("vit_l_s1", 302_607_360, 292),
        ("up_head", 46_182_400, 2),
        ("fusion", 305_195_008, 291),
    ],
)
def test_full_size_parameter_counts(name: str, parameters: int, tensors: int) -> None:
    """Specification, appendix B 1 and 2."""
    module, _ = full_size(name)
    counts = [parameter.numel() for parameter in module.parameters()]
    assert (sum(counts), len(counts)) == (parameters, tensors)


PREFIXES = {
    "backbone_gep.": "swin_h",
    "backbone_s2.": "vit_l_s2",
    "backbone_s1.": "vit_l_s1",
    "head_s2.": "up_head",
    "head_s1.": "up_head",
    "fusion.": "fusion",
}


@pytest.fixture(scope="module")
def huge() -> SkySense:
    with torch.device("meta"):
        return SkySense(preset("huge"), regions=range(4096))


def test_preset_huge_has_the_names_and_shapes_of_the_full_checkpoint(reference: Path, huge: SkySense) -> None:
    expected: dict[str, list[int]] = {"ctpe": [1, 365, 2816]}
    for prefix, name in PREFIXES.items():
        manifest = json.loads((reference / "manifests" / f"{name}.json").read_text())
        expected |= {prefix + key: shape for key, shape in manifest["parameters"].items()}
    ours = {key: list(tensor.shape) for key, tensor in to_released(huge.state_dict(), "model").items()}
    assert ours == expected


def test_preset_huge_has_the_published_number_of_parameters(huge: SkySense) -> None:
    assert sum(parameter.numel() for parameter in huge.parameters()) == 1_659_008_144
    assert huge.geo is not None
    assert huge.geo.prototypes.shape == (4096, 100, 1024)


def test_preset_of_the_successor_differs_in_the_sentinel_encoders() -> None:
    """Specification 2.4: the published totals without mask token, vocabulary (65 + 16 numbers) and class token."""
    with torch.device("meta"):
        model = SkySense(preset("huge++"))
    for encoder, published in ((model.s2, 302_559_248), (model.s1, 302_428_176)):
        extra = (1 + 65 + 1) * 1024 + 16
        assert sum(parameter.numel() for parameter in encoder.parameters()) == published - extra
        assert encoder.position.shape == (1, 16, 1024)
        assert encoder.blocks[0].attention_norm.eps == 1e-6


def test_date_table_size() -> None:
    assert DateTable(FULL.input_dim).table.numel() == 1_027_840
