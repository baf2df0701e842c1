"""Sheets of places: what three sensors see, what features look like, which places are alike."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from skysense.data.labelled.draw import DARKEST, false_colour, stretch_colours
from skysense.data.places import Place, Places
from skysense.model.assembly import SkySense
from skysense.observation import Series
from skysense.probes.features import FrozenFeatures
from skysense.report import pca_colours, picture_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 4
NEIGHBOURS = 3
_WORDS = 24  # characters of a line beside a row


def prototype_use(model: SkySense, places: Places, features: FrozenFeatures) -> NDArray[np.int64]:
    """How many cells each prototype is the nearest to (by cosine), the regions of the places side by side.

    Args:
        model: with prototypes.
        places: in any of its regions.
        features: of these places, cell by cell.

    Returns:
        Counts of every prototype of the regions that the places lie in and that the model has learned.
    """
    assert model.geo is not None
    regions, count, _ = model.geo.prototypes.shape
    table, learned = model.region_table, model.geo.initialised.tolist()
    directions = torch.nn.functional.normalize(model.geo.prototypes.float(), dim=-1).cpu().numpy()
    use_RP = np.zeros((regions, count), np.int64)
    for place, cells, mask in zip(places, features.cells_Dhw, features.occupied_hw, strict=True):
        slot = table.slot(place.lon, place.lat)
        if slot is not None and learned[slot] and mask.any():
            nearest = (directions[slot] @ cells[: features.fused][:, mask]).argmax(axis=0)
            use_RP[slot] += np.bincount(nearest, minlength=count)
    return use_RP[use_RP.any(axis=1)].ravel()


def neighbour_sheet(places: Places, features: FrozenFeatures) -> Figure:
    """Image, colours of the features, and the places with the most similar pooled feature (cosine), row by row.

    Args:
        places: with high-resolution images.
        features: of these places, cell by cell.

    Raises:
        InputError: an image that cannot be read.
    """
    fused = features.without_context()
    pooled = fused.pooled_ND - fused.pooled_ND.mean(axis=0)
    pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
    cosine = pooled @ pooled.T
    np.fill_diagonal(cosine, -np.inf)
    colours = pca_colours(fused.cells_Dhw, fused.occupied_hw)
    count = min(NEIGHBOURS, len(places) - 1)
    rows, names = [], []
    for index in _spread(range(len(places))):
        near = np.argsort(-cosine[index])[:count].tolist()
        rows.append([_image(places, index), colours[index], *(_image(places, one) for one in near)])
        names.append(_words(places[index]))
    return picture_sheet(rows, ["image", "features", *[f"neighbour {n + 1}" for n in range(count)]], names)


def sensor_sheet(places: Places, features: FrozenFeatures) -> Figure:
    """Image, Sentinel-2 at its greenest and least green, Sentinel-1 over all dates, features, row by row.

    Places with a series are shown before those with a single date.

    Args:
        places: with all three sensors.
        features: of these places, cell by cell.

    Raises:
        InputError: imagery that cannot be read.
    """
    fused = features.without_context()
    colours = pca_colours(fused.cells_Dhw, fused.occupied_hw)
    dated = [index for index, place in enumerate(places) if len(places.read_dates(place, "s2")) > 1]
    rows, names = [], []
    for index in _spread(dated or range(len(places))):
        series = places.read_sample(places[index], ["s2", "s1"]).series
        rows.append([_image(places, index), *_optical(series["s2"]), _radar(series["s1"]), colours[index]])
        names.append(_words(places[index]))
    titles = ["image", "Sentinel-2, greenest", "least green", "Sentinel-1", "features"]
    return picture_sheet(rows, titles, names)


def _spread(indices: Sequence[int]) -> list[int]:
    at = np.linspace(0, len(indices) - 1, min(ROWS, len(indices))).round().astype(int)
    return [indices[one] for one in at]


def _words(place: Place) -> str:
    """What is known about a place: its scene, or its classes, or its name."""
    value = place.labels.get("scene") or next(iter(place.labels.values()), place.name)
    return fill(value if isinstance(value, str) else ", ".join(value), _WORDS)


def _optical(s2: Series) -> list[NDArray[np.uint8]]:
    """Red, green and blue on the cloud-free days with the highest and the lowest vegetation index, each stretched."""
    clear = s2.valid.all((1, 2)) if s2.clear is None else (s2.valid & s2.clear).all((1, 2))
    frames = np.flatnonzero(clear) if clear.any() else np.arange(len(s2.dates))
    values = s2.values[frames].astype(np.float32)
    red, infrared = values[:, 2], values[:, 6]
    green = ((infrared - red) / (infrared + red + 1)).mean((1, 2))
    chosen = [values[frame, 2::-1] for frame in (green.argmax(), green.argmin())]
    return [stretch_colours(one, 0, max(float(np.percentile(one, 98)), DARKEST)) for one in chosen]


def _radar(s1: Series) -> NDArray[np.uint8]:
    """VV, VH and their difference, averaged over the dates; black where nothing was observed."""
    unseen = np.broadcast_to(~s1.valid[:, None], s1.values.shape)
    vv, vh = np.ma.masked_array(s1.values, unseen).mean(axis=0).filled(-99)
    return false_colour(vv, vh)


def _image(places: Places, index: int) -> NDArray[np.uint8]:
    """The high-resolution image at half its resolution."""
    values = places.read_sample(places[index], ["hr"]).series["hr"].values[0]
    return np.ascontiguousarray(values[:, ::2, ::2].transpose(1, 2, 0))
