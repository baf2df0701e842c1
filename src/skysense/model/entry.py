"""The sealed entry: stored numbers in physical units become what an encoder reads, once and only here.

Letters: N frames, C bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.sensors import Sensor


class Entry(nn.Module):
    """Convert to float and normalise with a sensor's statistics; pixels that were not observed become its mean.

    It reckons in float32 at least, whatever the type of the model: bfloat16 has no room for reflectance of some
    thousands. What it returns is of the model's type.
    """

    mean: Tensor
    std: Tensor
    like: Tensor

    def __init__(self, sensor: Sensor) -> None:
        super().__init__()
        self.sensor = sensor
        self.register_buffer("mean", torch.empty(0), persistent=False)
        self.register_buffer("std", torch.empty(0), persistent=False)
        self.register_buffer("like", torch.empty(0), persistent=False)  # has the type and place of the model
        self.place_constants(self.like)

    def place_constants(self, like: Tensor) -> None:
        """Make the statistics anew for a model whose parameters are like a tensor; see `skysense.model.loading`."""
        self.like = torch.empty(0, dtype=like.dtype, device=like.device)
        wide = torch.promote_types(like.dtype, torch.float32)
        self.mean, self.std = (
            torch.tensor(values, dtype=wide, device=like.device).view(-1, 1, 1)
            for values in (self.sensor.mean, self.sensor.std)
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Entry:
        super()._apply(fn, recurse)
        self.place_constants(self.like)
        return self

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
        return centred.div_(self.std).masked_fill_(~valid_NHW[:, None], 0.0).to(self.like.dtype)
