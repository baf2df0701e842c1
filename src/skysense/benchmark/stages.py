"""Work that goes on where it was cut off: each stage leaves one file, written whole, and is skipped if it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skysense.benchmark.probe import Progress
from skysense.data.earth import simulate
from skysense.data.places import Places
from skysense.errors import ConfigError
from skysense.files import read_json, write_json
from skysense.model.loading import MODEL_FILE
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.loop import pretrain
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


def earth(
    folder: Path,
    *,
    regions: int,
    places_per_region: int,
    footprint_cells: int,
    progress: Progress,
    buildings: bool = False,
) -> Places:
    """The places of a simulated Earth, made first where they are not there; arguments as in `simulate`."""
    simulate(
        folder,
        regions=regions,
        places_per_region=places_per_region,
        footprint_cells=footprint_cells,
        buildings=buildings,
        progress=lambda done, total: progress(done, total, "simulating places"),
    )
    return Places(folder).readable(lambda done, total: progress(done, total, "reading places"))


def pretrained(recipe: PretrainConfig, places: Places, folder: Path, words: str, progress: Progress) -> Path:
    """The model of a run on the places of the training split, without their labels; ``words`` say which run it is."""
    file = folder / MODEL_FILE
    if file.exists():
        return file

    def tell(step: int, values: Mapping[str, float]) -> None:
        progress(step + 1, recipe.steps, f"pre-training, {words}, loss {values['loss']:.2f}")

    return pretrain(recipe, places.select(split="train"), folder, on_step=tell).model
