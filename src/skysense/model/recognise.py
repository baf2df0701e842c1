"""What a file of released weights is, and whether every tensor is there (specification 2.1 to 2.4).

Several layouts circulate: one file per module, one for all of them, with and without prefixes, wrapped or not, of
SkySense and of SkySense++. Names and shapes decide, never the name of the file, save where two modules are alike.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skysense.errors import InputError
from skysense.model.assembly import Piece, SkySense
from skysense.model.config import STAGES, ModelConfig, preset
from skysense.model.fingerprints import FINGERPRINTS, TOLERANCE
from skysense.model.released import MODULES, Part, is_left_over, released_name, some, translate

_WRAPPERS = ("model", "state_dict", "teacher", "student")
_ANONYMOUS = ("module.", "model.", "visual.", "image_encoder.", "backbone.")
_NAMED: tuple[tuple[str, Part], ...] = (
    *((prefix, part) for prefix, (_, part) in MODULES.items()),
    ("backbone_hr.", "hr"),
)
_DATES, _DATES_NAME = "dates.table", "ctpe"
_NOT_OURS = ("head_gep", "glbank.")  # a head of pre-training, prototypes: known by name only (specification 1.6, 2.1)


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
        config: these dimensions, with the bands and outputs that the file has.
        parts: the modules found.
        dates: the date table, if the file has one.
        unknown: names that belong to no module.
        ignored: known left-overs that belong to no module.
    """

    path: Path
    layout: str
    preset: str
    config: ModelConfig
    parts: tuple[Found, ...]
    dates: Tensor | None
    unknown: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether every module in it is whole and nothing is unknown."""
        return bool(self.parts) and not self.unknown and all(found.whole for found in self.parts)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Those of the model that the file brings."""
        found = [cast(Piece, MODULES_BY_PART[one.part].rstrip(".")) for one in self.parts]
        return tuple([*found, "dates"] if self.dates is not None else found)

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
            positions without a row for a class token.
        part: which module it is, needed for an up-sampling head whose file name says neither ``s2`` nor ``s1``.

    Raises:
        InputError: no such file, truncated, no weights in it, a pickle that wants to run code, or a module that cannot
            be told.
    """
    path = Path(path)
    tensors, wrappers = read_tensors(path)
    groups, loose, prefixes = _split(tensors, path, part)
    dates = loose.pop(_DATES_NAME, None)
    ignored = [key for key in loose if is_left_over(key) or key.startswith(_NOT_OURS)]
    unknown = [key for key in loose if key not in ignored]
    name = dimensions or ("huge++" if any(_without_class_token(group) for group in groups.values()) else "huge")
    config = _with_bands(preset(name), groups)
    if dates is not None and tuple(dates.shape) != (1, 365, config.aligned_dim):
        ignored, dates = [*ignored, _DATES_NAME], None
    parts = tuple(_compare(group, one, config) for one, group in groups.items())
    if not parts:
        raise InputError(
            f"holds {len(tensors)} tensors, and none of a SkySense module: {some(list(tensors))}",
            file=path,
            fix="Is it another model?",
        )
    layout = " ".join([*(f"{one}:" for one in wrappers), *prefixes]) or "plain"
    return Recognised(path, layout, name, config, parts, dates, tuple(unknown), tuple(ignored))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Names and tensors of a file, mapped into memory rather than read, and the dictionaries they were wrapped in.

    Raises:
        InputError: no such file, truncated or foreign, a pickle that wants to run code, nothing in it.
    """
    if not path.is_file():
        raise InputError("there is no such file", file=path)
    content: Mapping[Any, Any] = _read_torch(path) if _is_torch(path) else _read_safetensors(path)
    tensors: dict[str, Tensor] = {}
    wrappers: list[str] = []
    while True:
        tensors |= {key: value for key, value in content.items() if isinstance(value, Tensor) and isinstance(key, str)}
        inner = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        wrappers.append(inner)
        content = content[inner]
    if not tensors:
        raise InputError("holds no tensors", file=path)
    return tensors, wrappers


def _is_torch(path: Path) -> bool:
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        return file.read(1) == b"\x80"  # a pickle, as older versions of torch wrote


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError) as error:
        raise InputError(f"is truncated, or neither safetensors nor a file of torch ({error})", file=path) from error


def _read_torch(path: Path) -> Mapping[Any, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise InputError(
            "is a pickle that wants to do more than hold tensors; it was not opened",
            file=path,
            fix="Get the file from its authors, or save its state dict again in an environment you trust",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"is truncated or damaged ({str(error).splitlines()[0]})", file=path) from error
    if not isinstance(content, Mapping):
        raise InputError(f"holds a {type(content).__name__}, not a dictionary of tensors", file=path)
    return content


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
        if named is not None:
            taken += named[0]
            groups.setdefault(named[1], {})[name.removeprefix(named[0])] = tensor
        elif name == _DATES_NAME or name.startswith(_NOT_OURS):
            loose[name] = tensor
        else:
            anonymous[name] = tensor
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
        sensors = [one for one in ("s2", "s1") if one in path.name.lower()]
        if len(sensors) == 1:
            return cast(Part, f"head_{sensors[0]}")
        raise InputError(
            "is an up-sampling head; those of Sentinel-2 and Sentinel-1 are alike",
            file=path,
            fix="Say which: --part head_s2 or --part head_s1",
        )
    return None


def _without_class_token(group: Mapping[str, Tensor]) -> bool:
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
    """What differs from the recorded norms of the published high-resolution encoder; empty if all agree.

    Args:
        state: tensors under our names within the whole model.
    """
    found = []
    for name, published in FINGERPRINTS.items():
        norm = float(torch.linalg.vector_norm(state[name], dtype=torch.float64))
        if abs(norm - published) > TOLERANCE * published:
            found.append(f"{name} has the norm {norm:.4g}, published is {published:.4g}")
    return found
