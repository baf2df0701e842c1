"""Searching the items of a catalogue as a STAC API does: place, time, collections, ids, query and filter."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from skysense.curate.rehearsal.footprints import Point, box_ring, meet, rings_of
from skysense.curate.rehearsal.items import Json


class Refused(Exception):
    """The request is wrong; status 400."""


COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "neq": operator.ne, "lt": operator.lt, "lte": operator.le, "gt": operator.gt,
    "gte": operator.ge, "in": lambda value, among: value in among, "contains": lambda value, part: part in value,
    "startsWith": lambda value, start: value.startswith(start), "endsWith": lambda value, end: value.endswith(end),
}  # fmt: skip
"""Of the query extension."""
CQL2: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "in": lambda value, among: value in among,
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A search that was read.

    Attributes:
        rings: of what the items shall meet; None for anywhere.
        begin, end: of the time; None is open.
        collections, ids: None for all.
        query: comparisons by property.
        cql: a CQL2 expression as JSON.
    """

    rings: Sequence[Sequence[Point]] | None
    begin: datetime | None
    end: datetime | None
    collections: Sequence[str] | None
    ids: Sequence[str] | None
    query: Mapping[str, Mapping[str, Any]]
    cql: Json | None


def read(told: Mapping[str, Any], *, filters: bool) -> Asked:
    """Read the parameters of a search, as a POST has them or a GET after `from_url`.

    Args:
        told: the parameters.
        filters: whether ``filter`` is supported; else it is left unread, as unknown parameters are.

    Raises:
        Refused: they are not what the specification wants.
    """
    if told.get("bbox") and told.get("intersects"):
        raise Refused("expected bbox OR intersects, not both")
    cql = told.get("filter") if filters else None
    if cql is not None and not (isinstance(cql, dict) and told.get("filter-lang", "cql2-json") == "cql2-json"):
        raise Refused("filter must be CQL2 as JSON here")
    begin, end = _interval(told.get("datetime"))
    return Asked(
        _rings(told), begin, end, told.get("collections") or None, told.get("ids") or None, told.get("query") or {}, cql
    )


def from_url(asked: Mapping[str, str]) -> Json:
    """Parameters of a GET as those of a POST.

    Raises:
        Refused: a part is not the JSON or number it should be.
    """
    told: Json = dict(asked)
    try:
        for name in ("query", "filter", "intersects"):
            if name in told:
                told[name] = json.loads(told[name])
        if "bbox" in told:
            told["bbox"] = [float(part) for part in told["bbox"].split(",")]
    except ValueError as error:
        raise Refused(f"could not be read: {error}") from error
    for name in ("collections", "ids"):
        if name in told:
            told[name] = told[name].split(",")
    return told


def find(items: Sequence[Json], asked: Asked) -> list[Json]:
    """Items that meet everything that was asked, newest first, as both catalogues sort.

    Raises:
        Refused: an unknown operator, or a comparison of things that do not compare.
    """
    try:
        found = [item for item in items if _suits(item, asked)]
    except TypeError as error:
        raise Refused(f"a value of the query has the wrong type: {error}") from error
    return sorted(found, key=lambda item: (item["properties"]["datetime"], item["id"]), reverse=True)


def _suits(item: Json, asked: Asked) -> bool:
    if asked.collections is not None and item["collection"] not in asked.collections:
        return False
    if asked.ids is not None and item["id"] not in asked.ids:
        return False
    begin = datetime.fromisoformat(item["properties"].get("start_datetime") or item["properties"]["datetime"])
    end = datetime.fromisoformat(item["properties"].get("end_datetime") or item["properties"]["datetime"])
    if (asked.begin is not None and end < asked.begin) or (asked.end is not None and begin > asked.end):
        return False
    if asked.rings is not None:
        own = rings_of(item["geometry"])
        if not any(meet(one, other) for one in own for other in asked.rings):
            return False
    if not all(_compare(COMPARISONS, item, name, how) for name, how in asked.query.items()):
        return False
    return asked.cql is None or bool(_cql(asked.cql, item))


def _compare(known: Mapping[str, Callable], item: Json, name: str, how: Mapping[str, Any]) -> bool:
    value = _value(item, name)
    if unknown := set(how) - set(known):
        raise Refused(f"unknown operator {', '.join(sorted(unknown))}")
    return value is not None and all(known[operation](value, against) for operation, against in how.items())


def _value(item: Json, name: str) -> Any:
    return item[name] if name in ("id", "collection") else item["properties"].get(name)


def _cql(told: Any, item: Json) -> Any:
    """The value of a CQL2 expression; a comparison with something an item does not have is false."""
    if isinstance(told, list):
        return [_cql(part, item) for part in told]
    if not isinstance(told, dict):
        return told
    if "property" in told:
        return _value(item, told["property"])
    if "timestamp" in told or "date" in told:
        return told.get("timestamp") or told["date"]
    operation, parts = told.get("op"), told.get("args")
    if operation not in (*CQL2, "and", "or", "not", "isNull") or not isinstance(parts, list):
        raise Refused(f"unknown operator {operation!r}")
    values = [_cql(part, item) for part in parts]
    if operation in ("and", "or"):
        return all(values) if operation == "and" else any(values)
    if operation in ("not", "isNull"):
        return not values[0] if operation == "not" else values[0] is None
    return values[0] is not None and bool(CQL2[operation](*values))


def _rings(told: Mapping[str, Any]) -> list[list[Point]] | None:
    if told.get("intersects"):
        try:
            return rings_of(told["intersects"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Refused("intersects must be a GeoJSON geometry") from error
    box = told.get("bbox")
    if not box:
        return None
    if len(box) == 6:
        box = [*box[:2], *box[3:5]]
    if len(box) != 4 or not (-180 <= box[0] <= 180 and -180 <= box[2] <= 180 and -90 <= box[1] <= box[3] <= 90):
        raise Refused("bbox must be west, south, east, north in degrees")
    west, south, east, north = box
    if west <= east:
        return [box_ring(west, south, east, north)]
    return [box_ring(west, south, 180, north), box_ring(-180, south, east, north)]  # across the antimeridian


def _interval(told: str | None) -> tuple[datetime | None, datetime | None]:
    """RFC 3339 times only, as the specification has it: a date without a time is refused."""
    if not told:
        return None, None
    parts = told.split("/")
    if len(parts) > 2:
        raise Refused("datetime must be one time or two with a slash between")
    times = [None if part in ("", "..") else _time(part) for part in parts]
    begin, end = times[0], times[-1]
    if begin is None and end is None:
        raise Refused("datetime must not be open at both ends")
    if begin is not None and end is not None and begin > end:
        raise Refused("datetime must not end before it begins")
    return begin, end


def _time(told: str) -> datetime:
    try:
        time = datetime.fromisoformat(told)
    except ValueError as error:
        raise Refused(f"{told!r} is not a time of RFC 3339") from error
    if time.tzinfo is None or "T" not in told.upper():
        raise Refused(f"{told!r} is not a time of RFC 3339")
    return time
