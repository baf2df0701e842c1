"""Work that goes on where it was cut off: each stage leaves one file, written whole, and is skipped if it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skysense.errors import ConfigError
from skysense.files import read_json, write_json
from skysense.probes.outcomes import load_outcomes, save_outcomes
from skysense.probes.protocol import Outcomes


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make a folder that of these settings, or refuse one of other settings.

    Raises:
        ConfigError: the folder was begun with other settings.
        InputError: its ``settings.json`` is truncated.
        OutputError: it cannot be written to.
    """
    file = folder / "settings.json"
    if file.exists():
        found = read_json(file)
        if found != settings:
            changed = [key for key in sorted({*found, *settings}) if found.get(key) != settings.get(key)]
            raise ConfigError(f"{folder} was begun with other settings ({', '.join(changed)}). Choose another folder")
    else:
        write_json(file, settings)


def stage(file: Path, work: Callable[[], Outcomes]) -> Outcomes:
    """Outcomes in ``file``, worked out first if it is not there."""
    if not file.exists():
        save_outcomes(file, work())
    return load_outcomes(file)
