"""Objects of a map as polygons: GeoPackage in the CRS of the map, or GeoJSON in WGS 84 (RFC 7946).

Letters: N objects, P numbers of a box (4 or 5).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import OutputError, need
from skysense.files import atomic_path
from skysense.maps.grid import Grid

SUFFIXES = (".gpkg", ".geojson")
LAYER = "detections"
"""Name of the only layer of a file."""
_DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON"}
_RING = np.dtype(
    [("order", "u1"), ("kind", "<u4"), ("rings", "<u4"), ("points", "<u4"), ("xy", "<f8", (5, 2))]
)  # a polygon of four corners as well-known binary (OGC 06-103r4, 8.2)


@dataclass(frozen=True)
class Objects:
    """What was found on the ground, best first.

    Attributes:
        corners_N42: float64 x, y of four corners in order round the box, in map units.
        label_N: int64 class.
        scores_N: float32, 0 .. 1.
    """

    corners_N42: NDArray[np.float64]
    label_N: NDArray[np.int64]
    scores_N: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label_N)


def on_the_ground(
    boxes_NP: NDArray[np.float64], label_N: NDArray[np.int64], scores_N: NDArray[np.float32], pixels: Grid
) -> Objects:
    """Boxes of a map in its map units, with the rotation of its grid.

    Args:
        boxes_NP: x1, y1, x2, y2, or cx, cy, w, h and the angle in radians, in pixels of the map.
        label_N: class of each.
        scores_N: of each.
        pixels: grid of these pixels.
    """
    corners_N42 = corners_of(boxes_NP)
    x_N4, y_N4 = pixels.at(corners_N42[..., 0], corners_N42[..., 1])
    return Objects(np.stack([x_N4, y_N4], axis=-1), label_N, scores_N)


def write_vectors(
    path: Path, objects: Objects, classes: Sequence[str], crs: Any, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write objects as polygons, atomically; no objects make an empty file that is a valid one.

    Every polygon says its ``class``, its ``score``, and of its ground on the ellipsoid ``width_m``, the longer side,
    ``height_m``, the shorter one, and ``angle``, the direction of the longer side in degrees clockwise from true north,
    0 .. 180.

    Args:
        path: ``.gpkg`` or ``.geojson``.
        objects: in map units.
        classes: names by class index.
        crs: of the map, as rasterio gives it.
        metadata: how they came about; kept in a GeoPackage (GeoJSON has no place for it).

    Raises:
        OutputError: another suffix, no space, no permission.
        MissingExtra: pyogrio is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError("objects are polygons", file=path, fix="Call it .gpkg or .geojson")
    raw = need("pyogrio.raw", "detect")
    from pyogrio.errors import DataSourceError, FeatureError, GeometryError

    fields = {"class": np.array(classes, object)[objects.label_N], "score": objects.scores_N} | _sides(objects, crs)
    options: dict[str, Any] = {"layer": LAYER}
    if suffix == ".gpkg":
        options["layer_metadata"] = {"SKYSENSE": json.dumps(metadata or {}, ensure_ascii=False)}
    else:  # brought to WGS 84, with seven decimals (1 cm), turned anticlockwise and cut at the antimeridian
        options |= {"RFC7946": "YES"}
    with atomic_path(path) as temporary:
        try:
            raw.write(
                temporary,
                geometry=_well_known_binary(objects.corners_N42),
                field_data=list(fields.values()),
                fields=np.array(list(fields), object),
                geometry_type="Polygon",
                crs=crs.to_wkt(),
                driver=_DRIVERS[suffix],
                **options,
            )
        except (DataSourceError, FeatureError, GeometryError) as error:
            raise OSError(str(error)) from error


def corners_of(boxes_NP: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners ``(N, 4, 2)`` of boxes, clockwise as seen on the screen, the first two along the width."""
    if boxes_NP.shape[1] == 4:
        x1, y1, x2, y2 = boxes_NP.T
        return np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1).reshape(-1, 4, 2)
    from torch import from_numpy

    from skysense.tasks.rotated.boxes import corners

    return corners(from_numpy(boxes_NP)).numpy()


def _sides(objects: Objects, crs: Any) -> dict[str, NDArray]:
    """Direction and sides on the ellipsoid, whatever the units and the distortion of the CRS."""
    from pyproj import Geod, Transformer

    to_degrees = Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True)
    lon_N4, lat_N4 = to_degrees.transform(objects.corners_N42[..., 0], objects.corners_N42[..., 1])
    geod = Geod(ellps="WGS84")
    along, _, width = geod.inv(lon_N4[:, 0], lat_N4[:, 0], lon_N4[:, 1], lat_N4[:, 1])
    across, _, height = geod.inv(lon_N4[:, 1], lat_N4[:, 1], lon_N4[:, 2], lat_N4[:, 2])
    angle = np.where(width >= height, along, across) % 180
    return {"angle": angle, "width_m": np.maximum(width, height), "height_m": np.minimum(width, height)}


def _well_known_binary(corners_N42: NDArray[np.float64]) -> NDArray[np.object_]:
    ring_N = np.zeros(len(corners_N42), _RING)
    ring_N["order"], ring_N["kind"], ring_N["rings"], ring_N["points"] = 1, 3, 1, 5
    ring_N["xy"][:, :4], ring_N["xy"][:, 4] = corners_N42, corners_N42[:, 0]
    made = np.empty(len(ring_N), object)
    made[:] = [one.tobytes() for one in ring_N]
    return made
