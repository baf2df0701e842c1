"""What a run is of: its settings, the model it began with, the examples. A folder holds one run, and says whose."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from skysense.data.labelled.dataset import LabelledData
from skysense.errors import InputError
from skysense.files import flat, plain, read_json, write_json
from skysense.tasks.config import AdaptConfig

SETTINGS = "adapt.json"
_FREE = ("config.epochs", "config.workers", "config.flips", "config.patience")
"""Settings that a run may go on with when they are changed."""
_WORDS = {
    "model": "it began with another model, or with random weights",
    "examples": "it learned from other examples, or from another division of them",
}


def identity(config: AdaptConfig, model: nn.Module, data: LabelledData, opened: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one run from another, as plain values for JSON.

    Args:
        config: of the run.
        model: before anything is learned.
        data: all examples that can be used.
        opened: how the data were opened.
    """
    content: dict[str, Any] = plain(
        {
            "config": config.to_dict(),
            "data": data.title,
            "task": data.task,
            "classes": data.classes,
            "opened": dict(opened),
            "model": fingerprint(model),
            "examples": names_digest(data, splits=True),
        }
    )
    return content


def check(out: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another run.

    Raises:
        InputError: it does; the message names what differs.
    """
    file = out / SETTINGS
    if not file.exists():
        return
    before, now = flat(read_json(file)), flat(dict(wanted))
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key) and key not in _FREE]
    if changed:
        words = "; ".join(_WORDS.get(key, f"{key} was {before.get(key)!r}, is {now.get(key)!r}") for key in changed)
        raise InputError(
            f"holds another run ({words})", file=out, fix="Choose another folder, or go on as it was begun"
        )


def remember(out: Path, content: Mapping[str, Any]) -> None:
    """Write down whose folder it is.

    Raises:
        OutputError: no space, no permission.
    """
    write_json(out / SETTINGS, content)


def names_digest(data: LabelledData, *, splits: bool) -> str:
    """A hash of the names of all examples, with or without their splits."""
    names = sorted(f"{item.name}\t{item.split if splits else ''}" for item in data.items)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def fingerprint(module: nn.Module) -> str:
    """A hash of all names and numbers of a module."""
    found = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
