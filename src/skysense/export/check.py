"""ONNX Runtime against the package, on inputs that are made up: as close as rounding allows, or no file.

Features and probabilities are compared number by number; the difference is the greatest one as a share of the greatest
number of the output. Detections are compared box by box; rounding may turn the choice between two boxes that are as
good as each other, so one in a hundred may have no partner.

Letters: N detections of one, M of the other, P numbers of a box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skysense.errors import SkySenseError
from skysense.export.graphs import Graph
from skysense.export.program import made_up
from skysense.model.assembly import SkySense

TOLERANCE = 1e-4
"""Greatest difference, as a share of the greatest number."""
_ALONE = 0.01
"""Share of detections that may have no partner."""
_PARTNER = 0.01
"""Greatest difference of two detections that are the same."""
_CELLS, _BATCH, _FRAMES, _SEED = (8, 16), 3, 2, 1
"""Others than those of the trace."""


class Differs(SkySenseError):
    """A file that does not say what the model says."""


@dataclass(frozen=True)
class Outcome:
    """How close a file is to its model.

    Attributes:
        difference: greatest, as a share of the greatest number of the output; of boxes see `box_difference`.
        inputs: shapes by name.
        found: what ONNX Runtime answers.
        wanted: what the package answers.
        boxes: of a detector, how many boxes the package finds; None for other answers.
    """

    difference: float
    inputs: dict[str, tuple[int, ...]]
    found: tuple[Tensor, ...]
    wanted: tuple[Tensor, ...]
    boxes: int | None = None


def check(path: Path, graph: Graph, model: SkySense) -> Outcome:
    """Run a file on another batch, size and number of dates than those of the trace.

    Args:
        path: of `write_graph`.
        graph: that was written.
        model: of the graph.

    Raises:
        Differs: by more than `TOLERANCE`.
    """
    inputs = inputs_of_check(graph, model)
    with torch.inference_mode():
        wanted = graph.expected(*inputs)
        found = graph.finished(run(path, graph, inputs))
        difference = max(differences(graph, found, wanted, inputs))
    if not difference <= TOLERANCE:
        raise Differs(
            f"{path.name}: ONNX Runtime differs from PyTorch by {difference:.1e} of the greatest number, more than "
            f"{TOLERANCE:g}; nothing was kept. Another version of torch, onnxscript or onnxruntime may help"
        )
    shapes = {port.name: tuple(one.shape) for port, one in zip(graph.ports, inputs, strict=True)}
    return Outcome(difference, shapes, found, wanted, len(wanted[0]) if graph.finds_boxes else None)


def inputs_of_check(graph: Graph, model: SkySense) -> tuple[Tensor, ...]:
    """The inputs that a file is checked on."""
    return made_up(graph, model, batch=1 if graph.one else _BATCH, cells=_CELLS, frames=_FRAMES, seed=_SEED)


def run(path: Path, graph: Graph, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What ONNX Runtime answers on a CPU."""
    session = session_of(path)
    named = {port.name: one.numpy() for port, one in zip(graph.ports, inputs, strict=True)}
    return tuple(torch.from_numpy(one) for one in session.run(None, named))


def session_of(path: Path) -> Any:
    """ONNX Runtime with a file, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def differences(
    graph: Graph, found: Sequence[Tensor], wanted: Sequence[Tensor], inputs: Sequence[Tensor]
) -> list[float]:
    """The difference of every output; infinite where shapes differ."""
    if graph.finds_boxes:
        return [box_difference(found, wanted, max(graph.grid(inputs)))]
    return [_difference(one, other) for one, other in zip(found, wanted, strict=True)]


def _difference(found: Tensor, wanted: Tensor) -> float:
    if found.shape != wanted.shape:
        return math.inf
    found, wanted = found.double(), wanted.double()
    if not bool((found.isfinite() & wanted.isfinite()).all()):
        return math.inf
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))


def box_difference(found: Sequence[Tensor], wanted: Sequence[Tensor], side: int) -> float:
    """How far detections lie from their partners, as a share of the side of the image or of a score of one.

    Args:
        found: boxes ``(N, P)``, scores and labels ``(N,)``.
        wanted: boxes ``(M, P)``, scores and labels ``(M,)``.
        side: the longer of the image, pixels.

    Returns:
        The greatest; infinite if too many have no partner, or the numbers differ by more than that.
    """
    fewer, more = sorted((len(found[1]), len(wanted[1])))
    if more == 0:
        return 0.0
    if fewer == 0 or more - fewer > 2 * _ALONE * more:
        return math.inf
    far_NM = torch.maximum(
        _apart(found[0].double(), wanted[0].double(), side), (found[1][:, None] - wanted[1]).abs().double()
    )
    far_NM[found[2][:, None] != wanted[2]] = math.inf
    nearest = torch.cat([far_NM.amin(dim=0), far_NM.amin(dim=1)])
    partners = nearest <= _PARTNER
    if float((~partners).double().mean()) > _ALONE:
        return math.inf
    return float(nearest[partners].max())


def _apart(a_NP: Tensor, b_MP: Tensor, side: int) -> Tensor:
    """How far two sets of boxes are from each other ``(N, M)``, in sides of the image."""
    if a_NP.shape[1] == 4:
        return (a_NP[:, None] - b_MP).abs().amax(dim=2) / side
    # a box is the same one after a half turn, and with its sides changed after a quarter
    turned_M5 = torch.stack([*b_MP[:, :2].T, b_MP[:, 3], b_MP[:, 2], b_MP[:, 4] + math.pi / 2], dim=1)
    both = [_apart_oriented(a_NP, one) for one in (b_MP, turned_M5)]
    return torch.minimum(*both) / side


def _apart_oriented(a_N5: Tensor, b_M5: Tensor) -> Tensor:
    moved_NM = (a_N5[:, None, :4] - b_M5[:, :4]).abs().amax(dim=2)
    turn_NM = (a_N5[:, None, 4] - b_M5[:, 4]).remainder(math.pi)
    turn_NM = torch.minimum(turn_NM, math.pi - turn_NM) * a_N5[:, None, 2:4].amax(dim=2) / 2
    return torch.maximum(moved_NM, turn_NM)
