"""Dimensions of the model, as data: the published architecture in any size.

Every number a person may want to change lives here, is checked on construction and survives a round trip through JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from typing import Any

from skysense.errors import ConfigError
from skysense.geo import region_rule
from skysense.sensors import MODALITIES, Modality

STAGES = 4
"""Stages of the Swin transformer; the map halves and the width doubles from one to the next."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _check_common(name: str, depth: int, mlp_ratio: float, drop_path: float, eps: float) -> None:
    _require(depth >= 1, f"{name}: depth must be at least 1; got {depth}")
    _require(mlp_ratio > 0, f"{name}: mlp_ratio must be positive; got {mlp_ratio:g}")
    _require(0 <= drop_path < 1, f"{name}: drop_path must lie within 0 .. 1; got {drop_path:g}")
    _require(eps > 0, f"{name}: layer_norm_eps must be positive; got {eps:g}")


def _check_heads(name: str, dim: int, heads: int) -> None:
    _require(dim >= 1 and heads >= 1 and dim % heads == 0, f"{name}: {heads} heads do not divide the width {dim}")


def _check_out_indices(name: str, out_indices: tuple[int, ...], count: int, what: str) -> None:
    ascending = all(a < b for a, b in pairwise(out_indices))
    _require(
        bool(out_indices) and ascending and min(out_indices) >= 0 and max(out_indices) < count,
        f"{name}: out_indices must be ascending {what} within 0 .. {count - 1}; got {out_indices}",
    )


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    """The Swin transformer V2 that reads the high-resolution image (specification 1.1).

    Attributes:
        in_channels: bands of the image.
        embed_dim: width of the first stage; stage i has ``embed_dim * 2**i``.
        depths: blocks per stage.
        num_heads: attention heads per stage.
        window: side of the attention windows, tokens.
        mlp_ratio: hidden width of the MLPs over their width.
        drop_path: greatest drop-path rate; it grows linearly from 0 over all blocks.
        extra_norm_every: every so many blocks of a stage, one more LayerNorm follows the block; 0 for none.
        out_indices: stages that are returned; each has a LayerNorm of its own.
        pad_small_map: pad maps smaller than the window instead of refusing them. It also keeps the window shift on
            maps as small as the window, as published.
        position_hidden: hidden width of the MLP of the continuous relative-position bias.
        layer_norm_eps: epsilon of every LayerNorm.
    """

    in_channels: int = 3
    embed_dim: int = 352
    depths: tuple[int, ...] = (2, 2, 18, 2)
    num_heads: tuple[int, ...] = (8, 16, 32, 64)
    window: int = 8
    mlp_ratio: float = 4.0
    drop_path: float = 0.2
    extra_norm_every: int = 6
    out_indices: tuple[int, ...] = (3,)
    pad_small_map: bool = False
    position_hidden: int = 512
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _require(
            len(self.depths) == len(self.num_heads) == STAGES,
            f"Swin: depths and num_heads need one entry for each of {STAGES} stages; "
            f"got {self.depths} and {self.num_heads}",
        )
        for dim, heads, depth in zip(self.dims, self.num_heads, self.depths, strict=True):
            _check_heads("Swin", dim, heads)
            _check_common("Swin", depth, self.mlp_ratio, self.drop_path, self.layer_norm_eps)
        _check_out_indices("Swin", self.out_indices, STAGES, "stages")
        _require(self.in_channels >= 1, f"Swin: in_channels must be at least 1; got {self.in_channels}")
        _require(self.window >= 2, f"Swin: window must be at least 2; got {self.window}")
        _require(self.extra_norm_every >= 0, f"Swin: extra_norm_every must be at least 0; got {self.extra_norm_every}")
        _require(self.position_hidden >= 1, f"Swin: position_hidden must be at least 1; got {self.position_hidden}")

    @property
    def dims(self) -> tuple[int, ...]:
        """Width of every stage."""
        return tuple(self.embed_dim * 2**stage for stage in range(STAGES))


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The plain vision transformer that reads one Sentinel frame (specification 1.2).

    Attributes:
        in_channels: bands of a frame.
        image_size: side of the frames the position table is made for, pixels.
        patch: side of a patch, pixels.
        dim: width.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over their width.
        drop_path: greatest drop-path rate; it grows linearly from 0 over the blocks.
        out_indices: blocks whose output is returned; empty for the last one only.
        cls_token: process a learned token beside the patches, as SkySense does; SkySense++ has none in its sequences,
            and no row for it in the position table.
        layer_norm_eps: epsilon of every LayerNorm.
    """

    in_channels: int
    image_size: int = 64
    patch: int = 4
    dim: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    drop_path: float = 0.3
    out_indices: tuple[int, ...] = ()
    cls_token: bool = True
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _check_heads("ViT", self.dim, self.heads)
        _check_common("ViT", self.depth, self.mlp_ratio, self.drop_path, self.layer_norm_eps)
        if self.out_indices:
            _check_out_indices("ViT", self.out_indices, self.depth, "blocks")
        _require(self.in_channels >= 1, f"ViT: in_channels must be at least 1; got {self.in_channels}")
        _require(
            self.patch >= 1 and self.image_size >= self.patch and self.image_size % self.patch == 0,
            f"ViT: image_size {self.image_size} must be a multiple of the patch {self.patch}",
        )


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """The temporal fusion transformer over the tokens of one cell (specification 1.5).

    Attributes:
        input_dim: width of the aligned features of every modality.
        dim: width of the fused feature.
        depth: layers.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over their width.
        drop_path: greatest drop-path rate; it grows linearly from 0 over the layers.
        layer_norm_eps: epsilon of every LayerNorm.
    """

    input_dim: int = 2816
    dim: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    drop_path: float = 0.3
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _require(self.input_dim >= 1, f"fusion: input_dim must be at least 1; got {self.input_dim}")
        _check_heads("fusion", self.dim, self.heads)
        _check_common("fusion", self.depth, self.mlp_ratio, self.drop_path, self.layer_norm_eps)


@dataclass(frozen=True, kw_only=True)
class GeoContextConfig:
    """The regional prototypes (specification 1.6).

    Attributes:
        prototypes: prototypes per region.
        region_rule: which region a position lies in, one of `skysense.geo.REGION_RULES`; a map must look regions up as
            pre-training did.
    """

    prototypes: int = 100
    region_rule: str = "equal_area"

    def __post_init__(self) -> None:
        region_rule(self.region_rule)
        _require(self.prototypes >= 1, f"geo-context: prototypes must be at least 1; got {self.prototypes}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole model.

    Attributes:
        hr: encoder of the high-resolution image.
        s2: encoder of Sentinel-2 frames.
        s1: encoder of Sentinel-1 frames.
        fusion: temporal fusion transformer.
        geo_context: regional prototypes; used only by a model that is given regions.
        date_on: modalities whose tokens receive a date embedding. All of them by default (the paper's formula);
            ``("s2",)`` is what the public code of the successor does (specification Q5).
    """

    hr: SwinConfig
    s2: ViTConfig
    s1: ViTConfig
    fusion: FusionConfig
    geo_context: GeoContextConfig = field(default_factory=GeoContextConfig)
    date_on: tuple[Modality, ...] = MODALITIES

    def __post_init__(self) -> None:
        _require(
            self.hr.dims[-1] == self.fusion.input_dim,
            f"the last Swin stage is {self.hr.dims[-1]} wide (8 x embed_dim {self.hr.embed_dim}), "
            f"but fusion.input_dim is {self.fusion.input_dim}; they must be equal",
        )
        _require(
            self.hr.out_indices[-1] == STAGES - 1,
            f"hr.out_indices must end with the last stage ({STAGES - 1}), which fusion reads; "
            f"got {self.hr.out_indices}",
        )
        for key, vit in (("s2", self.s2), ("s1", self.s1)):
            _require(
                not vit.out_indices or vit.out_indices[-1] == vit.depth - 1,
                f"{key}.out_indices must end with the last block ({vit.depth - 1}), which fusion reads; "
                f"got {vit.out_indices}",
            )
        unknown = sorted(set(self.date_on) - set(MODALITIES))
        _require(not unknown, f"date_on names unknown modalities: {', '.join(unknown)}; known: {', '.join(MODALITIES)}")

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """All that the configuration describes; a model may be built for some of them."""
        return MODALITIES

    @property
    def aligned_dim(self) -> int:
        """Width of the features of every modality on the cell grid."""
        return self.fusion.input_dim

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON."""
        return _plain(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`; what is left out keeps its default.

        Raises:
            ConfigError: an unknown or missing key, a value of another kind, or numbers that contradict each other.
        """
        return _build(cls, content, "")


_SECTIONS: dict[str, type] = {
    "hr": SwinConfig,
    "s2": ViTConfig,
    "s1": ViTConfig,
    "fusion": FusionConfig,
    "geo_context": GeoContextConfig,
}


def _plain(config: Any) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if entry.name in _SECTIONS:
            value = _plain(value)
        content[entry.name] = list(value) if isinstance(value, tuple) else value
    return content


def _build(kind: Any, content: Any, where: str) -> Any:
    """Make a config of class ``kind`` from plain values; ``where`` is its dotted place in the whole."""
    title = where.rstrip(".") or "model"
    _require(isinstance(content, Mapping), f"{title}: expected a mapping of settings; got {content!r}")
    known = {entry.name: entry for entry in fields(kind)}
    unknown = sorted(str(key) for key in content if key not in known)
    _require(not unknown, f"{title}: unknown setting {', '.join(unknown)}; known: {', '.join(known)}")
    missing = [
        name
        for name, entry in known.items()
        if name not in content and entry.default is MISSING and entry.default_factory is MISSING
    ]
    _require(not missing, f"{title}: missing setting {', '.join(missing)}")
    values: dict[str, Any] = {}
    for name, value in content.items():
        if not where and name in _SECTIONS:
            values[name] = _build(_SECTIONS[name], value, f"{name}.")
        else:
            values[name] = _value(str(known[name].type), value, f"{where}{name}")
    return kind(**values)


def _value(kind: str, value: Any, where: str) -> Any:
    """Check one plain value against the annotation of its field."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if kind == "int":
        fits = is_int
    elif kind == "bool":
        fits = isinstance(value, bool)
    elif kind == "float":
        fits = is_int or isinstance(value, float)
    elif kind == "str":
        fits = isinstance(value, str)
    else:
        inner = int if kind == "tuple[int, ...]" else str
        fits = isinstance(value, list | tuple) and all(type(item) is inner for item in value)
        value = tuple(value) if fits else value
    _require(fits, f"{where}: expected {kind}; got {value!r}")
    return value


PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(
        hr=SwinConfig(
            embed_dim=16,
            depths=(1, 1, 2, 1),
            num_heads=(1, 2, 4, 8),
            drop_path=0.0,
            extra_norm_every=2,
            pad_small_map=True,
            position_hidden=64,
        ),
        s2=ViTConfig(in_channels=10, image_size=16, dim=64, depth=2, heads=4, drop_path=0.0),
        s1=ViTConfig(in_channels=2, image_size=16, dim=64, depth=2, heads=4, drop_path=0.0),
        fusion=FusionConfig(input_dim=128, dim=96, depth=2, heads=4, drop_path=0.0),
        geo_context=GeoContextConfig(prototypes=16),
    ),
    "small": ModelConfig(
        hr=SwinConfig(embed_dim=48, depths=(2, 2, 6, 2), num_heads=(2, 4, 8, 16), drop_path=0.1, pad_small_map=True),
        s2=ViTConfig(in_channels=10, image_size=16, dim=384, depth=8, heads=6, drop_path=0.1),
        s1=ViTConfig(in_channels=2, image_size=16, dim=384, depth=8, heads=6, drop_path=0.1),
        fusion=FusionConfig(input_dim=384, dim=384, depth=8, heads=6, drop_path=0.1),
        geo_context=GeoContextConfig(prototypes=32),
    ),
    "base": ModelConfig(
        hr=SwinConfig(embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), drop_path=0.2, pad_small_map=True),
        s2=ViTConfig(in_channels=10, image_size=16, dim=768, depth=12, heads=12, drop_path=0.2),
        s1=ViTConfig(in_channels=2, image_size=16, dim=768, depth=12, heads=12, drop_path=0.2),
        fusion=FusionConfig(input_dim=768, dim=768, depth=12, heads=12, drop_path=0.2),
        geo_context=GeoContextConfig(prototypes=64),
    ),
    "huge": ModelConfig(
        hr=SwinConfig(), s2=ViTConfig(in_channels=10), s1=ViTConfig(in_channels=2), fusion=FusionConfig()
    ),
    "huge++": ModelConfig(
        hr=SwinConfig(),
        s2=ViTConfig(in_channels=10, image_size=16, cls_token=False, layer_norm_eps=1e-6),
        s1=ViTConfig(in_channels=2, image_size=16, cls_token=False, layer_norm_eps=1e-6),
        fusion=FusionConfig(),
        date_on=("s2",),
    ),
}
"""Models by name.

* ``tiny`` is pre-trained in minutes on two CPU cores, ``small`` on one GPU, ``base`` on some; all read windows of 4
  cells and more.
* ``huge`` is the published SkySense: 1,659,008,144 parameters. Its high-resolution images have at least 225 px a side.
* ``huge++`` is what SkySense++ has instead: Sentinel encoders without a class token, with positions for 4 x 4 patches
  and another epsilon; dates on Sentinel-2 only (specification 2.4, Q5, Q7). Its annotation tokens and VAE are left out.
"""


def preset(name: str) -> ModelConfig:
    """A configuration by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    _require(name in PRESETS, f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]
