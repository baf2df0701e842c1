"""What a map says of itself: one JSON object, the same in both formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from affine import Affine

from skysense.errors import InputError
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer

FORMAT, VERSION = "skysense map", 2  # 2: numbers may have an offset
FIX = "Give a map that skysense embed or skysense map wrote"
"""What to do about a file that is no map."""


def grid_to_json(grid: Grid) -> dict[str, Any]:
    """Plain values."""
    return {
        "crs": grid.crs.to_wkt() if hasattr(grid.crs, "to_wkt") else str(grid.crs),
        "transform": list(grid.transform[:6]),
        "height": grid.height,
        "width": grid.width,
    }


def grid_from_json(values: dict[str, Any]) -> Grid:
    """The way back of `grid_to_json`.

    Raises:
        KeyError, TypeError, ValueError: values that are none.
    """
    from rasterio.crs import CRS

    return Grid(
        CRS.from_user_input(values["crs"]),
        Affine(*values["transform"]),
        int(values["height"]),
        int(values["width"]),
    )


def parse(said: Any, file: Path) -> tuple[Grid, dict[str, Any]]:
    """The grid and the whole of what a map says of itself.

    Args:
        said: JSON text, or the object.
        file: it was found in.

    Raises:
        InputError: it is not that of a map, or that of a newer release.
    """
    try:
        metadata = json.loads(said) if isinstance(said, str) else said
        if metadata["format"] != FORMAT:
            raise ValueError(f"format is {metadata['format']}")
        if metadata["version"] > VERSION:
            raise InputError("was written by a newer release of skysense", file=file, fix="Update skysense")
        return grid_from_json(metadata["grid"]), metadata
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"is no map of skysense: its metadata are damaged ({error})", file=file, fix=FIX) from error


def parse_layer(said: Any, file: Path) -> Layer:
    """A layer of a map.

    Raises:
        InputError: it is none.
    """
    try:
        return Layer.from_json(said)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"is no map of skysense: its metadata are damaged ({error})", file=file, fix=FIX) from error
