"""What ranks agree on before a step, so that each makes the same calls whatever its own places hold.

Where parameters are sharded, each call of a block is a conversation of all ranks: a rank without a Sentinel-1 frame has
to call that encoder nevertheless if another has one. It does so for a frame of which nothing was observed, which counts
in no term.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from skysense.geo import CELL_HR_PX, Window
from skysense.observation import Batch, Frames, Sample, Series
from skysense.pretrain.batch import Drawn, ViewBatch, assemble
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.views import Look, View
from skysense.sensors import MODALITIES, Modality, Sensor
from skysense.train.ranks import Ranks

_PLAIN = Look(brightness=1, contrast=1, saturation=1, blur=0, solarise_from=None)


def even_out(
    views: ViewBatch | None, config: PretrainConfig, sensors: Mapping[Modality, Sensor], ranks: Ranks
) -> ViewBatch | None:
    """Give this rank's views, in place, blank frames of the modalities that only other ranks have.

    Args:
        views: of this rank's places; None if there is none that can be used.
        config: of the run.
        sensors: what each encoder reads.
        ranks: all of them call this.

    Returns:
        Views with frames of the same modalities on all ranks; None if no rank has a place.
    """
    if ranks.size == 1:
        return views
    batches = (None, None) if views is None else (views.globals, views.locals)
    here = [[batch is not None and key in batch.frames for key in MODALITIES] for batch in batches]
    anywhere = ranks.greatest(torch.tensor(here).to(torch.int64)).bool().tolist()
    if not any(anywhere[0]):
        return None
    if views is None:
        views = blank_views(config, sensors)
    for batch, wanted in zip((views.globals, views.locals), anywhere, strict=True):
        if batch is not None:
            _give_modalities(batch, [key for key, there in zip(MODALITIES, wanted, strict=True) if there], sensors)
    return views


def blank_views(config: PretrainConfig, sensors: Mapping[Modality, Sensor]) -> ViewBatch:
    """Views of a place of which no sensor observed anything."""
    size, local = config.views.global_cells, config.views.local_cells
    sample = Sample("", {key: _unobserved(sensor, size) for key, sensor in sensors.items()})
    windows = [Window(0, 0, size, size)] * 2 + [Window(0, 0, local, local)] * config.views.local_crops
    first = {key: np.zeros(1, np.int64) for key in sensors}
    views = [View(window, False, False, first, first, _PLAIN) for window in windows]
    return assemble([Drawn(sample, views, np.random.default_rng(0))], config.views, config.objective)


def _unobserved(sensor: Sensor, cells: int) -> Series:
    side = cells * (CELL_HR_PX if sensor.modality == "hr" else 1)
    values = np.zeros((1, len(sensor.bands), side, side), np.float32)
    return Series(sensor, values, np.array(["NaT"], "datetime64[D]"), np.zeros((1, side, side), bool))


def _give_modalities(batch: Batch, wanted: list[Modality], sensors: Mapping[Modality, Sensor]) -> None:
    """Let a batch have just these modalities; of those it lacks the first sample gets a blank frame."""
    key, some = next(iter(batch.frames.items()))
    cells = some.values_BTCHW.shape[-1] // (CELL_HR_PX if key == "hr" else 1)
    for key in MODALITIES:
        if key not in wanted:
            batch.frames.pop(key, None)
        elif key not in batch.frames:
            blank = _unobserved(sensors[key], cells)
            present = torch.zeros(batch.size, 1, dtype=torch.bool)
            present[0] = True
            batch.frames[key] = Frames(
                torch.from_numpy(blank.values).repeat(batch.size, 1, 1, 1, 1),
                torch.full((batch.size, 1), -1),
                present,
                torch.from_numpy(blank.valid).repeat(batch.size, 1, 1, 1),
            )
