"""What a file of released weights is, and whether every tensor is there (specification 2.1 to 2.4).

Several layouts circulate: one file per module, one for all of them, with and without prefixes, wrapped or not, of
SkySense and of SkySense++. Names and shapes decide, never the name of the file, save where two modules are alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from skysense.errors import ConfigError, InputError
from skysense.model.assembly import SkySense
from skysense.model.config import STAGES, ModelConfig, preset
from skysense.model.fingerprints import FINGERPRINTS, TOLERANCE
from skysense.model.reading import read_tensors
from skysense.model.released import MODULES, Part, is_left_over, released_name, some, translate
from skysense.model.weights import is_ours

_ANONYMOUS = ("module.", "model.", "visual.", "image_encoder.", "backbone.")
_NAMED: tuple[tuple[str, Part], ...] = (
    *((prefix, part) for prefix, (_, part) in MODULES.items()),
    ("backbone_hr.", "hr"),
)
_DATES, _DATES_NAME = "dates.table", "ctpe"
# A head of pre-training and prototypes are known by name only (specification 1.6, 2.1); the rest is of SkySense++.
_NOT_OURS = ("head_gep", "glbank.", "head_rec_hr.", "aux_head.", "modality_vae.")


@dataclass(frozen=True)
class Found:
    """One module of a file beside what it should be.

    Attributes:
        part: which module.
        tensors: those that fit, under our names within the whole model.
        expected: how many there should be.
        missing, unexpected: released names.
        misshapen: released name, its shape, and the right one, in words.
        ignored: known left-overs.
    """

    part: Part
    tensors: dict[str, Tensor]
    expected: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Every tensor is there, fits, and nothing is left over that nobody knows."""
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """What is wrong by kind; only kinds that occur."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.misshapen}
        return {kind: names for kind, names in kinds.items() if names}

    def faults(self) -> str:
        """What is wrong, in words; empty if nothing is."""
        return "; ".join(f"{len(names)} {kind}: {some(names, 4)}" for kind, names in self.kinds.items())


@dataclass(frozen=True)
class Recognised:
    """What a file is.

    Attributes:
        path: of the file.
        layout: wrappers and prefixes that were taken off, in words.
        preset: name of the dimensions it was compared with.
        decided: whether it can be of no other; encoders of images, heads and fusion are alike in SkySense and its
            successor.
        config: these dimensions, with the bands and outputs that the file has.
        parts: the modules found.
        dates: the date table, if the file has one.
        unknown: names that belong to no module.
        ignored: known left-overs that belong to no module.
    """

    path: Path
    layout: str
    preset: str
    decided: bool
    config: ModelConfig
    parts: tuple[Found, ...]
    dates: Tensor | None
    unknown: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether every module in it is whole and nothing is unknown."""
        return bool(self.parts) and not self.unknown and all(found.whole for found in self.parts)

    def state(self) -> dict[str, Tensor]:
        """All tensors under our names.

        Raises:
            InputError: it is not whole.
        """
        if not self.whole:
            faults = [
                f"{one.part}: {len(one.tensors)} of {one.expected} tensors fit; {one.faults()}"
                for one in self.parts
                if not one.whole
            ]
            if self.unknown:
                faults.append(f"{len(self.unknown)} tensors belong to no module: {some(self.unknown)}")
            raise InputError(f"does not hold the published model ({self.preset}). {'. '.join(faults)}", file=self.path)
        state = {key: tensor for found in self.parts for key, tensor in found.tensors.items()}
        return state if self.dates is None else state | {_DATES: self.dates}


MODULES_BY_PART: dict[Part, str] = {part: ours for ours, part in MODULES.values()}


def recognise(path: str | Path, *, dimensions: str | None = None, part: Part | None = None) -> Recognised:
    """Find out what a file of released weights holds; nothing is refused yet but a file without any of it.

    Args:
        path: a file of `torch.save` or safetensors.
        dimensions: name of the preset to compare with; if None ``huge``, or ``huge++`` if its Sentinel encoders have
            positions without a row for a class token, or it has a vocabulary.
        part: which module it is, needed for an up-sampling head whose file name says neither ``s2`` nor ``s1``; of a
            file with several, only this one is taken.

    Raises:
        InputError: no such file, truncated, no weights in it, a pickle that wants to run code, one tensor under two
            names, a module that cannot be told, or a file that is converted already.
        ConfigError: an unknown part.
    """
    path = Path(path)
    if part is not None and part not in MODULES_BY_PART:
        raise ConfigError(f"unknown part {part!r}; known: {', '.join(MODULES_BY_PART)}")
    if is_ours(path):
        raise InputError("is converted already", file=path, fix="skysense.load reads it")
    tensors, wrappers, unread = read_tensors(path)
    groups, loose, prefixes = _split(tensors, path, part)
    tables = [group.pop(_DATES_NAME) for group in (loose, *groups.values()) if _DATES_NAME in group]
    if part is not None and part in groups:
        groups = {part: groups[part]}
    ignored = [key for key in loose if is_left_over(key) or key.startswith(_NOT_OURS)]
    unknown = [key for key in loose if key not in ignored]
    ignored += [f"{key}: unread" for key in unread]
    name = dimensions or ("huge++" if any(_of_successor(group) for group in groups.values()) else "huge")
    config = _with_bands(preset(name), groups)
    dates, right = (tables[0] if tables else None), (1, 365, config.aligned_dim)
    if dates is not None and tuple(dates.shape) != right:
        unknown, dates = [*unknown, f"{_DATES_NAME} is {tuple(dates.shape)}, not {right}"], None
    parts = tuple(_compare(group, one, config) for one, group in groups.items())
    if not parts:
        raise InputError(
            f"holds {len(tensors)} tensors, and none of a SkySense module: {some(list(tensors))}",
            file=path,
            fix="Is it another model?",
        )
    layout = " ".join([*(f"{one}:" for one in wrappers), *prefixes]) or "plain"
    decided = dimensions is not None or name != "huge" or any(one.part in ("s2", "s1") for one in parts)
    return Recognised(path, layout, name, decided, config, parts, dates, tuple(unknown), tuple(ignored))


def _split(
    tensors: Mapping[str, Tensor], path: Path, part: Part | None
) -> tuple[dict[Part, dict[str, Tensor]], dict[str, Tensor], list[str]]:
    """Tensors by module under names without prefixes, tensors of no module, and the prefixes that were taken off."""
    groups: dict[Part, dict[str, Tensor]] = {}
    anonymous: dict[str, Tensor] = {}
    loose: dict[str, Tensor] = {}
    prefixes: dict[str, None] = {}
    for key, tensor in tensors.items():
        name, taken = key.replace(".Wqkv.", ".in_proj_"), ""  # names of a fused attention in some SkySense++ files
        while (prefix := next((one for one in _ANONYMOUS if name.startswith(one)), None)) is not None:
            name, taken = name.removeprefix(prefix), taken + prefix
        named = next(((prefix, one) for prefix, one in _NAMED if name.startswith(prefix)), None)
        home = anonymous
        if named is not None:
            taken, name = taken + named[0], name.removeprefix(named[0])
            home = groups.setdefault(named[1], {})
        elif name == _DATES_NAME or name.startswith(_NOT_OURS):
            home = loose
        if name in home:
            raise InputError(
                f"holds {name!r} twice, under different prefixes; one is {key!r}",
                file=path,
                fix="Keep one of the two models in it",
            )
        home[name] = tensor
        if taken:
            prefixes[taken] = None
    which = part or _which(anonymous, path)
    if anonymous and which is not None and which not in groups:
        groups[which] = anonymous
    else:
        loose |= anonymous
    return groups, loose, list(prefixes)


def _which(group: Mapping[str, Tensor], path: Path) -> Part | None:
    """The module that names without a prefix belong to; None for none.

    Raises:
        InputError: an up-sampling head whose file name does not say of which sensor.
    """
    if any(name.startswith("stages.") for name in group):
        return "hr"
    if "porj_linear.weight" in group:
        return "fusion"
    if "pos_embed" in group:
        kernel = group.get("patch_embed.projection.weight")
        return "s1" if kernel is not None and kernel.ndim == 4 and kernel.shape[1] == 2 else "s2"
    if "decoder.0.weight" in group:
        sensors = re.findall(r"(?<![a-z0-9])s[12](?![0-9])", path.stem.lower())
        if len(set(sensors)) == 1:
            return cast(Part, f"head_{sensors[0]}")
        raise InputError(
            "is an up-sampling head; those of Sentinel-2 and Sentinel-1 are alike",
            file=path,
            fix="Say which: --part head_s2 or --part head_s1",
        )
    return None


def _of_successor(group: Mapping[str, Tensor]) -> bool:
    """Whether a module is one of SkySense++: a vocabulary, or positions without a row for a class token."""
    if "vocabulary_token" in group:
        return True
    table = group.get("pos_embed")
    return table is not None and table.ndim == 3 and math.isqrt(table.shape[1]) ** 2 == table.shape[1]


def _with_bands(config: ModelConfig, groups: Mapping[Part, Mapping[str, Tensor]]) -> ModelConfig:
    """A preset with the numbers of bands and of outputs that a file has."""

    def bands(part: Part, published: int) -> int:
        kernel = groups.get(part, {}).get("patch_embed.projection.weight")
        return 4 if kernel is not None and kernel.ndim == 4 and kernel.shape[1] == 4 else published

    norms = [stage for stage in range(STAGES) if f"norm{stage}.weight" in groups.get("hr", {})]
    hr = replace(config.hr, in_channels=bands("hr", 3), out_indices=tuple(norms) if 3 in norms else (3,))
    return replace(config, hr=hr, s2=replace(config.s2, in_channels=bands("s2", 10)))


def _compare(group: Mapping[str, Tensor], part: Part, config: ModelConfig) -> Found:
    ours, ignored, unexpected = translate(group, part)
    prefix, expected, released = MODULES_BY_PART[part], _shapes(config, part), _released_names(config, part)
    misshapen = [
        f"{released[name]} is {tuple(tensor.shape)}, not {shape}"
        for name, tensor in ours.items()
        if (shape := expected.get(prefix + name)) is not None and tuple(tensor.shape) != shape
    ]
    fitting = {prefix + name: ours[name] for name in ours if tuple(ours[name].shape) == expected.get(prefix + name)}
    return Found(
        part,
        fitting,
        len(expected),
        missing=tuple(released[key.removeprefix(prefix)] for key in expected if key.removeprefix(prefix) not in ours),
        unexpected=(
            *unexpected,
            *(released_name(name, part) or name for name in ours if prefix + name not in expected),
        ),
        misshapen=tuple(misshapen),
        ignored=tuple(ignored),
    )


@lru_cache(maxsize=4)
def _skeleton(config: ModelConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        return SkySense(config).state_dict()


def _shapes(config: ModelConfig, part: Part) -> dict[str, tuple[int, ...]]:
    prefix = MODULES_BY_PART[part]
    return {key: tuple(tensor.shape) for key, tensor in _skeleton(config).items() if key.startswith(prefix)}


def _released_names(config: ModelConfig, part: Part) -> dict[str, str]:
    """Our name within a module to the released one."""
    prefix = MODULES_BY_PART[part]
    names = [key.removeprefix(prefix) for key in _skeleton(config) if key.startswith(prefix)]
    return {name: released_name(name, part) or name for name in names}


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that hold NaN or infinite numbers; reads them all."""
    return [name for name, tensor in state.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())]


def strange_norms(state: Mapping[str, Tensor]) -> list[str]:
    """What differs from the recorded norms of the published high-resolution encoder, of tensors that are there.

    Args:
        state: tensors under our names within the whole model.
    """
    found = []
    for name, published in FINGERPRINTS.items():
        if name not in state:
            continue
        norm = float(torch.linalg.vector_norm(state[name], dtype=torch.float64))
        if abs(norm - published) > TOLERANCE * published:
            found.append(f"{name} has the norm {norm:.4g}, published is {published:.4g}")
    return found
