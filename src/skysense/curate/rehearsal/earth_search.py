"""Scenes as Earth Search v1 (Element 84, on the AWS registry of open data) tells them: Sentinel-2 L2A.

Its pixels of processing baseline 04.00 and later have the offset taken out, and say so in
``earthsearch:boa_offset_applied``; ``raster:bands`` names the offset all the same. Its Sentinel-1 is GRD in the
geometry of the radar and its NAIP costs the reader money, so neither is here.
"""

from __future__ import annotations

from collections.abc import Mapping

from skysense.curate.rehearsal.items import (
    COG,
    GEOJSON,
    WAVELENGTHS,
    Catalogue,
    Json,
    code,
    collection,
    feature,
    is_new,
    link,
    projection,
)
from skysense.curate.rehearsal.scenes import Grid, Layer, Scene, instant

PATH = "/earth-search/v1"
BUCKET = "/sentinel-cogs"
COLLECTION = "sentinel-2-l2a"
KEYS = {
    "B2": "blue", "B3": "green", "B4": "red", "B5": "rededge1", "B6": "rededge2", "B7": "rededge3", "B8": "nir",
    "B8A": "nir08", "B11": "swir16", "B12": "swir22", "SCL": "scl",
}  # fmt: skip
"""Asset key of each band."""
TITLES = {
    "B2": "Blue (band 2)", "B3": "Green (band 3)", "B4": "Red (band 4)", "B5": "Red edge 1 (band 5)",
    "B6": "Red edge 2 (band 6)", "B7": "Red edge 3 (band 7)", "B8": "NIR 1 (band 8)", "B8A": "NIR 2 (band 8A)",
    "B11": "SWIR 1 (band 11)", "B12": "SWIR 2 (band 12)",
}  # fmt: skip
FILES = {"B2": "B02", "B3": "B03", "B4": "B04", "B5": "B05", "B6": "B06", "B7": "B07", "B8": "B08"}
API = "https://api.stacspec.org/v1.0.0"
OGC = "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf"
CONFORMANCE = (
    f"{API}/core", f"{API}/collections", f"{API}/ogcapi-features", f"{API}/item-search",
    f"{API}/ogcapi-features#fields", f"{API}/ogcapi-features#sort", f"{API}/ogcapi-features#query",
    f"{API}/item-search#fields", f"{API}/item-search#sort", f"{API}/item-search#query",
    "https://api.stacspec.org/v0.3.0/aggregation", f"{OGC}/core", f"{OGC}/oas30", f"{OGC}/geojson",
)  # fmt: skip


def _tile(scene: Scene) -> tuple[str, str, str]:
    """UTM zone, latitude band and square."""
    return scene.tile[:2].lstrip("0"), scene.tile[2], scene.tile[3:]


def _id(scene: Scene) -> str:
    return f"{scene.satellite}_{scene.tile.lstrip('0')}_{instant(scene.start):%Y%m%d}_{scene.sequence}_L2A"


def _folder(scene: Scene) -> str:
    zone, band, square = _tile(scene)
    when = instant(scene.start)
    return f"sentinel-s2-l2a-cogs/{zone}/{band}/{square}/{when.year}/{when.month}/{_id(scene)}"


def _layers(scene: Scene) -> Mapping[str, Layer]:
    return scene.harmonised or scene.layers


def _files(scene: Scene) -> dict[str, str]:
    return {
        f"{BUCKET}/{_folder(scene)}/{FILES.get(band, band)}.tif": layer.file for band, layer in _layers(scene).items()
    }


def _raster(layer: Layer, scene: Scene, band: str) -> list[Json]:
    told: Json = {"nodata": 0, "data_type": layer.dtype, "spatial_resolution": int(layer.grid.size)}
    if band != "SCL":
        told |= {"bits_per_sample": 15, "scale": 0.0001, "offset": -0.1 if scene.has_offset else 0}
    return [told]


def _asset(scene: Scene, band: str, layer: Layer, href: str, kind: str) -> Json:
    told: Json = {"href": href, "type": kind}
    if band == "SCL":
        told |= {"title": "Scene classification map (SCL)", "roles": ["data", "reflectance"]}
    else:
        centre, width = WAVELENGTHS[band]
        name = KEYS[band]
        told |= {
            "title": f"{TITLES[band]} - {int(layer.grid.size)}m",
            "eo:bands": [
                {
                    "name": name, "common_name": name.rstrip("123") if name.startswith("rededge") else name,
                    "description": TITLES[band], "center_wavelength": centre, "full_width_half_max": width,
                }
            ],
            "gsd": int(layer.grid.size),
            "roles": ["data", "reflectance"],
        }  # fmt: skip
    return told | projection(layer.grid) | {"raster:bands": _raster(layer, scene, band)}


def _assets(scene: Scene, host: str) -> Json:
    """The bands as COG, then the same as JPEG 2000 in a bucket that lets the reader pay; and what is only named."""
    zone, band_letter, square = _tile(scene)
    when = instant(scene.start)
    folder = f"{host}{BUCKET}/{_folder(scene)}"
    paid = f"s3://sentinel-s2-l2a/tiles/{zone}/{band_letter}/{square}/{when.year}/{when.month}/{when.day}/0"
    cogs, jp2s = {}, {}
    for band, layer in _layers(scene).items():
        file = FILES.get(band, band)
        cogs[KEYS[band]] = _asset(scene, band, layer, f"{folder}/{file}.tif", COG)
        jp2s[f"{KEYS[band]}-jp2"] = _asset(
            scene, band, layer, f"{paid}/R{layer.grid.size:.0f}m/{file}.jp2", "image/jp2"
        )
    visual = {
        "href": f"{folder}/TCI.tif", "type": COG, "title": "True color image", "roles": ["visual"],
        **projection(next(iter(_layers(scene).values())).grid),
    }  # fmt: skip
    thumbnail = {
        "href": f"{folder}/thumbnail.jpg", "type": "image/jpeg", "title": "Thumbnail image", "roles": ["thumbnail"],
    }  # fmt: skip
    metadata = {"href": f"{folder}/granule_metadata.xml", "type": "application/xml", "roles": ["metadata"]}
    return cogs | {"visual": visual, "thumbnail": thumbnail, "granule_metadata": metadata} | jp2s


def _properties(scene: Scene, grid: Grid) -> Json:
    zone, band, square = _tile(scene)
    start, made = instant(scene.start), instant(scene.made)
    version, stamp = scene.baseline.replace(".", ""), f"{made:%Y%m%dT%H%M%S}"
    short = scene.satellite[1:]
    product = (
        f"{scene.satellite}_MSIL2A_{start:%Y%m%dT%H%M%S}_N{version}_R{scene.relative_orbit:03d}_T{scene.tile}_{stamp}"
    )
    return {
        "id": _id(scene),
        "created": scene.made,
        "platform": f"sentinel-{short.lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": scene.shares["cloud_cover"],
        **code(grid.crs, new=is_new(scene)),
        "mgrs:utm_zone": int(zone),
        "mgrs:latitude_band": band,
        "mgrs:grid_square": square,
        "grid:code": f"MGRS-{zone}{band}{square}",
        "view:sun_azimuth": scene.sun[0],
        "view:sun_elevation": scene.sun[1],
        **{f"s2:{name}_percentage": share for name, share in scene.shares.items() if name != "cloud_cover"},
        "s2:degraded_msi_data_percentage": 0,
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": scene.baseline,
        "s2:product_uri": f"{product}.SAFE",
        "s2:generation_time": f"{made:%Y-%m-%dT%H:%M:%S}.000000Z",
        "s2:datatake_id": f"G{scene.satellite}_{start:%Y%m%dT%H%M%S}_{scene.absolute_orbit:06d}_N{scene.baseline}",
        "s2:datatake_type": "INS-NOBS",
        "s2:granule_id": f"{scene.satellite}_OPER_MSI_L2A_TL_2{short}PS_{stamp}_A{scene.absolute_orbit:06d}"
        f"_T{scene.tile}_N{scene.baseline}",
        "datetime": scene.seen.replace("Z", "000Z"),
        "s2:sequence": str(scene.sequence),
        "earthsearch:s3_path": f"s3://sentinel-cogs/{_folder(scene)}",
        "earthsearch:payload_id": f"roda-sentinel2/workflow-sentinel2-to-stac/{scene.name}",
        "earthsearch:boa_offset_applied": bool(scene.harmonised),
        "processing:software": {"sentinel2-to-stac": "0.1.0"},
        "updated": scene.made,
    }


def _item(scene: Scene, host: str) -> Json:
    grid = next(iter(_layers(scene).values())).grid
    properties = _properties(scene, grid)
    name, root = properties["id"], f"{host}{PATH}"
    here = f"{root}/collections/{COLLECTION}"
    links = [
        link("self", f"{here}/items/{name}", GEOJSON),
        link("canonical", f"s3://sentinel-cogs/{_folder(scene)}/{name}.json"),
        link("license", "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice", None),
        link("parent", here),
        link("collection", here),
        link("root", root),
        link("thumbnail", f"{here}/items/{name}/thumbnail", None),
    ]
    schemas = {
        "eo": "1.1.0", "grid": "1.0.0", "mgrs": "1.0.0", "processing": "1.1.0",
        "projection": "2.0.0" if is_new(scene) else "1.1.0", "raster": "1.1.0", "view": "1.0.0",
    }  # fmt: skip
    return feature(scene, COLLECTION, properties, _assets(scene, host), links, schemas)


EARTH_SEARCH = Catalogue(
    name="earth-search",
    path=PATH,
    id="earth-search-aws",
    title="Earth Search by Element 84",
    description="A STAC API of public datasets on AWS",
    conformance=CONFORMANCE,
    collections={COLLECTION: collection(COLLECTION, "Sentinel-2 Level-2A", "proprietary", "2015-06-27T10:25:31Z")},
    collection_of=lambda scene: COLLECTION if scene.sensor == "s2" else None,
    item=_item,
    files=_files,
    default_limit=10,
    largest_limit=10_000,
    refuses_larger=False,
    cursor="next",
    says_merge=True,
)
