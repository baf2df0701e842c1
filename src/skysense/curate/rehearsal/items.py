"""What the two catalogues have in common: how an item is put together, and what is done to it when it shall be wrong.

The items have the form of those that Earth Search and the Planetary Computer gave out in 2023 to 2026: recorded answers
in the tests of pystac-client and odc-stac, the stactools packages and the collections' published templates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skysense.curate.rehearsal.scenes import Grid, Scene

Json = dict[str, Any]

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOJSON = "application/geo+json"
NEW_FORM = "2024-01-01"
"""Products made from this day on are told in STAC 1.1 with ``proj:code``, older ones in 1.0 with ``proj:epsg``."""
PROVIDERS = [{"name": "ESA", "roles": ["producer"], "url": "https://earth.esa.int/web/guest/home"}]
WAVELENGTHS = {
    "B1": (0.443, 0.027), "B2": (0.49, 0.098), "B3": (0.56, 0.045), "B4": (0.665, 0.038), "B5": (0.704, 0.019),
    "B6": (0.74, 0.018), "B7": (0.783, 0.028), "B8": (0.842, 0.145), "B8A": (0.865, 0.033), "B9": (0.945, 0.026),
    "B11": (1.61, 0.143), "B12": (2.19, 0.242),
}  # fmt: skip
"""Centre and width of the bands of Sentinel-2 in micrometres, as both catalogues tell them."""


@dataclass(frozen=True)
class Catalogue:
    """How one catalogue tells scenes.

    Attributes:
        name: in the archive's URLs.
        path: of its root.
        title, description, id: of the root.
        conformance: classes it says it conforms to.
        collections: by id, without links.
        collection_of: which collection a scene is in; None if the catalogue has none of its sensor.
        item: tells a scene. Its arguments: the scene and the host's URL. Links and assets have absolute URLs.
        files: files of the scene that its item names: path on the server, and in the archive's folder.
        default_limit, largest_limit: items on a page where nothing is asked for, and at most.
        refuses_larger: whether a larger limit is an error; else it is lowered.
        cursor: name of the parameter that asks for the next page.
        says_merge: whether links to the next page say that their body is whole (``"merge": false``).
    """

    name: str
    path: str
    id: str
    title: str
    description: str
    conformance: Sequence[str]
    collections: Mapping[str, Json]
    collection_of: Callable[[Scene], str | None]
    item: Callable[[Scene, str], Json]
    files: Callable[[Scene], Mapping[str, str]]
    default_limit: int
    largest_limit: int
    refuses_larger: bool
    cursor: str
    says_merge: bool


def link(rel: str, href: str, kind: str | None = "application/json", **more: Any) -> Json:
    """One link."""
    return {"rel": rel, "href": href} | ({"type": kind} if kind else {}) | more


def projection(grid: Grid) -> Json:
    """Shape and transform of an asset."""
    return {"proj:shape": list(grid.shape), "proj:transform": grid.transform}


def code(crs: str, *, new: bool) -> Json:
    """The coordinate reference system, in the form of the projection extension 2.0 or of those before."""
    return {"proj:code": crs} if new else {"proj:epsg": int(crs.removeprefix("EPSG:"))}


def is_new(scene: Scene) -> bool:
    """Whether a scene is told in the form of STAC 1.1."""
    return scene.made >= NEW_FORM


def feature(scene: Scene, collection: str, properties: Json, assets: Json, links: list[Json], schemas: Json) -> Json:
    """An item.

    Args:
        scene: what it is about.
        collection: its id.
        properties: with ``datetime``.
        assets: by key.
        links: absolute.
        schemas: version of each STAC extension by name.
    """
    host = "https://stac-extensions.github.io"
    return {
        "type": "Feature",
        "stac_version": "1.1.0" if is_new(scene) else "1.0.0",
        "stac_extensions": [f"{host}/{name}/v{version}/schema.json" for name, version in schemas.items()],
        "id": properties.pop("id"),
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [scene.ring]},
        "bbox": scene.bbox,
        "properties": properties,
        "assets": assets,
        "links": links,
    }


def collection(name: str, title: str, licence: str, since: str, **more: Any) -> Json:
    """A collection of the whole Earth without links."""
    return {
        "type": "Collection",
        "id": name,
        "stac_version": "1.0.0",
        "title": title,
        "description": f"{title}: a rehearsal of the real collection, with scenes of this archive.",
        "license": licence,
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[since, None]]},
        },
        "stac_extensions": [],
        "providers": PROVIDERS,
        "links": [],
    } | more


def displaced(item: Json) -> Json:
    """The item with ``proj:`` fields that contradict its files: 3 km off, and the next UTM zone."""
    wrong = {**item, "properties": _moved(item["properties"])}
    return wrong | {"assets": {key: _moved(asset) for key, asset in item["assets"].items()}}


def _moved(fields: Json) -> Json:
    fields = dict(fields)
    if "proj:transform" in fields:
        told = list(fields["proj:transform"])
        fields["proj:transform"] = [*told[:2], told[2] + 3000, *told[3:]]
    if "proj:epsg" in fields:
        fields["proj:epsg"] += 1
    if "proj:code" in fields:
        fields["proj:code"] = f"EPSG:{int(fields['proj:code'].removeprefix('EPSG:')) + 1}"
    return fields
