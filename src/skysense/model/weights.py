"""Weights in files of our own: one safetensors file with the configuration, and where the numbers come from.

Nothing is loaded in part: a missing, superfluous or misshapen tensor is an error that names it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from skysense.errors import ConfigError, InputError
from skysense.files import atomic_path
from skysense.model.assembly import PIECES, Piece, SkySense
from skysense.model.config import ModelConfig
from skysense.model.released import some

FORMAT = "skysense-model"
_ADAPTED = "skysense-adapted"  # see skysense.tasks.adapted
VERSION = 1


def load_state(module: nn.Module, state: Mapping[str, Tensor], *, file: str | Path | None = None) -> None:
    """Load a state dict whole or not at all.

    Args:
        module: what to fill.
        state: names and tensors.
        file: where they come from, for the message.

    Raises:
        InputError: missing, superfluous or misshapen tensors; ``module`` is unchanged then.
    """
    wrong = mismatch(module.state_dict(), state)
    if wrong:
        raise InputError(f"the tensors do not match the model; {wrong}", file=file)
    module.load_state_dict(state)


def mismatch(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Missing, superfluous and misshapen tensors, in words; empty if there are none."""
    missing = [key for key in wanted if key not in state]
    superfluous = [key for key in state if key not in wanted]
    misshapen = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in state and state[key].shape != tensor.shape
    ]
    return "; ".join(
        f"{len(names)} {what}: {some(names)}"
        for what, names in (("missing", missing), ("superfluous", superfluous), ("of another shape", misshapen))
        if names
    )


def save_model(path: str | Path, model: SkySense, card: Mapping[str, Any] | None = None) -> None:
    """Write a model, its configuration and its regions to one safetensors file, atomically.

    Args:
        path: the file.
        model: whole or some of its pieces.
        card: where the weights come from and how they may be used, plain values for JSON; that of the model by default.

    Raises:
        OutputError: if the file cannot be written; what was there before stays.
    """
    save_state(path, model.state_dict(), model.dimensions(), model.pieces, model.card if card is None else card)


def save_state(
    path: str | Path,
    state: Mapping[str, Tensor],
    config: ModelConfig,
    pieces: Sequence[Piece],
    card: Mapping[str, Any] | None = None,
) -> None:
    """As `save_model`, of tensors without a module around them."""
    tensors: dict[str, Tensor] = {}
    places: set[int] = set()
    for key, tensor in state.items():
        plain = tensor.detach().cpu().contiguous()
        # the format has no word for two names of one tensor
        tensors[key] = plain.clone() if plain.data_ptr() in places and plain.numel() else plain
        places.add(plain.data_ptr())
    about = {"format": FORMAT, "version": str(VERSION), "config": json.dumps(config.to_dict())}
    about |= {"pieces": ",".join(pieces), "card": json.dumps(card or {}, ensure_ascii=False)}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, about)
        except SafetensorError as error:  # it wraps what the system says, e.g. a full disk
            raise OSError(str(error)) from error


@dataclass(frozen=True)
class About:
    """What the header of one of our files says.

    Attributes:
        config: of the model.
        pieces: that the file holds.
        card: where the weights come from; empty if nobody said.
    """

    config: ModelConfig
    pieces: tuple[Piece, ...]
    card: dict[str, Any]


def is_ours(path: str | Path) -> bool:
    """Whether a file says that `save_model` wrote it."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def read_about(path: str | Path) -> About:
    """Read the header of a file that `save_model` wrote.

    Raises:
        InputError: not such a file, truncated, or of a later version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file", file=path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"is truncated or no safetensors file ({error})", file=path) from error
    if metadata.get("format") == _ADAPTED:
        raise InputError(
            "is a model adapted to a task, and here one is needed that is not",
            file=path,
            fix="skysense map makes maps with it, skysense evaluate judges it; otherwise give a model.safetensors",
        )
    if metadata.get("format") != FORMAT:
        raise InputError(
            "is a safetensors file, but no skysense model",
            file=path,
            fix="Convert released weights first: skysense weights convert",
        )
    if metadata.get("version") != str(VERSION):
        raise InputError(f"has format version {metadata.get('version')}; this program reads {VERSION}", file=path)
    try:
        config = ModelConfig.from_dict(json.loads(metadata["config"]))
        names = metadata.get("pieces", ",".join(PIECES)).split(",")
        card = json.loads(metadata.get("card", "{}"))
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"holds no readable configuration ({error})", file=path) from error
    except ConfigError as error:
        raise InputError(f"holds a configuration that this program does not know: {error}", file=path) from error
    return About(config, tuple(piece for piece in PIECES if piece in names), card)


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of names, types, shapes and bytes of tensors: equal for equal weights, on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
