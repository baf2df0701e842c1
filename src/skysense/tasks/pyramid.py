"""What decoders read: maps at several scales, of whichever sensors a task is given.

* The high-resolution image alone: the four stages of its encoder, at 1/8, 1/4, 1/2 cell and one cell.
* That image with Sentinel: the first three stages, and the fused feature of each cell in place of the last.
* Sentinel alone: the fused feature of each cell, once for each of four levels of the encoders, which share the fusion
  transformer (as the authors of SkySense++ adapt to series of Sentinel-2; specification 5.2).
* One Sentinel encoder without the pieces that fuse: its levels as they are, averaged over the frames.

Fused features have the geo-context beside them where the model has prototypes.

Letters: B samples, N frames, D width of a level, H W tokens of a level, h w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.errors import ConfigError
from skysense.model.assembly import FrameFeatures, Piece, SkySense, cell_grid
from skysense.model.config import STAGES
from skysense.model.vit import ViT
from skysense.observation import Batch
from skysense.sensors import MODALITIES, Modality, Sensor

LEVELS = 4


@dataclass
class Maps:
    """Maps of a batch.

    Attributes:
        levels: ``(B, D_i, H_i, W_i)``, finest first.
        occupied_Bhw: bool, cells of which anything is known.
    """

    levels: list[Tensor]
    occupied_Bhw: Tensor

    def pooled(self) -> Tensor:
        """Mean ``(B, D)`` of the coarsest level over what is known; zero where nothing is."""
        top_BDhw = self.levels[-1]
        known_B1hw = self.occupied_Bhw[:, None].to(top_BDhw.dtype)
        if known_B1hw.shape[2:] != top_BDhw.shape[2:]:
            known_B1hw = F.adaptive_avg_pool2d(known_B1hw, (top_BDhw.shape[2], top_BDhw.shape[3]))
        return (top_BDhw * known_B1hw).sum((2, 3)) / known_B1hw.sum((2, 3)).clamp_min(1e-6)

    def halves(self) -> tuple[Maps, Maps]:
        """Those of the first and of the second half of the samples: two dates of the same places."""
        earlier, later = zip(*(level.chunk(2) for level in self.levels), strict=True)
        first, second = self.occupied_Bhw.chunk(2)
        return Maps(list(earlier), first), Maps(list(later), second)


class Pyramid(nn.Module):
    """A model as the encoder of a task.

    Args:
        model: the pieces that are needed are shared with it; its encoders are told which levels to return.
        modalities: which sensors the task is given; all that the model has by default.
        levels: 4, or 1 for the coarsest alone.

    Attributes:
        channels: width of every level.
        strides: side of a token in cells, per level: 1/8 is 4 px of the high-resolution image.

    Raises:
        ConfigError: a sensor without encoder, or several sensors without the pieces that fuse them.
    """

    def __init__(self, model: SkySense, modalities: Sequence[Modality] | None = None, levels: int = LEVELS) -> None:
        super().__init__()
        wanted = model.modalities if modalities is None else modalities
        self.modalities: tuple[Modality, ...] = tuple(key for key in MODALITIES if key in wanted)
        missing = [key for key in wanted if key not in model.modalities]
        if missing or not self.modalities:
            held = ", ".join(model.modalities) or "none"
            raise ConfigError(f"the model has no encoder for {', '.join(missing) or 'nothing'}; it has {held}")
        self.fused = self.modalities != ("hr",) and can_fuse(model, self.modalities)
        if len(self.modalities) > 1 and not self.fused:
            raise ConfigError(
                f"{', '.join(self.modalities)} together need the pieces that fuse them, which this model lacks; "
                "choose one of them"
            )
        self.model = model.part(_needed(model, self.modalities) if self.fused else self.modalities)
        self.channels, self.strides = self._set_levels(levels)

    @property
    def sensors(self) -> dict[Modality, Sensor]:
        """What the encoders read."""
        return {key: self.model.sensor_of(key) for key in self.modalities}

    def forward(self, batch: Batch) -> Maps:
        """Maps of a batch.

        Raises:
            InputError: see `SkySense.forward`.
        """
        if not self.fused and self.modalities != ("hr",):
            return self._plain(batch)
        frames = self.model.encode(batch, self.modalities)
        if not self.fused:
            return _image(frames.get("hr"), batch, self.channels, self.strides)
        tops = [self._fuse(frames, batch)]
        levels: list[Tensor] = []
        if "hr" in self.modalities:
            levels = _image(frames.get("hr"), batch, self.channels[:-1], self.strides[:-1]).levels
        else:
            depth = len(self.channels) - 1
            tops = [*(self._fuse(self._at_level(frames, level), batch) for level in range(depth)), *tops]
            levels = [cells for cells, _ in tops[:-1]]
        cells_BDhw, occupied_Bhw = tops[-1]
        return Maps([*levels, cells_BDhw], occupied_Bhw)

    def _set_levels(self, levels: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Tell the encoders what to return; widths and strides of the levels."""
        model, config = self.model, self.model.config
        if "hr" in self.modalities:
            first = STAGES - levels
            model.hr.set_outputs(range(first, STAGES))
            for key in self.modalities[1:]:
                getattr(model, key).set_outputs([getattr(config, key).depth - 1])
            channels = [*config.hr.dims[first:-1], model.cells_dim if self.fused else config.hr.dims[-1]]
            return tuple(channels), tuple(2.0 ** (stage + 1 - STAGES) for stage in range(first, STAGES))
        encoders: list[ViT] = [getattr(model, key) for key in self.modalities]
        count = min([levels, *(encoder.config.depth for encoder in encoders)])
        for encoder in encoders:
            depth = encoder.config.depth
            encoder.set_outputs([depth * (level + 1) // count - 1 for level in range(count)])
        if self.fused:
            return (model.cells_dim,) * count, (1.0,) * count
        return (encoders[0].config.dim,) * count, (float(encoders[0].config.patch),) * count

    def _at_level(self, frames: dict[Modality, FrameFeatures], level: int) -> dict[Modality, FrameFeatures]:
        """Frame features taken from an earlier level of the encoders."""
        return {
            key: replace(part, values_NDhw=self.model.aligned(key, part.earlier[level], part.valid_Nhw.shape[1:]))
            for key, part in frames.items()
        }

    def _fuse(self, frames: dict[Modality, FrameFeatures], batch: Batch) -> tuple[Tensor, Tensor]:
        """Fused features with their context, and the cells that have any."""
        fused, occupied = self.model.fuse(frames, batch.size, cell_grid(batch))
        context = self.model.context(fused, occupied, batch.region_B)
        return (fused if context is None else torch.cat([fused, context], dim=1)), occupied

    def _plain(self, batch: Batch) -> Maps:
        """The levels of one Sentinel encoder, averaged over the frames of each sample."""
        (key,) = self.modalities
        height, width = cell_grid(batch)
        encoder: ViT = getattr(self.model, key)
        if key not in batch.frames or not batch.frames[key].present_BT.any():
            device = next(self.parameters()).device
            tokens = [-(-side // encoder.config.patch) for side in (height, width)]
            nothing = torch.zeros(batch.size, height, width, dtype=torch.bool, device=device)
            return Maps([torch.zeros(batch.size, dim, *tokens, device=device) for dim in self.channels], nothing)
        frames = batch.frames[key]
        sample_N, time_N = frames.present_BT.nonzero(as_tuple=True)
        valid_Nhw = frames.valid_BTHW[sample_N, time_N]
        entry = self.model.entry_s2 if key == "s2" else self.model.entry_s1
        maps = encoder(entry(frames.values_BTCHW[sample_N, time_N], valid_Nhw))
        count_B = frames.present_BT.sum(1).clamp_min(1)
        levels = [_summed(one, sample_N, batch.size) / count_B[:, None, None, None].to(one.dtype) for one in maps]
        occupied_Bhw = _summed(valid_Nhw.float(), sample_N, batch.size) > 0
        return Maps(levels, occupied_Bhw)


def _needed(model: SkySense, modalities: Sequence[Modality]) -> set[Piece]:
    """What fusing some sensors takes."""
    pieces: set[Piece] = {"fusion", *modalities}
    pieces |= {"align_s2"} if "s2" in modalities else set()
    pieces |= {"align_s1"} if "s1" in modalities else set()
    return pieces | ({"dates"} if set(modalities) & set(model.config.date_on) else set())


def can_fuse(model: SkySense, modalities: Sequence[Modality]) -> bool:
    """Whether a model has the pieces that fusing some of its sensors takes."""
    return _needed(model, modalities) <= set(model.pieces)


def _image(part: FrameFeatures | None, batch: Batch, channels: Sequence[int], strides: Sequence[float]) -> Maps:
    """Levels of the high-resolution image; zero for samples without one."""
    size = batch.size
    if part is None:
        height, width = cell_grid(batch)
        device = batch.region_B.device
        levels = [
            torch.zeros(size, dim, round(height / stride), round(width / stride), device=device)
            for dim, stride in zip(channels, strides, strict=True)
        ]
        return Maps(levels, torch.zeros(size, height, width, dtype=torch.bool, device=device))
    levels = [*part.earlier, part.values_NDhw][: len(channels)]
    if len(part.sample_N) == size:
        return Maps(levels, part.valid_Nhw)
    return Maps(
        [_summed(level, part.sample_N, size) for level in levels],
        _summed(part.valid_Nhw.float(), part.sample_N, size) > 0,
    )


def _summed(rows: Tensor, sample_N: Tensor, size: int) -> Tensor:
    """Rows of frames added up by sample."""
    return rows.new_zeros(size, *rows.shape[1:]).index_add_(0, sample_N, rows)
