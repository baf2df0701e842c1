"""Errors for people: what was wrong, in which file, and what to do about it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType


class SkySenseError(Exception):
    """Base of every error this package raises on purpose; the command line prints it without a traceback."""


class _FileError(SkySenseError):
    """An error about something in or about a file.

    Args:
        what: the rule that was broken, in words of the field.
        file: the file or folder it was broken in, if there is one.
        fix: what the person can do about it.
    """

    def __init__(self, what: str, *, file: str | Path | None = None, fix: str | None = None) -> None:
        self.what, self.file, self.fix = what, None if file is None else Path(file), fix
        super().__init__("".join([f"{file}: " if file is not None else "", what, f". {fix}" if fix else ""]))


class InputError(_FileError):
    """Something that was given to us cannot be right: a file, an array, a position, a date."""


class Unreachable(InputError):
    """A store that does not answer; it may another time."""


class OutputError(_FileError):
    """Something could not be written; what was finished before it stays."""


class ConfigError(SkySenseError):
    """A configuration that contradicts itself or names something unknown."""


class Stopped(SkySenseError):
    """A signal asked for the end; what was done is saved.

    Args:
        what: where it stopped.
        status: exit status for the shell, 128 and the number of the signal.
    """

    def __init__(self, what: str, status: int) -> None:
        self.status = status
        super().__init__(what)


class MissingExtra(SkySenseError):
    """An optional part is not installed."""


def need(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say how to install it.

    Args:
        module: the module to import, e.g. ``"sklearn"``.
        extra: the extra of this package that brings it, e.g. ``"train"``.

    Raises:
        MissingExtra: if the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"this needs {module!r}: pip install 'skysense[{extra}]'") from error
