"""Frozen features of places: one vector per place, one per cell.

Letters: N places, D feature width, h w cells of the lattice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.data.places import Places
from skysense.errors import InputError
from skysense.geo import RegionTable
from skysense.model.assembly import Features, SkySense
from skysense.model.modes import evaluating
from skysense.observation import Sample, collate
from skysense.probes.prepare import prepare
from skysense.sensors import Modality

Progress = Callable[[int, int], None]
"""Called with the number of places done and of all places."""


@dataclass(frozen=True)
class FrozenFeatures:
    """What a method says about places; nothing of it was learned from their labels.

    Attributes:
        names: N place names.
        pooled_ND: float32, mean over the occupied cells; zero for a place without any.
        cells_Dhw: per place, ``(D', h, w)`` float32, zero where not occupied; empty if cells were not asked for.
        occupied_hw: per place, ``(h, w)`` bool, as ``cells_Dhw``.
        fused: number of leading channels that do not depend on the region (D_f); all of them without prototypes.
    """

    names: tuple[str, ...]
    pooled_ND: NDArray[np.float32]
    cells_Dhw: tuple[NDArray[np.float32], ...]
    occupied_hw: tuple[NDArray[np.bool_], ...]
    fused: int

    def without_context(self) -> FrozenFeatures:
        """The fused features alone."""
        return self.channels(0, self.fused)

    def channels(self, first: int, last: int) -> FrozenFeatures:
        """The channels ``first .. last`` (excluded) alone."""
        cells = tuple(cells[first:last] for cells in self.cells_Dhw)
        fused = max(0, min(self.fused, last) - first)
        return replace(self, pooled_ND=self.pooled_ND[:, first:last], cells_Dhw=cells, fused=fused)

    def append(self, extra_NE: NDArray[np.floating]) -> FrozenFeatures:
        """The same with ``extra_NE (N, E)`` appended to every place and, constant over it, to its cells."""
        extra = extra_NE.astype(np.float32)
        cells = tuple(
            np.concatenate([cells, np.broadcast_to(more[:, None, None], (len(more), *cells.shape[1:]))])
            for cells, more in zip(self.cells_Dhw, extra, strict=False)
        )
        return replace(self, pooled_ND=np.concatenate([self.pooled_ND, extra], axis=1), cells_Dhw=cells)


def extract(
    model: SkySense,
    places: Places | Sequence[Sample],
    *,
    modalities: Sequence[Modality] | None = None,
    batch_size: int = 8,
    frames: Mapping[Modality, int] | None = None,
    clear_only: bool = False,
    cells: bool = True,
    regions: Mapping[str, int] | None = None,
    read: Callable[[Features], Tensor] | None = None,
    progress: Progress | None = None,
) -> FrozenFeatures:
    """Run a frozen model over places.

    The mode of every part of the model (training or not) is restored. A place of another size than the one before
    starts a new batch.

    Args:
        model: on any device.
        places: a folder of places, or samples.
        modalities: which sensors to use; all that are there by default.
        batch_size: places per forward pass.
        frames: most frames per modality, evenly spread in time.
        clear_only: use cloud-free pixels only, where that is known.
        cells: whether to keep the features of every cell; a place of 16 x 16 cells of width 192 takes 196 kB.
        regions: slot in the model's region table per place name, where it shall not be that of the place's position.
        read: what is taken of each cell, ``(B, D, h, w)``; the fused feature, with its context, by default. Fused
            features come first in what it returns.
        progress: called after each batch.

    Raises:
        InputError: a place that cannot be read, or none at all.
    """
    table = model.region_table
    device = next(model.parameters()).device
    sensors = {key: model.sensor_of(key) for key in model.modalities}
    pooled: list[NDArray[np.float32]] = []
    maps: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    names: list[str] = []
    fused = model.config.fusion.dim
    for batch in _batches(each_sample(places, modalities), batch_size):
        ready = [
            _place(prepare(sample.read_as(sensors), frames, clear_only=clear_only), table, regions) for sample in batch
        ]
        with evaluating(model), torch.inference_mode():
            features = model(collate(ready).to(device))
            cells_BDhw = (features.cells_BDhw if read is None else read(features)).float().cpu().numpy()
            occupied_Bhw = features.occupied_Bhw.cpu().numpy()
        pooled.extend(masked_mean(one, mask) for one, mask in zip(cells_BDhw, occupied_Bhw, strict=True))
        names.extend(sample.name for sample in ready)
        if cells:
            maps.extend(cells_BDhw)
            masks.extend(occupied_Bhw)
        if progress is not None:
            progress(len(names), len(places))
    if not names:
        raise InputError("there is no place to take features of")
    return FrozenFeatures(tuple(names), np.stack(pooled), tuple(maps), tuple(masks), fused)


def masked_mean(cells_Dhw: NDArray[np.floating], occupied_hw: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean ``(D,)`` over the occupied cells; zero if there are none."""
    if not occupied_hw.any():
        return np.zeros(len(cells_Dhw), np.float32)
    return cells_Dhw[:, occupied_hw].mean(axis=1, dtype=np.float64).astype(np.float32)


def each_sample(places: Places | Sequence[Sample], modalities: Sequence[Modality] | None = None) -> Iterator[Sample]:
    """Samples of a folder of places, read one at a time, or those given; with some of their sensors."""
    if isinstance(places, Places):
        for place in places:
            yield places.read_sample(place, modalities)
    else:
        for sample in places:
            yield sample if modalities is None else sample.only(modalities)


def _batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    waiting: list[Sample] = []
    for sample in samples:
        if waiting and (len(waiting) == size or sample.grid != waiting[0].grid):
            yield waiting
            waiting = []
        waiting.append(sample)
    if waiting:
        yield waiting


def _place(sample: Sample, table: RegionTable, regions: Mapping[str, int] | None) -> Sample:
    """Give a sample its slot in the model's own table, which need not be that of the folder it was read from."""
    if regions is not None and sample.name in regions:
        return replace(sample, region=regions[sample.name])
    return replace(sample, region=table.slot(sample.lon, sample.lat))
