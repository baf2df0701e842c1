"""What a person types for imagery: a path, a list of paths, or sensors by name, out of YAML or as they are."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import yaml

from skysense.errors import InputError
from skysense.sensors import MODALITIES, Modality, Sensor, Unit


@runtime_checkable
class Array(Protocol):
    """An array or a data set of xarray, which need not be installed."""

    @property
    def dims(self) -> Any: ...  # noqa: D102
    @property
    def coords(self) -> Any: ...  # noqa: D102


What = str | Path | Sequence[str | Path] | Mapping[str, Any] | Array
"""A path, YAML text in braces or brackets, a list of paths, an array or data set of xarray, or a mapping from sensors
to any of these."""

_DATES = ("before", "after")
_ENTRY = ("files", "sensor", "unit", "date")
_EXAMPLE = "Write {hr: image.tif, s2: folder, s1: [a.tif, b.tif]}"


@dataclass(frozen=True)
class Entry:
    """Imagery of one sensor, as it was named.

    Attributes:
        paths: one file or folder, or several files; none of imagery in memory.
        sensor, unit, date: what is said of it beyond what the files say.
        data: imagery in memory, an array or a data set of xarray.
    """

    paths: tuple[Path, ...]
    sensor: Sensor | str | None = None
    unit: Unit | str | None = None
    date: str | None = None
    data: Array | None = None


def _is_tree(what: Any) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(what, Mapping) and not isinstance(what, Array)  # a data set is a mapping too


def named(what: What) -> Entry | dict[Modality, Entry]:
    """Imagery of a sensor that the files tell, or of several by name.

    Raises:
        InputError: no YAML, an unknown key, two dates of a change, or nothing.
    """
    tree, folder, file = _tree(what)
    if not _is_tree(tree):
        return _entry(tree, folder, file, "the imagery")
    if set(tree) & set(_DATES):
        raise InputError("names two dates; only a model of change reads them", file=file)
    return _by_sensor(tree, folder, file)


def named_pair(what: What) -> tuple[dict[Modality, Entry] | Entry, dict[Modality, Entry] | Entry]:
    """Imagery of two dates: ``{before: ..., after: ...}``.

    Raises:
        InputError: as `named`, or one of the dates is missing.
    """
    tree, folder, file = _tree(what)
    if not _is_tree(tree) or set(tree) != set(_DATES):
        raise InputError(
            "does not name two dates", file=file, fix="Write {before: a.tif, after: b.tif}, or sensors for each date"
        )
    before, after = (
        _by_sensor(tree[key], folder, file) if _is_tree(tree[key]) else _entry(tree[key], folder, file, key)
        for key in _DATES
    )
    return before, after


def is_pair(what: What) -> bool:
    """Whether imagery of two dates is named."""
    tree, _, _ = _tree(what)
    return _is_tree(tree) and bool(set(tree) & set(_DATES))


def _tree(what: What) -> tuple[Any, Path, Path | None]:
    """What was named, the folder that paths are relative to, and the YAML file, if it was one."""
    if isinstance(what, str | Path):
        text, path = str(what).strip(), Path(what)
        if path.suffix.lower() in (".yaml", ".yml"):
            try:
                text = path.read_text(encoding="utf-8")
            except OSError as error:
                raise InputError(f"cannot be read ({(error.strerror or '').lower()})", file=path) from error
            return _parsed(text, path), path.parent, path
        if text[:1] in ("{", "["):
            return _parsed(text, None), Path(), None
    return what, Path(), None


def _parsed(text: str, file: Path | None) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}", file=file, fix=_EXAMPLE) from error


def _by_sensor(tree: Mapping[Any, Any], folder: Path, file: Path | None) -> dict[Modality, Entry]:
    unknown = [str(key) for key in tree if key not in MODALITIES]
    if unknown or not tree:
        raise InputError(
            f"unknown sensor {', '.join(unknown)}; known are {', '.join(MODALITIES)}" if unknown else "names no sensor",
            file=file,
            fix=_EXAMPLE,
        )
    return {key: _entry(tree[key], folder, file, key) for key in MODALITIES if key in tree}


def _entry(tree: Any, folder: Path, file: Path | None, key: str) -> Entry:
    said: dict[str, Any] = {}
    if _is_tree(tree):
        unknown = [str(name) for name in tree if name not in _ENTRY]
        if unknown or "files" not in tree:
            what = f"unknown key {', '.join(unknown)}" if unknown else "no 'files'"
            raise InputError(f"{key}: {what}; known are {', '.join(_ENTRY)}", file=file, fix=_EXAMPLE)
        said = {name: str(value) for name, value in tree.items() if name != "files" and value is not None}
        tree = tree["files"]
    if isinstance(tree, Array):
        return Entry((), data=tree, **said)
    if isinstance(tree, np.ndarray):
        raise InputError(
            f"{key}: an array of numpy does not say where its pixels lie, nor what its bands are",
            fix="Wrap it: xarray.DataArray(values, dims=('band', 'y', 'x'), coords={'band': names, 'y': ..., "
            "'x': ...}, attrs={'crs': 'EPSG:32632', 'units': 'dB'})",
        )
    paths = list(tree) if isinstance(tree, Sequence) and not isinstance(tree, str) else [tree]
    if not paths or not all(isinstance(path, str | Path) and str(path) for path in paths):
        shown = [path.isoformat() if isinstance(path, datetime.date) else path for path in paths]
        raise InputError(f"{key}: expected a path or a list of paths, found {shown}", file=file, fix=_EXAMPLE)
    return Entry(tuple(folder / path for path in paths), **said)
