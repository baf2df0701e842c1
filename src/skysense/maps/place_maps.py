"""The map of one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from skysense import __version__
from skysense.errors import InputError, OutputError
from skysense.files import plain
from skysense.geo import Footprint
from skysense.maps.grid import Grid
from skysense.maps.parts import Parting
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import open_product
from skysense.maps.product.work import Work


def is_finished(path: Path, about: dict[str, Any], *, overwrite: bool = False) -> bool:
    """Whether the map of a place is there.

    Args:
        path: of the map.
        about: what decides its numbers.
        overwrite: it may be replaced where something else decided its numbers, or where it is no map; otherwise a run
            that replaces maps would begin anew whenever it is cut off.

    Raises:
        OutputError: it is there, may not be replaced, and something else decided its numbers, or it is no map.
    """
    if not path.exists():
        return False
    try:
        with open_product(path) as product:
            same = all(product.metadata.get(name) == value for name, value in plain(about).items())
    except InputError:
        same = False
    if not same and not overwrite:
        fix = "Choose another folder, or --overwrite true replaces its maps"
        raise OutputError("is of another model, other settings or other imagery", file=path, fix=fix)
    return same


def write_map(
    path: Path, footprint: Footprint, layer: Layer, values_Dhw: NDArray[np.float32], about: dict[str, Any]
) -> None:
    """Write features of a place.

    Args:
        path: ``.tif``, replaced if it is there.
        footprint: the ground it covers.
        layer: of the features.
        values_Dhw: NaN where nothing was observed.
        about: what decides its numbers; the map says it.

    Raises:
        OutputError: it could not be written.
    """
    import rasterio

    _, height, width = values_Dhw.shape
    left, bottom, right, top = footprint.bounds
    transform = Affine((right - left) / width, 0, left, 0, (bottom - top) / height, top)
    grid = Grid(rasterio.crs.CRS.from_user_input(footprint.crs), transform, height, width)
    parting = Parting(height, width, height, width)
    work = Work.begin(path, grid, [layer], parting, {"place": path.stem, **about}, overwrite=True)
    (part,) = parting.parts
    with work.open(part) as writer:
        writer.put(layer.name, 0, layer.encode(values_Dhw))
    work.finish({"software": f"skysense {__version__}", **about})
