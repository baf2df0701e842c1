"""Answers windows with the fused features of SkySense, one vector per cell.

Letters: B windows, D features of the model, K bands that are written, h w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.errors import ConfigError
from skysense.maps.answer import Regions, Rows, Scores, WindowAnswer
from skysense.maps.device import on_device
from skysense.maps.fit import Fit
from skysense.maps.product.layer import Layer
from skysense.model.assembly import SkySense
from skysense.observation import Sample, collate

Precision = Literal["float32", "float16", "int8"]
FEATURES = "features"
"""Name of the score and of the layer."""


@dataclass(frozen=True)
class FeatureRecipe:
    """Features of a model, in any process.

    Attributes:
        model: the model on its device, or its file, which every process then loads by itself.
        device: where a file is loaded to.
        precision: of what is written.
        fit: projection, scales and offsets, if there are any.
    """

    model: SkySense | Path
    device: str = "cpu"
    precision: Precision = "float32"
    fit: Fit | None = None

    def build(self) -> FeatureAnswerer:
        """Load the model if it is a file.

        Raises:
            InputError: no such file, or it is none of ours.
        """
        from skysense.model.loading import load

        model = self.model if isinstance(self.model, SkySense) else load(self.model, device=self.device)
        return FeatureAnswerer(model, self.precision, self.fit)


class FeatureAnswerer:
    """One feature vector per cell, cut to its principal components if a fit says so.

    A projection is linear and blending a weighted mean, so it makes no difference which comes first; here it is the
    projection, on the device of the model, since the rest then has less to carry.
    """

    def __init__(
        self, model: SkySense, precision: Precision = "float32", fit: Fit | None = None, *, dims: int | None = None
    ) -> None:
        """An answerer; before its fit is known, ``dims`` says how many components there will be.

        Raises:
            ConfigError: more components than features.
        """
        if dims is not None and not 1 <= dims <= model.cells_dim:
            raise ConfigError(
                f"{dims} dimensions: it must lie within 1 .. {model.cells_dim}, the features of the model"
            )
        self.model = model
        self._device = next(model.parameters()).device
        self._projection: tuple[Tensor, Tensor] | None = None
        scale, offset = None, None
        if fit is not None and fit.axes_DK is not None:
            dims = fit.axes_DK.shape[1]
            mean_D, axes_DK = (torch.from_numpy(one).to(self._device) for one in (fit.mean_D, fit.axes_DK))
            self._projection = mean_D[:, None, None], axes_DK
        if fit is not None and fit.scale_K is not None:
            scale = tuple(fit.scale_K.tolist())
        if fit is not None and fit.offset_K is not None:
            offset = tuple(fit.offset_K.tolist())
        names = band_names(model) if dims is None else [f"component {at}" for at in range(dims)]
        self._layer = Layer(FEATURES, "features", tuple(names), precision, scale=scale, offset=offset)
        self._regions = regions_of(model)

    @property
    def device(self) -> torch.device:
        """That of the model."""
        return self._device

    @property
    def scores(self) -> Scores:
        """One score per band and cell."""
        return {FEATURES: (len(self._layer.bands), 1)}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The features."""
        return (self._layer,)

    @property
    def regions(self) -> Regions | None:
        """Those of the model."""
        return self._regions

    def __call__(self, samples: Sequence[Sample]) -> list[WindowAnswer]:
        """One forward for all windows."""
        with torch.inference_mode():
            features = self.model(on_device(collate(samples), self._device))
            cells_BKhw = features.cells_BDhw.float()
            if self._projection is not None:
                mean_D11, axes_DK = self._projection
                cells_BKhw = torch.einsum("bdhw,dk->bkhw", cells_BKhw - mean_D11, axes_DK)
            values, observed = cells_BKhw.cpu().numpy(), features.occupied_Bhw.cpu().numpy()
        return [WindowAnswer({FEATURES: one}) for one in zip(values, observed, strict=True)]

    def encode(self, blended: Rows) -> dict[str, NDArray]:
        """In the number type of the layer."""
        return {FEATURES: self._layer.encode(blended[FEATURES])}


def band_names(model: SkySense) -> list[str]:
    """What the features are called: ``fused 0 ...``, then ``context 0 ...`` if the model has regions."""
    width = model.config.fusion.dim
    parts = ("fused", "context")[: model.cells_dim // width]
    return [f"{part} {at}" for part in parts for at in range(width)]


def regions_of(model: SkySense) -> Regions | None:
    """The regions whose prototypes a model owns, if it has any."""
    if model.geo is None:
        return None
    return Regions(model.region_table, tuple(model.geo.initialised.cpu().tolist()))
