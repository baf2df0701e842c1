"""What is exported: modules whose inputs and outputs have names and axes, and how the package itself answers them.

Letters: B samples, T frames, C bands, H W pixels, D width, h w cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from skysense.export.frames import Encoded, encoded, entered, fused_cells, observed, tokens_of
from skysense.geo import CELL_HR_PX
from skysense.model.assembly import SkySense
from skysense.model.geocontext import GeoContext
from skysense.observation import Batch, Frames
from skysense.sensors import Modality

Kind = Literal["imagery", "days", "region"]
When = Literal["", "before", "after"]


@dataclass(frozen=True)
class Port:
    """An input of a graph.

    Attributes:
        kind: pixels in physical units, days of the year - 1, or slots of regions.
        modality: of pixels and days.
        when: which of two dates.
        frames: whether it has an axis of frames.
    """

    kind: Kind
    modality: Modality | None = None
    when: When = ""
    frames: bool = False

    @property
    def name(self) -> str:
        """What the graph calls it."""
        words = [self.modality or "region", "days" if self.kind == "days" else "", self.when]
        return "_".join(word for word in words if word)

    @property
    def axes(self) -> tuple[str, ...]:
        """What its axes are."""
        leading = ("batch", f"frames_{self.modality}") if self.frames else ("batch",)
        return (*leading, "bands", "rows", "columns") if self.kind == "imagery" else leading

    @property
    def per_cell(self) -> int:
        """Pixels along a cell."""
        return CELL_HR_PX if self.modality == "hr" else 1


@dataclass(frozen=True)
class Outlet:
    """An output of a graph.

    Attributes:
        name: what the graph calls it.
        axes: what its axes are.
        says: what the numbers are, for people.
        exclusive: whether classes exclude one another, so that the likeliest is the answer.
    """

    name: str
    axes: tuple[str, ...]
    says: str
    exclusive: bool = False


class Graph(nn.Module, ABC):
    """A module with named inputs and outputs.

    Attributes:
        title: of the file.
        ports: inputs, in order.
        outlets: outputs, in order.
        one: whether it takes one sample at a time.
        thresholds: by which answers are picked, for the description.
    """

    title: str
    ports: tuple[Port, ...]
    outlets: tuple[Outlet, ...]
    one = False
    thresholds: dict[str, float] | None = None

    @property
    def finds_boxes(self) -> bool:
        """Whether the outputs are boxes, scores and labels."""
        return self.outlets[0].name == "boxes"

    @abstractmethod
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs in the order of the ports to outputs in the order of the outlets."""

    @abstractmethod
    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The same by the functions that the package itself uses, for the check."""

    def finished(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Outputs after what the description says is still to be done."""
        return outputs

    def grid(self, inputs: Sequence[Tensor]) -> tuple[int, int]:
        """Height and width of what is answered, in its own pixels: cells unless said otherwise."""
        rows, columns = (side // self.ports[0].per_cell for side in inputs[0].shape[-2:])
        return rows, columns

    def given(self, inputs: Sequence[Tensor], kind: Kind, when: When = "") -> dict[Modality, Tensor]:
        """Inputs of one kind by modality, the axis of frames added where there is none."""
        return {
            port.modality: value if port.frames else value[:, None]
            for port, value in zip(self.ports, inputs, strict=True)
            if port.kind == kind and port.when == when and port.modality is not None
        }

    def region(self, inputs: Sequence[Tensor]) -> Tensor | None:
        """The slots of the regions, if they are asked for."""
        return next((value for port, value in zip(self.ports, inputs, strict=True) if port.kind == "region"), None)


class EncoderGraph(Graph):
    """One encoder: frames in, its maps out, of Sentinel also the aligned features of each cell.

    Args:
        model: with the encoder.
        key: which.
    """

    def __init__(self, model: SkySense, key: Modality) -> None:
        super().__init__()
        self.model, self.key, self.title = model, key, key
        self.encoder = getattr(model, key)
        self.wanted = list(range(len(self.encoder.feature_info))) if key == "hr" else [self.encoder.config.depth - 1]
        self.aligns = f"align_{key}" in model.pieces
        self.ports = (Port("imagery", key),)
        levels = [self.encoder.feature_info[level]["reduction"] for level in self.wanted]
        maps = [
            Outlet(f"features_{side}", ("batch", "width", "rows", "columns"), f"one vector per {side} x {side} px")
            for side in levels
        ]
        cells = Outlet("cells", ("batch", "width", "rows", "columns"), "aligned features, one vector per 10 m cell")
        self.outlets = (*maps, cells) if self.aligns else tuple(maps)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """``(B, C, H, W)`` in physical units to maps, finest first."""
        return self._maps(entered(self.model, self.key, inputs[0]))

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As the model prepares and encodes frames."""
        batch = batch_of({self.key: inputs[0][:, None]}, {}, None)
        frames = batch.frames[self.key]
        entry = getattr(self.model, f"entry_{self.key}")
        return self._maps(entry(frames.values_BTCHW[:, 0], frames.valid_BTHW[:, 0]))

    def _maps(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.encoder.forward_intermediates(x, self.wanted, norm=True, intermediates_only=True)
        if not self.aligns:
            return tuple(maps)
        head = self.model.align_s2 if self.key == "s2" else self.model.align_s1
        return (*maps, head(maps[-1]))


class FusedGraph(Graph):
    """All sensors and dates of a place to one feature per cell, geo-context beside it.

    Args:
        model: with the pieces that fuse its modalities.
    """

    title = "fused"

    def __init__(self, model: SkySense) -> None:
        super().__init__()
        self.model = model
        self.ports = ports_of(model, model.modalities)
        features = Outlet("features", ("batch", "width", "rows", "columns"), "one vector per 10 m cell, 0 if not seen")
        self.outlets = (features, Outlet("observed", ("batch", "rows", "columns"), "cells that any frame shows"))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Imagery, days and regions to ``(B, D, h, w)`` and bool ``(B, h, w)``."""
        parts = frames_of(self, self.model, inputs)
        tokens = [tokens_of(self.model, key, part) for key, part in parts.items()]
        fused, occupied = fused_cells(self.model.fusion, tokens, [part.valid_BThw for part in parts.values()])
        return with_context(self.model.geo, fused, occupied, self.region(inputs)), occupied

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As the model answers a batch."""
        batch = batch_of(self.given(inputs, "imagery"), self.given(inputs, "days"), self.region(inputs))
        found = self.model(batch)
        return found.cells_BDhw, found.occupied_Bhw


def ports_of(model: SkySense, modalities: Sequence[Modality], *, fuses: bool = True) -> tuple[Port, ...]:
    """Inputs of a graph that reads some modalities of one date.

    Args:
        model: whose configuration says which sensors are dated.
        modalities: in their order.
        fuses: whether dates and regions are asked for.
    """
    ports = []
    for key in modalities:
        frames = key != "hr"
        ports.append(Port("imagery", key, frames=frames))
        if fuses and key in model.config.date_on:
            ports.append(Port("days", key, frames=frames))
    return (*ports, Port("region")) if fuses and model.geo is not None else tuple(ports)


def frames_of(graph: Graph, model: SkySense, inputs: Sequence[Tensor]) -> dict[Modality, Encoded]:
    """The frames of all modalities that a graph is given, encoded; of two dates the earlier samples first."""
    whens: tuple[When, ...] = ("before", "after") if graph.ports[0].when else ("",)
    values = [graph.given(inputs, "imagery", when) for when in whens]
    days = [graph.given(inputs, "days", when) for when in whens]
    return {
        key: encoded(
            model,
            key,
            torch.cat([one[key] for one in values]),
            torch.cat([one[key] for one in days]) if key in days[0] else None,
        )
        for key in values[0]
    }


def with_context(geo: GeoContext | None, fused_BDhw: Tensor, occupied_Bhw: Tensor, region_B: Tensor | None) -> Tensor:
    """Fused features, and what they find among the prototypes of their region beside them; see `GeoContext`."""
    if geo is None:
        return fused_BDhw
    assert region_B is not None
    slot_B = region_B.clamp(0, len(geo.prototypes) - 1)
    prototypes_BPD = geo.prototypes[slot_B]
    query_BLD = fused_BDhw.flatten(2).transpose(1, 2)
    logits_BLP = query_BLD @ prototypes_BPD.transpose(1, 2) * query_BLD.shape[2] ** -0.5
    context_BLD = logits_BLP.softmax(dim=2) @ prototypes_BPD
    known_B = (region_B == slot_B) & geo.initialised[slot_B]
    keep_B1hw = (known_B[:, None, None] & occupied_Bhw)[:, None].to(fused_BDhw.dtype)
    context_BDhw = context_BLD.transpose(1, 2).unflatten(2, fused_BDhw.shape[2:])
    return torch.cat([fused_BDhw, context_BDhw * keep_B1hw], dim=1)


def batch_of(values: dict[Modality, Tensor], days: dict[Modality, Tensor], region_B: Tensor | None) -> Batch:
    """Inputs of a graph as the package has observations: NaN is not observed, a frame without a pixel not there."""
    frames: dict[Modality, Frames] = {}
    for key, values_BTCHW in values.items():
        valid_BTHW = observed(values_BTCHW.flatten(0, 1)).unflatten(0, values_BTCHW.shape[:2])
        day_BT = days.get(key, torch.full(values_BTCHW.shape[:2], -1))
        frames[key] = Frames(values_BTCHW, day_BT, valid_BTHW.flatten(2).any(dim=2), valid_BTHW)
    size = len(next(iter(values.values())))
    region_B = torch.full((size,), -1) if region_B is None else region_B
    return Batch(frames, region_B, [str(number) for number in range(size)])
