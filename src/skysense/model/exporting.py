"""The model as one graph of `torch.export`: any batch, any number of dates, sizes of whole multiples of 256 px."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export import export as trace
from torch.fx.experimental import _config as fx_settings

from skysense.errors import ConfigError, InputError
from skysense.geo import CELL_HR_PX, WINDOW_CELLS
from skysense.model.assembly import SkySense
from skysense.model.modes import evaluating
from skysense.model.swin import Swin
from skysense.model.vit import ViT
from skysense.sensors import MODALITIES, Modality

STEP_CELLS = 8
"""Cells by which an open size grows: 256 px of the image, 8 px of Sentinel."""
_EXAMPLE = (16, 24)  # cells; the sides differ, or they would be tied to each other
_LARGEST, _MOST = 64, 1 << 16


class Complete(nn.Module):
    """Imagery without gaps to fused features, without the packing that leaves absent frames out.

    Letters: B batch, T frames, C bands, H W pixels, D width, h w cells.
    """

    def __init__(self, model: SkySense) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: dict[Modality, Tensor], days: dict[Modality, Tensor]) -> Tensor:
        """Encode all frames and fuse them.

        Args:
            values: ``(B, T, C, H, W)`` per modality in physical units; all of it observed.
            days: ``(B, T)`` day of the year - 1 per modality, -1 for none.

        Returns:
            ``(B, D, h, w)``.
        """
        model, tokens, grid = self.model, [], (0, 0)
        for key in (key for key in MODALITIES if key in values):
            frames = values[key].flatten(0, 1)
            seen = torch.ones(frames.shape[0], *frames.shape[2:], dtype=torch.bool, device=frames.device)
            if key == "hr":
                maps = model.hr(model.entry_hr(frames, seen))[-1]
            elif key == "s2":
                maps = model.align_s2(model.s2(model.entry_s2(frames, seen))[-1])
            else:
                maps = model.align_s1(model.s1(model.entry_s1(frames, seen))[-1])
            tokens_BThwC = maps.permute(0, 2, 3, 1).unflatten(0, values[key].shape[:2])
            if key in model.config.date_on:
                tokens_BThwC = tokens_BThwC + model.dates(days[key])[:, :, None, None]
            grid = tokens_BThwC.shape[2:4]
            tokens.append(tokens_BThwC)
        tokens_BhwTC = torch.cat(tokens, dim=1).permute(0, 2, 3, 1, 4)
        fused_SD = model.fusion(tokens_BhwTC.flatten(0, 2))[:, 0]
        return fused_SD.unflatten(0, (tokens_BhwTC.shape[0], *grid)).permute(0, 3, 1, 2)


def export(
    model: SkySense, modalities: Sequence[Modality] | None = None, *, cells: tuple[int, int] | None = None
) -> ExportedProgram:
    """Trace a model for complete imagery; `torch.export.save` writes the result, and no Python of this package runs it.

    Batch and numbers of frames are open. A size that the program was not made for is refused when it runs.

    Args:
        model: with fusion; geo-context is left out.
        modalities: that the program reads; those of the model by default.
        cells: height and width of the imagery in cells of 32 image pixels or one Sentinel pixel, multiples of 4; if
            None they are open, in multiples of 8 cells (256 px of the image).

    Returns:
        A program of `Complete`: two dicts in, fused features out.

    Raises:
        InputError: pieces that the model lacks.
        ConfigError: a size that is no multiple of 4 cells.
    """
    wanted = [key for key in MODALITIES if key in (model.modalities if modalities is None else modalities)]
    needed = {"fusion", *wanted, *(f"align_{key}" for key in wanted if key != "hr")}
    needed |= {"dates"} if set(wanted) & set(model.config.date_on) else set()
    missing = sorted(needed - set(model.pieces))
    if missing or not wanted:
        what = ", ".join(missing) or "a modality"
        raise InputError(f"a program needs {what}; this model has {', '.join(model.pieces)}")
    if cells is not None and any(side < WINDOW_CELLS or side % WINDOW_CELLS for side in cells):
        raise ConfigError(f"{cells[0]} x {cells[1]} cells: both must be multiples of {WINDOW_CELLS}")
    batch = Dim("batch", min=1, max=_MOST)
    steps = [Dim(name, min=1, max=_LARGEST) for name in ("rows", "columns")]
    height, width = cells or _EXAMPLE
    values, days = {}, {}
    shapes: tuple[dict[Modality, dict[int, Any]], dict[Modality, dict[int, Any]]] = ({}, {})
    device = next(model.parameters()).device
    for number, key in enumerate(wanted):
        frames = 1 if key == "hr" else 3 + number  # all numbers differ, or they would be tied to each other
        scale, bands = (CELL_HR_PX if key == "hr" else 1), len(model.sensor_of(key).bands)
        values[key] = torch.zeros(2, frames, bands, height * scale, width * scale, device=device)
        days[key] = torch.zeros(2, frames, dtype=torch.int64, device=device)
        time = {} if key == "hr" else {1: Dim(f"frames_{key}", min=1, max=1024)}
        size = {} if cells else {axis + 3: STEP_CELLS * scale * step for axis, step in enumerate(steps)}
        shapes[0][key], shapes[1][key] = {0: batch, **time, **size}, {0: batch, **time}
    return traced(Complete(model), (values, days), shapes)


def export_encoder(encoder: Swin | ViT, *, size: tuple[int, int] | None = None) -> ExportedProgram:
    """Trace an encoder by itself: normalised images or frames ``(N, C, H, W)`` in, its maps out; N is open.

    Args:
        encoder: of the image or of Sentinel frames.
        size: height and width in pixels; if None they are open, in multiples of 256 px or 8 px.
    """
    weight = next(encoder.parameters())
    step = STEP_CELLS * (CELL_HR_PX if isinstance(encoder, Swin) else 1)
    height, width = size or tuple(side // STEP_CELLS * step for side in _EXAMPLE)
    bands = encoder.config.in_channels
    x = torch.zeros(2, bands, height, width, device=weight.device, dtype=weight.dtype)
    shape: dict[int, Any] = {0: Dim("batch", min=1, max=_MOST)}
    if size is None:
        shape |= {axis + 2: step * Dim(name, min=1, max=_LARGEST) for axis, name in enumerate(("rows", "columns"))}
    return traced(encoder, (x,), (shape,))


def traced(module: nn.Module, inputs: tuple[Any, ...], shapes: tuple[Any, ...]) -> ExportedProgram:
    """`torch.export.export` of a module in evaluation mode, without gradients.

    Args:
        module: whose mode is the same afterwards.
        inputs: an example of what goes in.
        shapes: which of its axes are open.
    """
    # open sizes are not taken for "two at least" where the example has two
    oblivious = fx_settings.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with evaluating(module), torch.no_grad(), oblivious:
        return trace(module, inputs, dynamic_shapes=shapes)
