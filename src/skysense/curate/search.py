"""From a place and a span of time to the images an archive has of it.

Items are checked as they come: what cannot be used is left out with a reason, so that the accounts of a run tell what
an archive lacks. Items of an API, of a file of items and of a folder of files go the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from affine import Affine

from skysense.curate.acquisition import Acquisition, Asset
from skysense.curate.catalogue import BandSource, Catalogue, Collection, OffsetWord
from skysense.curate.cog import web_address
from skysense.curate.faults import Gone, Unavailable
from skysense.curate.grid import Bounds, PlaceGrid
from skysense.curate.http import Session, public
from skysense.curate.listing import items_of_file, items_of_rasters
from skysense.errors import InputError, need
from skysense.sensors import Modality

PAGE = 100
"""Items to a page: a year of Sentinel-2 over a place is one page, and no archive refuses so many."""


@dataclass(frozen=True)
class Found:
    """What an archive has.

    Attributes:
        acquisitions: in the order of time, then of name.
        dropped: names of items that cannot be used, and why, in the order of names.
    """

    acquisitions: list[Acquisition] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)


def search(
    catalogue: Catalogue,
    modality: Modality,
    grid: PlaceGrid,
    start: datetime,
    end: datetime,
    *,
    most_cloud: float = 20,
    session: Session,
) -> Found:
    """Images of a place.

    Args:
        catalogue: of the archive.
        modality: what kind of images.
        grid: of the place; images that touch it are found.
        start: UTC, the first instant.
        end: UTC, the first instant after the span: years that follow each other share no image.
        most_cloud: percent of a whole image; of collections that have a number for it.
        session: connections to archives.

    Raises:
        ConfigError: the catalogue offers no such images.
        InputError: the archive refuses the question, or a file of items cannot be read.
        Unavailable, BudgetSpent: see `Session.read_range`.
    """
    found: dict[tuple[str, str], Acquisition] = {}
    dropped: dict[str, str] = {}
    for collection in catalogue.of(modality):
        for item in _items(catalogue, collection, grid, start, end, most_cloud, session):
            name = _name(item)
            try:
                acquisition = acquisition_of(item, collection, catalogue)
            except Unusable as reason:
                dropped[name] = str(reason)
                continue
            cloud = acquisition.cloud_cover
            if start <= acquisition.time < end and (cloud is None or cloud <= most_cloud):
                found[collection.id, name] = acquisition
    return Found(sorted(found.values(), key=lambda one: (one.time, one.item)), sorted(dropped.items()))


def acquisition_of(item: Any, collection: Collection, catalogue: Catalogue) -> Acquisition:
    """An item of STAC in our words.

    Raises:
        Unusable: it lacks what is needed, contradicts itself, or is malformed.
    """
    try:
        return _acquisition(item, collection, catalogue)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise Unusable(f"is malformed ({error})") from error


def _acquisition(item: Any, collection: Collection, catalogue: Catalogue) -> Acquisition:
    if not isinstance(item, Mapping):
        raise Unusable("is no item")
    _extent(item)  # raises
    properties = item.get("properties") or {}
    for name, value in collection.only.items():
        if properties.get(name) != value:
            raise Unusable(f"{name} is {properties.get(name)}, not {value}")
    cloud = properties.get(collection.cloud_cover) if collection.cloud_cover else None
    orbit = properties.get("sat:relative_orbit")
    baseline = properties.get(collection.baseline) if collection.baseline else None
    platform, state = properties.get("platform"), properties.get("sat:orbit_state")
    return Acquisition(
        modality=collection.modality,
        item=str(item["id"]),
        collection=collection.id,
        catalogue=catalogue.name,
        time=_time(properties),
        assets=_assets(item, collection, catalogue),
        unit=collection.unit,
        platform=None if platform is None else str(platform).lower(),
        orbit_state=None if state is None else str(state).lower(),
        relative_orbit=None if orbit is None else int(orbit),
        baseline=None if baseline is None else str(baseline),
        offset_applied=_offset_applied(properties, collection.offset_applied),
        cloud_cover=None if cloud is None else float(cloud),
    )


class Unusable(Exception):
    """Why an item is left out."""


def _name(item: Any) -> str:
    return str(item.get("id")) if isinstance(item, Mapping) else repr(item)[:60]


def _items(
    catalogue: Catalogue,
    collection: Collection,
    grid: PlaceGrid,
    start: datetime,
    end: datetime,
    most_cloud: float,
    session: Session,
) -> Iterator[Any]:
    boxes = _boxes(grid.bbox)
    if catalogue.url is not None:
        yield from _asked(catalogue, collection, boxes, start, end, most_cloud, session)
        return
    if catalogue.items is not None:
        items = items_of_file(catalogue.items)
    else:
        assert catalogue.files is not None and catalogue.taken is not None
        items = items_of_rasters(catalogue.files, catalogue.taken)
    for item in items:
        if _is_asked_for(item, collection, boxes):
            yield item


def _is_asked_for(item: Any, collection: Collection, boxes: list[Bounds]) -> bool:
    """Whether an item is of a collection and touches a place; one that does not say where it is has a look taken."""
    if not isinstance(item, Mapping):
        return True
    if (item.get("collection") or collection.id) != collection.id:
        return False
    try:
        return any(_touch(box, there) for box in boxes for there in _extent(item))
    except Unusable:
        return True


def _asked(
    catalogue: Catalogue,
    collection: Collection,
    boxes: list[Bounds],
    start: datetime,
    end: datetime,
    most_cloud: float,
    session: Session,
) -> Iterator[Any]:
    """Items of an API, page by page; one that comes twice is one."""
    wanted: dict[str, Any] = {name: {"eq": value} for name, value in collection.only.items()}
    if collection.cloud_cover:
        wanted[collection.cloud_cover] = {"lte": most_cloud}
    pages = need("pystac_client", "curate").ItemSearch(
        url=f"{catalogue.url}/search",
        stac_io=_stac_io(session),
        collections=[collection.id],
        intersects={"type": "MultiPolygon", "coordinates": [[_ring(box)] for box in boxes]},
        datetime=[start, end],
        query=wanted if catalogue.query and wanted else None,
        limit=PAGE,
    )
    seen: set[str] = set()
    try:
        for page in pages.pages_as_dicts():
            new = [item for item in page["features"] if _name(item) not in seen]
            if not new:
                return  # an archive that sends the same page for ever
            seen.update(map(_name, new))
            yield from new
    except Gone as refusal:
        raise InputError(
            f"the catalogue {catalogue.name!r} refuses the search for {collection.id}: {refusal}",
            fix="Check 'url' and the 'id' of the collection; if the API has no Query extension, say 'query: false'",
        ) from refusal
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        what = "answered a search with a link to the next page that leads nowhere"
        raise Unavailable(f"{public(catalogue.url or '')}: {what}. Finished work stays; go on another day") from error


def _stac_io(session: Session) -> Any:
    """What pystac-client asks through: our session, so that its requests are retried and counted as all others are."""
    base: Any = need("pystac_client.stac_api_io", "curate").StacApiIO

    class SessionIO(base):
        """Documents of a catalogue, by a `Session`."""

        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:
            return session.read_text(
                href, method=method or "GET", headers=headers, document=parameters or None, accept=_is_page
            )

    return SessionIO(max_retries=None)


def _is_page(text: str) -> bool:
    """Whether an answer is a page of items. Without this look, an archive in trouble would pass for one of nothing."""
    try:
        page = json.loads(text)
    except ValueError:
        return False
    return isinstance(page, dict) and isinstance(page.get("features"), list)


def _boxes(box: Bounds) -> list[Bounds]:
    """A box, or its two halves on either side of the antimeridian."""
    west, south, east, north = box
    return [box] if west <= east else [(west, south, 180.0, north), (-180.0, south, east, north)]


def _ring(box: Bounds) -> list[list[float]]:
    west, south, east, north = box
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def _touch(one: Bounds, other: Bounds) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _extent(item: Mapping[str, Any]) -> list[Bounds]:
    """Boxes that an item lies in; everywhere, if it does not say: its files do.

    Raises:
        Unusable: it says something impossible.
    """
    box = item.get("bbox")
    if box is None:
        return [(-180.0, -90.0, 180.0, 90.0)]
    try:
        half = {4: 2, 6: 3}[len(box)]
        return _boxes((float(box[0]), float(box[1]), float(box[half]), float(box[half + 1])))
    except (LookupError, TypeError, ValueError) as error:
        raise Unusable(f"has an impossible bbox {box!r}") from error


def _time(properties: Mapping[str, Any]) -> datetime:
    """When an image was taken. An item may give a span instead of an instant: its beginning, if it is short."""
    first, last = properties.get("start_datetime"), properties.get("end_datetime")
    stamp = properties.get("datetime")
    try:
        if stamp is not None:
            return _utc(stamp)
        if first is None or last is None:
            raise Unusable("has no date")
        if _utc(last) - _utc(first) > timedelta(days=1):
            raise Unusable("spans more than a day")
        return _utc(first)
    except (ValueError, TypeError) as error:
        raise Unusable(f"has a date that is none: {stamp or first!r}") from error


def _utc(stamp: str) -> datetime:
    time = datetime.fromisoformat(stamp)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _offset_applied(properties: Mapping[str, Any], rule: bool | OffsetWord | None) -> bool | None:
    if not isinstance(rule, OffsetWord):
        return rule
    said = properties.get(rule.property)
    return said if isinstance(said, bool) and said in rule.believe else None


def _assets(item: Mapping[str, Any], collection: Collection, catalogue: Catalogue) -> dict[str, Asset]:
    there = item.get("assets") or {}
    missing = sorted({source.asset for source in collection.bands.values()} - set(there))
    if missing:
        raise Unusable(f"has no asset {', '.join(missing)}")
    masks = {name: source for name, source in collection.masks.items() if source.asset in there}
    assets = {}
    for name, source in {**collection.bands, **masks}.items():
        together = tuple(sorted(one.band for one in collection.bands.values() if one.asset == source.asset))
        try:
            asset = _asset(item, source, None if name in masks else collection.nodata)
            assets[name] = replace(asset, imagery=together) if len(together) > 1 else asset
        except (ValueError, TypeError, IndexError) as error:
            raise Unusable(f"has impossible proj: or raster: fields at {source.asset} ({error})") from error
        try:
            local = web_address(assets[name].href) is None
        except Gone as reason:
            raise Unusable(str(reason)) from reason
        if local and catalogue.url is not None:
            raise Unusable(f"names a file of this computer at {source.asset}: {assets[name].href}")
    return assets


def _asset(item: Mapping[str, Any], source: BandSource, nodata: float | None) -> Asset:
    asset, properties = item["assets"][source.asset], item.get("properties") or {}
    transform = asset.get("proj:transform") or properties.get("proj:transform")
    shape = asset.get("proj:shape") or properties.get("proj:shape")
    band = _band_fields(asset, source.band)
    if transform is not None and (len(transform) not in (6, 9) or Affine(*map(float, transform[:6])).determinant == 0):
        raise ValueError(f"proj:transform {transform}")
    if shape is not None and (len(shape) != 2 or min(map(int, shape)) < 1):
        raise ValueError(f"proj:shape {shape}")
    return Asset(
        href=str(asset["href"]),
        band=source.band,
        scale=None if band.get("scale") is None else float(band["scale"]),
        offset=None if band.get("offset") is None else float(band["offset"]),
        nodata=nodata,
        crs=_crs_code(asset) or _crs_code(properties),
        transform=None if transform is None else Affine(*map(float, transform[:6])),
        shape=None if shape is None else (int(shape[0]), int(shape[1])),
    )


def _band_fields(asset: Mapping[str, Any], band: int) -> dict[str, Any]:
    """Scale and offset of a band: ``raster:bands`` (STAC 1.0), ``bands`` or the asset itself (STAC 1.1)."""
    if "raster:bands" in asset:
        bands = asset["raster:bands"]
        return dict(bands[band - 1]) if band <= len(bands) else {}
    bands = asset.get("bands") or []
    fields = {**asset, **(bands[band - 1] if band <= len(bands) else {})}
    return {name: fields.get(f"raster:{name}") for name in ("scale", "offset")}


def _crs_code(fields: Mapping[str, Any]) -> str | None:
    """``proj:code`` (since version 2 of the extension) or ``proj:epsg``."""
    if fields.get("proj:code") is not None:
        return str(fields["proj:code"])
    return None if fields.get("proj:epsg") is None else f"EPSG:{int(fields['proj:epsg'])}"
