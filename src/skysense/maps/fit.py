"""What must be known of a map before it is written: principal components, scales and offsets of stored numbers.

Learned from windows spread over the scene, always the same ones.

Letters: N sampled cells, D features, K bands that are written.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.answer import Answerer
from skysense.maps.blend import Layout
from skysense.maps.feed import prepare, read_ahead
from skysense.maps.parts import Part
from skysense.maps.source import Source

SAMPLE = 20_000
"""About how many observed cells are looked at."""
_ROOM = 1.05  # the range of the sample is widened by a fortieth at either end; what lies beyond is clipped
_STEPS = 254  # of int8 from -127 to 127
_READ_AHEAD = 2  # batches


@dataclass(frozen=True)
class Fit:
    """What was learned from a sample of cells.

    Attributes:
        mean_D: of the features.
        axes_DK: principal axes, orthonormal, by falling variance; None keeps the features as they are.
        scale_K: one step of ``int8`` in the unit of each band; None for floats.
        offset_K: what 0 of ``int8`` stands for in the unit of each band; None for floats.
        explained: share of the variance that the axes keep.
        cells: how many were looked at.
    """

    mean_D: NDArray[np.float32]
    axes_DK: NDArray[np.float32] | None
    scale_K: NDArray[np.float32] | None
    offset_K: NDArray[np.float32] | None
    explained: float
    cells: int

    def arrays(self) -> dict[str, NDArray]:
        """To be kept."""
        optional = {"axes": self.axes_DK, "scale": self.scale_K, "offset": self.offset_K}
        numbers = {"mean": self.mean_D, "explained": np.array([self.explained]), "cells": np.array([self.cells])}
        return numbers | {name: array for name, array in optional.items() if array is not None}

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray]) -> Fit:
        """The way back of `arrays`."""
        counted = float(arrays["explained"][0]), int(arrays["cells"][0])
        return cls(arrays["mean"], arrays.get("axes"), arrays.get("scale"), arrays.get("offset"), *counted)


@dataclass(frozen=True)
class Components:
    """The projection of a map, as it carries it: what is compared with the map later is projected likewise.

    Attributes:
        mean_D, axes_DK: as in `Fit`.
    """

    mean_D: NDArray[np.float32]
    axes_DK: NDArray[np.float32]

    def project(self, values_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of the model ``(N, D)`` as those of the map ``(N, K)``."""
        projected_NK: NDArray[np.float32] = np.matmul(values_ND - self.mean_D, self.axes_DK)
        return projected_NK

    def to_json(self) -> dict[str, str]:
        """Little-endian float32 in base64, a fifth of the digits."""
        return {
            name: base64.b64encode(array.astype("<f4").tobytes()).decode()
            for name, array in (("mean", self.mean_D), ("axes", self.axes_DK))
        }

    @classmethod
    def from_json(cls, values: dict[str, str]) -> Components:
        """The way back of `to_json`."""
        mean_D, axes = (np.frombuffer(base64.b64decode(values[name]), "<f4") for name in ("mean", "axes"))
        return cls(mean_D.astype(np.float32), axes.reshape(len(mean_D), -1).astype(np.float32))


def sample_cells(
    source: Source,
    layout: Layout,
    answerer: Answerer,
    score: str,
    batch_size: int,
    tell: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float32]:
    """Values ``(N, D)`` of about `SAMPLE` observed cells of windows spread over the map; the same for the same map.

    Args:
        source: to read from.
        layout: of the map.
        answerer: whose answers are sampled.
        score: which of its scores.
        batch_size: windows at once.
        tell: called with the cells so far.

    Raises:
        InputError: no window has an observed cell.
    """
    whole = Part(0, 0, Window(0, 0, layout.height, layout.width))
    found: list[NDArray[np.float32]] = []
    count = 0
    todo = [(whole, layout.shuffled())]
    ahead = read_ahead(lambda: prepare(source, todo, batch_size, answerer.regions, layout.size), _READ_AHEAD)
    with closing(ahead):
        for some in ahead:
            for window, answer in zip(some.windows, answerer(some.samples) if some.samples else [], strict=True):
                values_Dhw, observed_hw = answer.maps[score]
                # what hangs over the border is no cell of the map
                inside = slice(layout.height - window.row), slice(layout.width - window.col)
                seen_ND = values_Dhw[:, *inside][:, observed_hw[inside]].T
                found.append(seen_ND)
                count += len(seen_ND)
            tell(count)
            if count >= SAMPLE:
                break
    if not count:
        raise InputError("no cell is at least half observed", file=source.name, fix="Check its no-data")
    return np.concatenate(found)


def fit(cells_ND: NDArray[np.float32], dims: int | None, scaled: bool) -> Fit:
    """Principal components, scales and offsets of a sample.

    Args:
        cells_ND: the sample.
        dims: K, how many components are kept, 1 .. D; None for the features as they are.
        scaled: whether numbers are stored as ``int8``, see `steps`.
    """
    axes_DK: NDArray[np.float32] | None = None
    values_NK: NDArray[np.floating] = cells_ND
    if dims is None:
        mean_D, explained = cells_ND.mean(axis=0, dtype=np.float64).astype(np.float32), 1.0
    else:
        mean_D, axes_DK, explained = principal_axes(cells_ND, dims)
        values_NK = (cells_ND - mean_D) @ axes_DK
    scale_K, offset_K = steps(values_NK) if scaled else (None, None)
    return Fit(mean_D, axes_DK, scale_K, offset_K, explained, len(cells_ND))


def steps(values_NK: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and offset of each band ``(K,)`` with which the 255 numbers of ``int8`` span what a sample of it spans.

    Ends that are cut where the sum of the squared errors is least would make the steps a little finer (docs/search.md
    has what that brings), and lose the most unusual cells. So they are not cut.

    Args:
        values_NK: the sample, finite.
    """
    low_K, high_K = values_NK.min(axis=0), values_NK.max(axis=0)
    scale_K = (high_K - low_K) * _ROOM / _STEPS
    return np.where(scale_K > 0, scale_K, 1).astype(np.float32), ((low_K + high_K) / 2).astype(np.float32)


def principal_axes(
    values_ND: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Mean ``(D,)``, the first principal axes ``(D, count)`` and the share of the variance along them.

    The sign of an axis is free: its largest entry is made positive.
    """
    mean_D = values_ND.mean(axis=0, dtype=np.float64)
    centred_ND = values_ND - mean_D
    variance_D, axes_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    axes_DK = axes_DD[:, ::-1][:, :count]
    axes_DK = axes_DK * np.sign(axes_DK[np.abs(axes_DK).argmax(axis=0), range(axes_DK.shape[1])])
    total = variance_D.clip(0).sum()
    explained = variance_D[::-1][:count].clip(0).sum() / total if total > 0 else 1.0
    return mean_D.astype(np.float32), axes_DK.astype(np.float32), float(explained)
