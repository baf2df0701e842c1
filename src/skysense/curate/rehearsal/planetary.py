"""Scenes as the Microsoft Planetary Computer tells them: Sentinel-2 L2A, Sentinel-1 RTC, NAIP.

Pixels of Sentinel-2 are the agency's: from baseline 04.00 on they carry the offset, and no field but the baseline says
so. Files lie in a blob store that asks for a signed token.
"""

from __future__ import annotations

from datetime import datetime, timedelta

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
from skysense.curate.rehearsal.scenes import Scene, instant

PATH = "/planetary/api/stac/v1"
STORE = "/blob"
S2, S1, NAIP = "sentinel-2-l2a", "sentinel-1-rtc", "naip"
CONTAINERS = {
    S2: ("sentinel2l2a01", "sentinel2-l2"),
    S1: ("sentinel1euwestrtc", "sentinel1-grd-rtc"),
    NAIP: ("naipeuwest", "naip"),
}
"""Storage account and container of each collection."""
TITLES = {
    "B2": "Band 2 - Blue", "B3": "Band 3 - Green", "B4": "Band 4 - Red", "B5": "Band 5 - Vegetation red edge 1",
    "B6": "Band 6 - Vegetation red edge 2", "B7": "Band 7 - Vegetation red edge 3", "B8": "Band 8 - NIR",
    "B8A": "Band 8A - Vegetation red edge 4", "B11": "Band 11 - SWIR (1.6)", "B12": "Band 12 - SWIR (2.2)",
}  # fmt: skip
COMMON = {
    "B2": "blue", "B3": "green", "B4": "red", "B5": "rededge", "B6": "rededge", "B7": "rededge", "B8": "nir",
    "B8A": "rededge", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
KEYS = {"B2": "B02", "B3": "B03", "B4": "B04", "B5": "B05", "B6": "B06", "B7": "B07", "B8": "B08"}
"""Asset key of a band where it is another than ours."""
POLARISATIONS = {"V": "vertical", "H": "horizontal"}
API = "https://api.stacspec.org/v1.0.0"
FEATURES = "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf"
CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"
CONFORMANCE = (
    f"{FEATURES}/oas30", "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter", f"{API}/item-search#fields",
    f"{FEATURES}/core", f"{FEATURES}/geojson", f"{CQL2}/cql2-json", f"{API}/ogcapi-features", f"{CQL2}/basic-cql2",
    f"{API}/item-search#query", f"{API}/collections", "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    f"{API}/item-search", f"{API}/core", f"{API}/item-search#sort",
)  # fmt: skip


def _collection_of(scene: Scene) -> str:
    return {"s2": S2, "s1": S1, "naip": NAIP}[scene.sensor]


def _stem(scene: Scene) -> str:
    return f"{STORE}/{'/'.join(CONTAINERS[_collection_of(scene)])}"


def _stamp(when: datetime) -> str:
    return f"{when:%Y%m%dT%H%M%S}"


def _product(scene: Scene, *, version: bool) -> str:
    """Name of a Sentinel-2 product; the item's id leaves the baseline out."""
    baseline = f"_N{scene.baseline.replace('.', '')}" if version else ""
    start, made = _stamp(instant(scene.start)), _stamp(instant(scene.made))
    return f"{scene.satellite}_MSIL2A_{start}{baseline}_R{scene.relative_orbit:03d}_T{scene.tile}_{made}"


def _rtc(scene: Scene) -> str:
    """Name of a Sentinel-1 product without its checksum."""
    when = instant(scene.start)
    kind = "DV" if "VH" in scene.layers else "SV"
    take = f"{scene.absolute_orbit * 11 % 0xFFFFFF:06X}"
    end = _stamp(when + timedelta(seconds=25))
    return f"{scene.satellite}_IW_GRDH_1S{kind}_{_stamp(when)}_{end}_{scene.absolute_orbit:06d}_{take}"


def _path(scene: Scene, band: str) -> str:
    """Path of a band's file on the server."""
    when = instant(scene.start)
    if scene.sensor == "naip":
        state, quad = scene.name.split("_")[0], scene.name.split("_")[2]
        file = scene.name.split("_", 1)[1]
        flight = f"{state}_{scene.name.split('_')[5]}cm_{when.year}"
        return f"{_stem(scene)}/v002/{state}/{when.year}/{flight}/{quad[:5]}/{file}.tif"
    if scene.sensor == "s1":
        kind = "DV" if "VH" in scene.layers else "SV"
        day = f"{when.year}/{when.month}/{when.day}"
        return f"{_stem(scene)}/GRD/{day}/IW/{kind}/{_rtc(scene)}_0000/measurement/iw-{band.lower()}.rtc.tiff"
    zone, letter, square = scene.tile[:2], scene.tile[2], scene.tile[3:]
    size = int(scene.layers[band].grid.size)
    granule = f"GRANULE/L2A_T{scene.tile}_A{scene.absolute_orbit:06d}_{_stamp(when)}"
    return (
        f"{_stem(scene)}/{zone}/{letter}/{square}/{when:%Y/%m/%d}/{_product(scene, version=True)}.SAFE/{granule}"
        f"/IMG_DATA/R{size}m/T{scene.tile}_{_stamp(when)}_{KEYS.get(band, band)}_{size}m.tif"
    )


def _files(scene: Scene) -> dict[str, str]:
    return {_path(scene, band): layer.file for band, layer in scene.layers.items()}


def _sentinel2(scene: Scene, host: str) -> tuple[Json, Json, Json]:
    """Properties, assets and extensions."""
    assets: Json = {}
    for band, layer in scene.layers.items():
        key, size = KEYS.get(band, band), layer.grid.size
        told: Json = {"href": f"{host}{_path(scene, band)}", "type": COG}
        if band == "SCL":
            told["title"] = "Scene classfication map (SCL)"  # so spelt there
        else:
            centre, width = WAVELENGTHS[band]
            told |= {
                "title": f"{TITLES[band]} - {int(size)}m",
                "eo:bands": [
                    {
                        "name": key, "common_name": COMMON[band], "description": TITLES[band],
                        "center_wavelength": centre, "full_width_half_max": width,
                    }
                ],
            }  # fmt: skip
        box = {"proj:bbox": list(layer.grid.bounds)}
        assets[key] = told | {"gsd": size} | box | projection(layer.grid) | {"roles": ["data"]}
    start, made = instant(scene.start), instant(scene.made)
    shares = {f"s2:{name}_percentage": share for name, share in scene.shares.items() if name != "cloud_cover"}
    properties = {
        "id": _product(scene, version=False),
        "datetime": scene.start.replace("Z", "000Z"),
        "platform": f"Sentinel-{scene.satellite[1:]}",
        **code(next(iter(scene.layers.values())).grid.crs, new=is_new(scene)),
        "instruments": ["msi"],
        "s2:mgrs_tile": scene.tile,
        "constellation": "Sentinel 2",
        "eo:cloud_cover": scene.shares["cloud_cover"],
        "s2:datatake_id": f"G{scene.satellite}_{_stamp(start)}_{scene.absolute_orbit:06d}_N{scene.baseline}",
        "s2:product_uri": f"{_product(scene, version=True)}.SAFE",
        "s2:product_type": "S2MSI2A",
        "sat:orbit_state": scene.orbit_state,
        "s2:datatake_type": "INS-NOBS",
        "s2:generation_time": f"{made:%Y-%m-%dT%H:%M:%S}.000000Z",
        "sat:relative_orbit": scene.relative_orbit,
        "s2:mean_solar_zenith": 90 - scene.sun[1],
        "s2:mean_solar_azimuth": scene.sun[0],
        "s2:processing_baseline": scene.baseline,
        **shares,
    }
    return properties, assets, {"eo": "1.1.0" if is_new(scene) else "1.0.0", "sat": "1.0.0"}


def _sentinel1(scene: Scene, host: str) -> tuple[Json, Json, Json]:
    assets: Json = {}
    for band in sorted(scene.layers):
        sent, received = (POLARISATIONS[letter] for letter in band)
        assets[band.lower()] = {
            "href": f"{host}{_path(scene, band)}",
            "type": COG,
            "title": f"{band}: {sent} transmit, {received} receive",
            "description": f"Terrain-corrected gamma naught, sent {sent} and received {received}.",
            "roles": ["data"],
            "raster:bands": [{"nodata": -32768, "data_type": "float32", "spatial_resolution": 10}],
        }
    grid = scene.layers["VV"].grid
    when = instant(scene.start)
    end, middle = (f"{when + timedelta(seconds=s):%Y-%m-%dT%H:%M:%S.%f}Z" for s in (25, 12.5))
    properties = {
        "id": f"{_rtc(scene)}_rtc",
        "datetime": middle,
        "start_datetime": f"{when:%Y-%m-%dT%H:%M:%S.%f}Z",
        "end_datetime": end,
        "platform": f"SENTINEL-{scene.satellite[1:]}",
        "constellation": "Sentinel-1",
        **code(grid.crs, new=is_new(scene)),
        "proj:bbox": list(grid.bounds),
        **projection(grid),
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:observation_direction": "right",
        "sar:polarizations": [band for band in ("VV", "VH") if band in scene.layers],
        "sar:product_type": "GRD",
        "sar:resolution_range": 20,
        "sar:resolution_azimuth": 22,
        "sar:pixel_spacing_range": 10,
        "sar:pixel_spacing_azimuth": 10,
        "sar:looks_range": 5,
        "sar:looks_azimuth": 1,
        "sar:looks_equivalent_number": 4.4,
        "sat:platform_international_designator": "2014-016A",
        "sat:orbit_state": scene.orbit_state,
        "sat:absolute_orbit": scene.absolute_orbit,
        "sat:relative_orbit": scene.relative_orbit,
        "s1:instrument_configuration_ID": "7",
        "s1:datatake_id": str(scene.absolute_orbit * 11 % 0xFFFFFF),
        "s1:product_timeliness": "Fast-24h",
        "s1:processing_level": "1",
        "s1:resolution": "high",
        "s1:orbit_source": "RESORB",
        "s1:slice_number": "3",
        "s1:total_slices": "14",
        "s1:shape": list(reversed(grid.shape)),
    }
    return properties, assets, {"sar": "1.0.0", "sat": "1.0.0", "file": "2.1.0", "raster": "1.1.0"}


def _naip(scene: Scene, host: str) -> tuple[Json, Json, Json]:
    layer = scene.layers["RGBN"]
    names = (("Red", "red"), ("Green", "green"), ("Blue", "blue"), ("NIR", "nir"))
    bands: list[Json] = [{"name": name, "common_name": common} for name, common in names]
    bands[3]["description"] = "near-infrared"
    image = {
        "href": f"{host}{_path(scene, 'RGBN')}", "type": COG, "roles": ["data"], "title": "RGBIR COG tile",
        "eo:bands": bands,
    }  # fmt: skip
    when = instant(scene.start)
    properties = {
        "id": scene.name,
        "gsd": layer.grid.size,
        "datetime": f"{when:%Y-%m-%dT%H:%M:%SZ}",
        "naip:year": str(when.year),
        "naip:state": scene.name.split("_")[0],
        "proj:bbox": list(layer.grid.bounds),
        **code(layer.grid.crs, new=is_new(scene)),
        "proj:shape": list(layer.grid.shape),
        "proj:transform": [*layer.grid.transform, 0.0, 0.0, 1.0],
        "providers": [{"name": "USDA Farm Service Agency", "roles": ["producer", "licensor"]}],
    }
    return properties, {"image": image}, {"eo": "1.0.0"}


def _item(scene: Scene, host: str) -> Json:
    tell = {"s2": _sentinel2, "s1": _sentinel1, "naip": _naip}[scene.sensor]
    properties, assets, schemas = tell(scene, host)
    schemas["projection"] = "2.0.0" if is_new(scene) else "1.0.0"
    name, root, about = properties["id"], f"{host}{PATH}", _collection_of(scene)
    here = f"{root}/collections/{about}"
    query = f"collection={about}&item={name}"
    data = f"{host}/planetary/api/data/v1/item"
    links = [
        link("collection", here),
        link("parent", here),
        link("root", f"{root}/"),
        link("self", f"{here}/items/{name}", GEOJSON),
        link("preview", f"{data}/map?{query}", "text/html", title="Map of item"),
    ]
    assets["tilejson"] = {
        "title": "TileJSON with default rendering", "href": f"{data}/tilejson.json?{query}",
        "type": "application/json", "roles": ["tiles"],
    }  # fmt: skip
    assets["rendered_preview"] = {
        "title": "Rendered preview", "rel": "preview", "href": f"{data}/preview.png?{query}", "roles": ["overview"],
        "type": "image/png",
    }  # fmt: skip
    return feature(scene, about, properties, assets, links, schemas)


def _told(name: str, title: str, licence: str, since: str) -> Json:
    account, container = CONTAINERS[name]
    return collection(name, title, licence, since, **{"msft:storage_account": account, "msft:container": container})


PLANETARY = Catalogue(
    name="planetary",
    path=PATH,
    id="microsoft-pc",
    title="Microsoft Planetary Computer STAC API",
    description="Searchable spatiotemporal metadata describing Earth science datasets",
    conformance=CONFORMANCE,
    collections={
        S2: _told(S2, "Sentinel-2 Level-2A", "proprietary", "2015-06-27T10:25:31Z"),
        S1: _told(S1, "Sentinel 1 Radiometrically Terrain Corrected (RTC)", "CC-BY-4.0", "2014-10-10T00:28:21Z"),
        NAIP: _told(NAIP, "NAIP: National Agriculture Imagery Program", "proprietary", "2010-01-01T00:00:00Z"),
    },
    collection_of=_collection_of,
    item=_item,
    files=_files,
    default_limit=250,
    largest_limit=1000,
    refuses_larger=True,
    cursor="token",
    says_merge=False,
)
