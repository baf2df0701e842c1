"""Tensors of a file that somebody else wrote: nothing in it is run, and whatever is wrong is said in words."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skysense.errors import InputError

_WRAPPERS = ("model", "state_dict", "teacher", "student")
_DEEPEST = 4


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Read a file of `torch.save` or safetensors, mapped into memory where it can be.

    Returns:
        Names and tensors, the dictionaries they were wrapped in, and other dictionaries that were left unread (of a
        teacher and a student, the teacher is read).

    Raises:
        InputError: no such file, truncated or foreign, a pickle that wants to run code, nothing in it.
    """
    if not path.is_file():
        raise InputError("there is no such file", file=path)
    content: Mapping[Any, Any] = _read_torch(path) if _is_torch(path) else _read_safetensors(path)
    tensors: dict[str, Tensor] = {}
    wrappers: list[str] = []
    unread: list[str] = []
    for _ in range(_DEEPEST):
        tensors |= {key: value for key, value in content.items() if isinstance(value, Tensor) and isinstance(key, str)}
        inner = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        wrappers.append(inner[0])
        unread += inner[1:]
        content = content[inner[0]]
    if not tensors:
        raise InputError("holds no tensors", file=path)
    return tensors, wrappers, unread


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
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        raise InputError(
            f"is a pickle that wants to do more than hold tensors{f' ({wanted[1]})' if wanted else ''}; "
            "it was not opened",
            file=path,
            fix="Get the file from its authors, or save its state dict again in an environment you trust",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"is truncated or damaged ({reason})", file=path) from error
    if not isinstance(content, Mapping):
        raise InputError(f"holds a {type(content).__name__}, not a dictionary of tensors", file=path)
    return content
