"""Models that are quickly traced: tiny ones with a block where there could be two."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

import torch

from skysense.data.labelled.example import Task
from skysense.model.assembly import PIECES, Piece, SkySense
from skysense.model.config import preset
from skysense.sensors import Modality
from skysense.tasks.adapted import Adapted, build
from skysense.tasks.config import AdaptConfig, Decoder

TINY = preset("tiny")
SHORT = replace(
    TINY,
    hr=replace(TINY.hr, depths=(1, 1, 1, 1)),
    s2=replace(TINY.s2, depth=1),
    s1=replace(TINY.s1, depth=1),
    fusion=replace(TINY.fusion, depth=2),
)
CLASSES = ("ground", "thing", "other")


@lru_cache
def model(pieces: Collection[Piece] = PIECES, regions: tuple[int, ...] = (3, 7)) -> SkySense:
    """A model with prototypes of two regions, one of which was never learned."""
    torch.manual_seed(0)
    made = SkySense(SHORT, regions, pieces).eval()
    if made.geo is not None:
        made.geo.initialised[0] = True
    for parameter in made.parameters():  # branches that begin near nothing would hide what goes wrong in them
        if parameter.ndim > 1:
            parameter.data += 0.05 * torch.randn_like(parameter)
    made.card = {"licence": "of a test"}
    return made


def adapted(
    task: Task, modalities: Sequence[Modality], per_cell: int, decoder: Decoder | None = None, *, fuses: bool = True
) -> Adapted:
    """An adapted model that has learned nothing, but says something else of every place."""
    pieces = [piece for piece in PIECES if fuses or piece in modalities]
    config = AdaptConfig(modalities=tuple(modalities), decoder=decoder, decoder_width=16)
    torch.manual_seed(1)
    made = build(model(tuple(pieces), (3, 7) if fuses else ()), task, CLASSES, per_cell, config)
    if "detection" not in task:
        for parameter in made.head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    else:  # nothing is known yet, and nothing may be picked by noise alone
        for name, parameter in made.head.named_parameters():
            if "classes.weight" in name or "cls_score.weight" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    made.encoder.eval()
    made.head.eval()
    return made
