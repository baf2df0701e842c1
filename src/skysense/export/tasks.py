"""Adapted models as graphs: imagery in, the answers of the task out.

Letters: B samples, K classes, D width of a level, H W pixels of the label grid, h w cells, N boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from skysense.export.frames import Encoded, fused_cells, tokens_of
from skysense.export.graphs import Graph, Outlet, Port, When, batch_of, frames_of, ports_of, with_context
from skysense.sensors import Modality
from skysense.tasks.adapted import Adapted
from skysense.tasks.decoders import SemanticChange
from skysense.tasks.heads import ChangeHead, ClassHead, MaskHead, to_grid
from skysense.tasks.pyramid import Maps, Pyramid

_MAP = ("batch", "classes", "rows", "columns")
_PIXELS = ("batch", "rows", "columns")


class TaskGraph(Graph):
    """An encoder and a head.

    Args:
        adapted: the model.
    """

    title = "task"

    def __init__(self, adapted: Adapted) -> None:
        super().__init__()
        self.encoder, self.head, self.per_cell = adapted.encoder, adapted.head, adapted.per_cell
        model, keys = adapted.encoder.model, adapted.encoder.modalities
        ports = ports_of(model, keys, fuses=adapted.encoder.fused)
        if isinstance(adapted.head, ChangeHead):
            whens: tuple[When, ...] = ("before", "after")
            dated = [Port(p.kind, p.modality, when, p.frames) for when in whens for p in ports if p.modality]
            ports = (*dated, *(port for port in ports if port.kind == "region"))
        self.ports = ports
        self.outlets = _outlets(adapted)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Probabilities, in the order of the outlets."""
        maps, grid = self.maps(inputs), self.grid(inputs)
        if isinstance(self.head, ClassHead):
            logits = self.head.logits(maps)
            return (logits.sigmoid() if self.head.multilabel else logits.softmax(dim=1),)
        if isinstance(self.head, MaskHead):
            return (to_grid(self.head.decoder(maps.levels), grid).softmax(dim=1),)
        assert isinstance(self.head, ChangeHead)
        count = inputs[0].shape[0]
        before, after = [level[:count] for level in maps.levels], [level[count:] for level in maps.levels]
        found = self.head.decoder(before, after)
        if not isinstance(found, SemanticChange):
            return (to_grid(found, grid).softmax(dim=1)[:, 1],)
        changed, first, second = (
            to_grid(one, grid).softmax(dim=1) for one in (found.change_BCHW, found.first_BKHW, found.second_BKHW)
        )
        return changed[:, 1], first, second

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As the package judges windows of one size."""
        answers = list(self.answers(inputs))
        names = [outlet.name for outlet in self.outlets]
        if isinstance(self.head, ClassHead):
            return (torch.stack([answer["classes"] for answer in answers]),)
        if isinstance(self.head, MaskHead):
            return (torch.stack([answer["mask"] for answer in answers]),)
        stacked = {name: torch.stack([answer[name] for answer in answers]) for name in names}
        return (stacked["changed"][:, 1], *(stacked[name] for name in names[1:]))

    def answers(self, inputs: Sequence[Tensor]) -> list:
        """What the head answers for each sample of a batch of the package."""
        whens: tuple[When, ...] = ("before", "after") if self.ports[0].when else ("",)
        values, days = ([self.given(inputs, kind, when) for when in whens] for kind in ("imagery", "days"))
        region = self.region(inputs)
        batch = batch_of(
            {key: torch.cat([one[key] for one in values]) for key in values[0]},
            {key: torch.cat([one[key] for one in days]) for key in days[0]},
            None if region is None else torch.cat([region] * len(whens)),
        )
        grid = self.grid(inputs)
        return list(self.head.answers(self.encoder(batch), grid, [grid] * (batch.size // len(whens))))

    def grid(self, inputs: Sequence[Tensor]) -> tuple[int, int]:
        """Height and width of the label grid."""
        first, per_cell = inputs[0], self.ports[0].per_cell
        rows, columns = (side // per_cell * self.per_cell for side in first.shape[-2:])
        return rows, columns

    def maps(self, inputs: Sequence[Tensor]) -> Maps:
        """What `Pyramid.forward` makes of the same imagery."""
        parts = frames_of(self, self.encoder.model, inputs)
        if not self.encoder.fused:
            (part,) = parts.values()
            return _image(part) if "hr" in parts else _series(part)
        region = self.region(inputs)
        if region is not None and self.ports[0].when:
            region = torch.cat([region, region])
        if "hr" in parts:
            levels = _image(parts["hr"]).levels[: len(self.encoder.channels) - 1]
            top, occupied = _fused(self.encoder, parts, -1, region)
            return Maps([*levels, top], occupied)
        tops = [_fused(self.encoder, parts, level, region) for level in range(len(self.encoder.channels))]
        return Maps([top for top, _ in tops], tops[-1][1])


def _fused(
    encoder: Pyramid, parts: dict[Modality, Encoded], level: int, region_B: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Fused features with their context from one level of the encoders, and the cells that have any."""
    tokens = [tokens_of(encoder.model, key, part, level) for key, part in parts.items()]
    fused, occupied = fused_cells(encoder.model.fusion, tokens, [part.valid_BThw for part in parts.values()])
    return with_context(encoder.model.geo, fused, occupied, region_B), occupied


def _image(part: Encoded) -> Maps:
    """Levels of the high-resolution image, zero where there is none."""
    here_B111 = part.present_BT[:, :, None, None]
    return Maps([level * here_B111.to(level.dtype) for level in part.levels], part.valid_BThw[:, 0])


def _series(part: Encoded) -> Maps:
    """Levels of one Sentinel encoder, averaged over the frames that are there."""
    here_BT = part.present_BT.to(part.levels[0].dtype)
    count_B111 = here_BT.sum(dim=1)[:, None, None, None].clamp_min(1)
    here_N111 = here_BT.flatten()[:, None, None, None]
    sums = [(level * here_N111).unflatten(0, here_BT.shape).sum(dim=1) for level in part.levels]
    levels = [one / count_B111 for one in sums]
    occupied_B1hw = part.valid_BThw.any(dim=1)[:, None].to(levels[-1].dtype)
    side = occupied_B1hw.shape[-1] // levels[-1].shape[-1]
    return Maps(levels, F.avg_pool2d(occupied_B1hw, side)[:, 0])


def _outlets(adapted: Adapted) -> tuple[Outlet, ...]:
    task = adapted.task
    if task == "multilabel":
        return (Outlet("probabilities", ("batch", "classes"), "of each class by itself"),)
    if task == "classification":
        return (Outlet("probabilities", ("batch", "classes"), "of each class; they add up to one", exclusive=True),)
    if task == "segmentation":
        return (Outlet("probabilities", _MAP, "of each class at each pixel; they add up to one", exclusive=True),)
    changed = Outlet("changed", _PIXELS, "probability that a pixel changed")
    if task == "change":
        return (changed,)
    dates = [
        Outlet(name, _MAP, f"probabilities of each class at each pixel at the {date} date", exclusive=True)
        for name, date in (("before", "first"), ("after", "second"))
    ]
    return changed, *dates
