"""The sealed entry: stored numbers in physical units become what an encoder reads, once and only here.

Letters: N frames, C bands, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.sensors import Sensor


class Entry(nn.Module):
    """Convert to float and normalise with a sensor's statistics; pixels that were not observed become its mean."""

    mean: Tensor
    std: Tensor

    def __init__(self, sensor: Sensor) -> None:
        super().__init__()
        self.sensor = sensor
        self.register_buffer("mean", torch.tensor(sensor.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(sensor.std).view(-1, 1, 1), persistent=False)

    def forward(self, values_NCHW: Tensor, valid_NHW: Tensor) -> Tensor:
        """Normalise.

        Args:
            values_NCHW: in the sensor's unit, any dtype; whatever (NaN included) where not valid.
            valid_NHW: bool, observed pixels.

        Returns:
            float, 0 where not valid.

        Raises:
            InputError: another number of bands.
        """
        bands = self.sensor.bands
        if values_NCHW.shape[1] != len(bands):
            raise InputError(
                f"{self.sensor.name} has {len(bands)} bands ({', '.join(bands)}); got {values_NCHW.shape[1]}"
            )
        centred = values_NCHW.to(self.mean.dtype) - self.mean
        return centred.div_(self.std).masked_fill_(~valid_NHW[:, None], 0.0)
