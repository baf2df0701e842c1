"""What a Zarr map says of its place and meaning, in words that others agreed on.

Followed are the Zarr conventions ``proj:`` (version 1), ``spatial:`` (version 1) and ``multiscales`` (version 1),
https://github.com/zarr-conventions, of which GeoZarr consists, and the Climate and Forecast conventions 1.11 for grid
mappings (5.6), coordinates (4) and flags (3.5).
"""

from __future__ import annotations

from typing import Any

from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer

_SOURCE = "https://raw.githubusercontent.com/zarr-conventions/{}/refs/tags/v1/schema.json"
_TEXT = "https://github.com/zarr-conventions/{}/blob/v1/README.md"
_KNOWN = {
    "multiscales": ("multiscales", "d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
    "proj": (
        "geo-proj",
        "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "Coordinate reference system information for geospatial data",
    ),
    "spatial": ("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
}


def _conventions(*names: str) -> list[dict[str, str]]:
    found = []
    for name in names:
        repository, uuid, description = _KNOWN[name]
        found.append(
            {
                "uuid": uuid,
                "name": name if name == "multiscales" else f"{name}:",
                "schema_url": _SOURCE.format(repository),
                "spec_url": _TEXT.format(repository),
                "description": description,
            }
        )
    return found


def _proj(grid: Grid) -> dict[str, Any]:
    from pyproj import CRS

    crs = CRS.from_user_input(grid.crs)
    authority = crs.to_authority(min_confidence=100)
    return {"proj:wkt2": crs.to_wkt("WKT2_2019")} if authority is None else {"proj:code": ":".join(authority)}


def _spatial(grid: Grid) -> dict[str, Any]:
    return {"spatial:transform": list(grid.transform[:6]), "spatial:shape": [grid.height, grid.width]}


def level_attributes(grid: Grid) -> dict[str, Any]:
    """Attributes of the group of one level.

    Args:
        grid: of its pixels.
    """
    return {
        "zarr_conventions": _conventions("proj", "spatial"),
        **_proj(grid),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": list(grid.bounds),
        "spatial:registration": "pixel",
        **_spatial(grid),
    }


def multiscale_attributes(layer: Layer, grid: Grid, levels: int) -> dict[str, Any]:
    """Attributes of the group of a layer.

    Args:
        layer: of the map.
        grid: of its pixels at full resolution.
        levels: how many there are.
    """
    layout: list[dict[str, Any]] = []
    for level in range(levels):
        scale = 2.0 if level else 1.0
        one: dict[str, Any] = {"asset": str(level)}
        if level:
            one["derived_from"] = str(level - 1)
        one["transform"] = {"scale": [scale, scale], "translation": [0.0, 0.0]}
        layout.append(one | _spatial(grid.coarser(2**level)))
    return {
        "zarr_conventions": _conventions("multiscales", "proj", "spatial"),
        "multiscales": {"layout": layout, "resampling_method": "mode" if layer.kind == "classes" else "average"},
        **_proj(grid),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": list(grid.bounds),
        "spatial:registration": "pixel",
    }


def array_attributes(layer: Layer) -> dict[str, Any]:
    """Attributes of the pixels.

    CF knows one scale and one offset for an array, so it is told them only where all bands have the same;
    ``band_scales`` and ``band_offsets`` have them all.
    """
    said: dict[str, Any] = {"grid_mapping": "spatial_ref", "long_name": layer.name, "band_names": list(layer.bands)}
    if layer.dtype.kind in "iu":
        said["_FillValue"] = int(layer.nodata)
    if layer.scale is not None:
        said["band_scales"] = list(layer.scale)
        if layer.offset is not None:
            said["band_offsets"] = list(layer.offset)
        if len(set(layer.scale)) == 1 and len(set(layer.offset or (0.0,))) == 1:
            said["scale_factor"] = layer.scale[0]
            if layer.offset is not None:
                said["add_offset"] = layer.offset[0]
    if layer.classes:
        said["flag_values"] = list(range(len(layer.classes)))
        said["flag_meanings"] = " ".join("_".join(name.split()) for name in layer.classes)
    return said


def spatial_ref(grid: Grid) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Attributes of the grid mapping, and those of the coordinates by name."""
    from pyproj import CRS

    crs = CRS.from_user_input(grid.crs)
    a, b, c, d, e, f = grid.transform[:6]
    wkt = crs.to_wkt()
    said = crs.to_cf() | {"crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": f"{c!r} {a!r} {b!r} {f!r} {d!r} {e!r}"}
    axes = {str(one["axis"]).lower(): dict(one) for one in crs.cs_to_cf() if one.get("axis") in ("X", "Y")}
    return said, {"x": axes.get("x", {"axis": "X"}), "y": axes.get("y", {"axis": "Y"})}
