"""A graph as a program with open axes, and inputs for it that are made up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from skysense.export.graphs import Graph, Port
from skysense.model.assembly import SkySense
from skysense.model.exporting import STEP_CELLS, traced
from skysense.observation import DAYS

_EXAMPLE = (16, 24)  # cells; the sides differ, or they would be tied to each other
_LARGEST, _MOST, _FRAMES = 64, 1 << 16, 1024


def program_of(graph: Graph, model: SkySense) -> ExportedProgram:
    """Trace a graph: batch, numbers of frames and sizes are open.

    Args:
        graph: of the model.
        model: whose sensors it reads.
    """
    rows, columns = (STEP_CELLS * Dim(name, min=1, max=_LARGEST) for name in ("rows", "columns"))
    batch = Dim("batch", min=1, max=_MOST)
    frames = {key: Dim(f"frames_{key}", min=1, max=_FRAMES) for key in ("s2", "s1")}
    shapes = []
    for port in graph.ports:
        shape: dict[int, Any] = {} if graph.one else {0: batch}
        if port.frames and port.modality is not None:
            shape[1] = frames[port.modality]
        if port.kind == "imagery":
            last = len(port.axes)
            shape |= {last - 2: port.per_cell * rows, last - 1: port.per_cell * columns}
        shapes.append(shape)
    example = made_up(graph, model, batch=1 if graph.one else 2, cells=_EXAMPLE, frames=3, seed=0)
    return traced(graph, example, (tuple(shapes),))


def made_up(
    graph: Graph, model: SkySense, *, batch: int, cells: tuple[int, int], frames: int, seed: int
) -> tuple[Tensor, ...]:
    """Inputs within what the sensors measure, smooth and noisy, with gaps, a frame that is missing and a missing date.

    Args:
        graph: of the model.
        model: whose sensors it reads.
        batch: samples.
        cells: height and width.
        frames: of Sentinel-2; of Sentinel-1 one more.
        seed: of all numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = []
    for port in graph.ports:
        count = frames + (port.modality == "s1")
        shape = (batch, count) if port.frames else (batch,)
        if port.kind == "imagery":
            inputs.append(_imagery(port, model, shape, cells, generator))
        elif port.kind == "days":
            days = torch.randint(-1, DAYS, shape, generator=generator)
            inputs.append(days)
        else:
            inputs.append(_regions(model, batch))
    return tuple(inputs)


def _regions(model: SkySense, batch: int) -> Tensor:
    """Slots of regions ``(B,)``: one that was learned, none, then the others."""
    assert model.geo is not None
    slots = model.geo.initialised.int().argsort(descending=True, stable=True).cpu()
    return torch.cat([slots[:1], torch.tensor([-1]), slots[1:]]).repeat(batch)[:batch]


def _imagery(
    port: Port, model: SkySense, shape: tuple[int, ...], cells: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Pixels of one sensor ``(*shape, C, H, W)``."""
    assert port.modality is not None
    sensor = model.sensor_of(port.modality)
    height, width = (side * port.per_cell for side in cells)
    count = shape[0] if len(shape) == 1 else shape[0] * shape[1]
    bands = len(sensor.bands)
    coarse = torch.randn(count, bands, cells[0] // 4, cells[1] // 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    noise = torch.randn(count, bands, height, width, generator=generator)
    mean, std = (torch.tensor(values)[:, None, None] for values in (sensor.mean, sensor.std))
    values = (mean + std * (smooth + 0.3 * noise)).clamp(*sensor.plausible)
    values[0, :, : height // 4, : width // 4] = torch.nan  # a corner that was not observed
    half = port.per_cell // 2  # of the cells beside it one band lacks a half, which counts, or more, which does not
    values[0, 0, : height // 4 + half, : width // 4] = torch.nan
    values[0, 0, : height // 4, : width // 4 + half + half // 8] = torch.nan
    if len(shape) == 2 and shape[1] > 1:
        values[-1] = torch.nan  # a frame that is not there
    return values.unflatten(0, shape)
