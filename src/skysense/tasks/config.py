"""How a model is adapted to a task: the numbers of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from skysense.data.labelled.example import Task
from skysense.errors import ConfigError
from skysense.geo import WINDOW_CELLS
from skysense.sensors import Modality
from skysense.tasks.augment import AugmentConfig

Way = Literal["linear", "head", "lora", "full"]
Decoder = Literal["linear", "light", "cells", "upernet", "bit", "faster-rcnn", "oriented-rcnn"]

DECODERS: dict[Task, tuple[Decoder, ...]] = {
    "classification": ("linear",),
    "multilabel": ("linear",),
    "segmentation": ("upernet", "light", "cells", "linear"),
    "detection": ("faster-rcnn",),
    "oriented-detection": ("oriented-rcnn",),
    "change": ("upernet", "bit"),
    "semantic-change": ("upernet",),
}
"""What may decode the features for a task; the first by default."""

_RATES: dict[Way, float] = {"linear": 1e-3, "head": 1e-3, "lora": 5e-4, "full": 1e-4}


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """One run.

    Attributes:
        way: what learns. ``linear``: a linear layer on frozen features; ``head``: a decoder on frozen features;
            ``lora``: a decoder, and low-rank additions to the encoder; ``full``: everything, layer by layer slower
            towards the input. Frozen features are computed once.
        decoder: by default the published one of the task.
        decoder_width: channels of the decoder; as published by default. Hidden layers of detectors are four times as
            wide.
        anchor_scale: of detectors, side of the anchors of a level in its cells: 8 as published, less where many boxes
            are smaller than the anchors of the finest level (32 px); seen from the boxes if None.
        modalities: sensors to use; by default all that both the model and the data have.
        frames_s2: most frames of a Sentinel-2 series.
        frames_s1: most frames of a Sentinel-1 series.
        clear_only: leave out what is known to be cloudy.
        epochs: passes over the examples.
        batch_size: examples per step.
        learning_rate: at its greatest; by default 1e-4 for ``full``, 5e-4 for ``lora``, 1e-3 where features are frozen.
        warmup: share of the run in which the rate rises.
        weight_decay: of everything but vectors.
        layer_decay: factor of the rate per layer towards the input; only ``full``.
        drop_path: greatest rate in the encoder, where it learns or is added to.
        average: decay per step of the average of the weights that is judged and kept; 0 for none.
        precision: ``bf16-mixed`` on hardware that has it.
        patience: stop after so many epochs without a better validation score; None for never.
        augment: what training draws at random; frozen features are seen as they are.
        window_cells: images larger than this are judged in windows of this side, in cells, a multiple of 4.
        flips: judge each image also in its three mirror images, and average.
        workers: processes that read examples; 0 to read between the steps.
        seed: of everything drawn.
    """

    way: Way = "full"
    decoder: Decoder | None = None
    decoder_width: int | None = None
    anchor_scale: float | None = None
    modalities: tuple[Modality, ...] | None = None
    frames_s2: int = 20
    frames_s1: int = 10
    clear_only: bool = False
    epochs: int = 50
    batch_size: int = 8
    learning_rate: float | None = None
    warmup: float = 0.05
    weight_decay: float = 0.01
    layer_decay: float = 0.9
    drop_path: float = 0.2
    average: float = 0.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    patience: int | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    window_cells: int = 16
    flips: bool = False
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        def need(good: bool, message: str) -> None:
            if not good:
                raise ConfigError(message)

        need(self.epochs >= 1 and self.batch_size >= 1, "epochs and batch_size must be at least 1")
        need(self.workers >= 0, f"workers must be 0 or more; got {self.workers}")
        need(self.frames_s2 >= 1 and self.frames_s1 >= 1, "frames_s2 and frames_s1 must be at least 1")
        need(0 < self.layer_decay <= 1, f"layer_decay must lie within 0 .. 1; got {self.layer_decay:g}")
        need(0 <= self.drop_path < 1, f"drop_path must lie within 0 .. 1; got {self.drop_path:g}")
        need(0 <= self.warmup < 1, f"warmup must be a share of the run, 0 .. 1; got {self.warmup:g}")
        need(0 <= self.average < 1, f"average must lie within 0 .. 1; got {self.average:g}")
        need(self.weight_decay >= 0, f"weight_decay must not be negative; got {self.weight_decay:g}")
        need(self.patience is None or self.patience >= 1, f"patience must be at least 1; got {self.patience}")
        for name in ("learning_rate", "decoder_width", "anchor_scale"):
            value = getattr(self, name)
            need(value is None or value > 0, f"{name} must be positive; got {value}")
        sides = (self.window_cells, *([] if self.augment.crop_cells is None else [self.augment.crop_cells]))
        for side in sides:
            need(
                side >= WINDOW_CELLS and side % WINDOW_CELLS == 0,
                f"crop_cells and window_cells must be multiples of {WINDOW_CELLS} cells; got {side}",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        content = {**vars(self), "augment": dict(vars(self.augment))}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in content.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AdaptConfig:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: settings that contradict each other.
            TypeError: unknown ones.
        """
        values = dict(content) | {"augment": AugmentConfig(**content["augment"])}
        if values.get("modalities") is not None:
            values["modalities"] = tuple(values["modalities"])
        return cls(**values)

    @property
    def rate(self) -> float:
        """The learning rate, or the usual one of the way."""
        return _RATES[self.way] if self.learning_rate is None else self.learning_rate

    @property
    def frozen(self) -> bool:
        """Whether the encoder stays as it is."""
        return self.way in ("linear", "head")

    def decoder_for(self, task: Task) -> Decoder:
        """The decoder of a task.

        Raises:
            ConfigError: one that does not answer it.
        """
        chosen = self.decoder
        if chosen is None:
            chosen = "linear" if self.way == "linear" else DECODERS[task][0]
        if chosen not in DECODERS[task] or (self.way == "linear" and chosen != "linear"):
            way = " with way 'linear'" if self.way == "linear" else ""
            raise ConfigError(
                f"decoder {chosen!r} does not answer {task}{way}; known are {', '.join(DECODERS[task])}"
                + ("; 'linear' is for classification and segmentation" if self.way == "linear" else "")
            )
        return chosen
