"""An adapted model: the encoder, the head and what they answer, in one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from skysense.data.labelled.example import TASKS, Task
from skysense.errors import ConfigError, InputError
from skysense.files import atomic_path
from skysense.model.assembly import PIECES, SkySense
from skysense.model.config import ModelConfig
from skysense.model.weights import load_state
from skysense.sensors import Modality
from skysense.tasks.batches import Reading
from skysense.tasks.config import AdaptConfig
from skysense.tasks.heads import Head, build_head, levels_needed
from skysense.tasks.predict import Predictor
from skysense.tasks.pyramid import Pyramid

FORMAT = "skysense-adapted"
VERSION = 1
_CELLS = "encoder.model.geo.region_cells"


@dataclass
class Adapted:
    """A model that answers a task.

    Attributes:
        encoder: in evaluation mode.
        head: in evaluation mode.
        task: kind of answer.
        classes: names by class index.
        per_cell: label pixels on the side of a cell.
        config: how it was adapted.
        card: where it comes from, plain values for JSON.
    """

    encoder: Pyramid
    head: Head
    task: Task
    classes: tuple[str, ...]
    per_cell: int
    config: AdaptConfig
    card: dict[str, Any]

    @property
    def reading(self) -> Reading:
        """How imagery is made ready for it."""
        return reading_for(self.encoder.model, self.encoder.modalities, self.config)

    def predictor(self, *, flips: bool | None = None) -> Predictor:
        """What judges whole images.

        Args:
            flips: average over mirror images; as configured by default.
        """
        return Predictor(
            self.encoder,
            self.head,
            self.task,
            window_cells=self.config.window_cells,
            batch_size=self.config.batch_size,
            flips=self.config.flips if flips is None else flips,
        )

    def save(self, path: str | Path) -> None:
        """Write everything to one file, atomically.

        Raises:
            OutputError: no space, no permission.
        """
        model = self.encoder.model
        state = {f"encoder.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        state |= {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}
        about = {
            "model": model.dimensions().to_dict(),
            "pieces": list(model.pieces),
            "modalities": list(self.encoder.modalities),
            "task": self.task,
            "classes": list(self.classes),
            "per_cell": self.per_cell,
            "config": self.config.to_dict(),
            "card": self.card,
        }
        header = {"format": FORMAT, "version": str(VERSION), "about": json.dumps(about, ensure_ascii=False)}
        with atomic_path(path) as temporary:
            try:
                save_file({name: _own(tensor) for name, tensor in state.items()}, temporary, header)
            except SafetensorError as error:  # it wraps what the system says, e.g. a full disk
                raise OSError(str(error)) from error


def reading_for(model: SkySense, modalities: Sequence[Modality], config: AdaptConfig) -> Reading:
    """How imagery is made ready for some encoders of a model."""
    frames: dict[Modality, int] = {"s2": config.frames_s2, "s1": config.frames_s1}
    sensors = {key: model.sensor_of(key) for key in modalities}
    return Reading(sensors, model.region_table, frames, config.clear_only)


def build(model: SkySense, task: Task, classes: tuple[str, ...], per_cell: int, config: AdaptConfig) -> Adapted:
    """A model with a head that has learned nothing yet.

    Args:
        model: its encoders are told what to return.
        task: kind of labels.
        classes: names by class index.
        per_cell: label pixels on the side of a cell.
        config: of the run.

    Raises:
        ConfigError: sensors that the model lacks, or a decoder that does not answer the task.
    """
    encoder = Pyramid(model, config.modalities, levels_needed(task, config))
    head = build_head(task, len(classes), encoder, per_cell, config)
    return Adapted(encoder, head, task, classes, per_cell, config, dict(model.card))


def load_adapted(path: str | Path, device: torch.device | str = "cpu") -> Adapted:
    """Read what `Adapted.save` wrote.

    Raises:
        InputError: no such file, another kind of file, or one that is damaged.
    """
    path = Path(path)
    about = _about(path)
    try:
        task: Task = about["task"]
        config = AdaptConfig.from_dict(about["config"])
        model_config = ModelConfig.from_dict(about["model"])
        pieces = [piece for piece in PIECES if piece in about["pieces"]]
        config = replace(config, modalities=tuple(about["modalities"]))
        classes, per_cell, card = tuple(about["classes"]), int(about["per_cell"]), about["card"]
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise InputError(f"its header cannot be understood ({error})", file=path) from error
    if task not in TASKS:
        raise InputError(f"answers an unknown task {task!r}", file=path, fix="Update skysense")
    state = load_file(path, device=str(device))
    cells = state[_CELLS].tolist() if _CELLS in state else []
    model = SkySense(model_config, cells, pieces).to(device)
    adapted = build(model, task, classes, per_cell, config)
    adapted.card = card
    for name, module in (("encoder.", adapted.encoder), ("head.", adapted.head)):
        part = {key.removeprefix(name): tensor for key, tensor in state.items() if key.startswith(name)}
        load_state(module, part, file=path)
        module.eval().to(device)
    return adapted


def _about(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except FileNotFoundError as error:
        raise InputError("there is no such file", file=path) from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"is no safetensors file, or not whole ({error})", file=path) from error
    if header.get("format") != FORMAT:
        raise InputError(
            "is no adapted model", file=path, fix="Give the adapted.safetensors of a run of skysense adapt"
        )
    if header.get("version") != str(VERSION):
        raise InputError(f"has version {header.get('version')}; this one reads {VERSION}", file=path)
    about: dict[str, Any] = json.loads(header["about"])
    return about


def _own(tensor: Tensor) -> Tensor:
    """A tensor that shares no memory: the format has no word for two names of one."""
    return tensor.detach().cpu().contiguous().clone()
