"""What a catalogue answers to each path, apart from how it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from skysense.curate.rehearsal.faults import Faults, matches
from skysense.curate.rehearsal.items import GEOJSON, Catalogue, Json, displaced, link
from skysense.curate.rehearsal.query import Refused, find, from_url, read
from skysense.curate.rehearsal.scenes import Scene


class Service:
    """One catalogue over an archive.

    Args:
        catalogue: how it tells scenes.
        scenes: of the archive.
        host: ``http://127.0.0.1:PORT``.
        faults: of which those of items are used here.
        largest_page: items on a page at most, whatever is asked for; None for the catalogue's own limit.
    """

    def __init__(
        self, catalogue: Catalogue, scenes: Sequence[Scene], host: str, faults: Faults, largest_page: int | None
    ) -> None:
        self.catalogue = catalogue
        self.root = f"{host}{catalogue.path}"
        self._faults, self._largest_page = faults, largest_page
        self.items: list[Json] = []
        self.files: dict[str, str] = {}
        for scene in scenes:
            if catalogue.collection_of(scene) is not None:
                self.items.append(self._spoilt(catalogue.item(scene, host)))
                self.files |= catalogue.files(scene)

    def _spoilt(self, item: Json) -> Json:
        faults, name = self._faults, item["id"]
        if matches(faults.displaced, name):
            item = displaced(item)
        if matches(faults.unflagged, name) and "earthsearch:boa_offset_applied" in item["properties"]:
            item["properties"]["earthsearch:boa_offset_applied"] = False
        kept = {key: asset for key, asset in item["assets"].items() if not matches(faults.missing, f"{name}/{key}")}
        return item | {"assets": kept}

    def kind(self, parts: Sequence[str]) -> str:
        """What a path below the root is about, for the counts."""
        if not parts:
            return "root"
        if parts[0] == "search":
            return "search"
        return "items" if len(parts) > 2 and parts[2] == "items" else "collections"

    def get(self, parts: Sequence[str], asked: Mapping[str, str]) -> tuple[Json, str] | None:
        """Answer a GET.

        Args:
            parts: of the path below the root.
            asked: the parameters.

        Returns:
            JSON and its type, or None where there is nothing.

        Raises:
            Refused: the parameters are wrong.
        """
        plain = "application/json"
        match list(parts):
            case []:
                return self._landing(), plain
            case ["conformance"]:
                return {"conformsTo": list(self.catalogue.conformance)}, plain
            case ["collections"]:
                links = [link("root", self.root), link("self", f"{self.root}/collections")]
                return {
                    "collections": [self._collection(one) for one in self.catalogue.collections],
                    "links": links,
                }, plain
            case ["collections", name] if name in self.catalogue.collections:
                return self._collection(name), plain
            case ["queryables"] | ["collections", _, "queryables"]:
                return self._queryables(), "application/schema+json"
            case ["collections", name, "items"] if name in self.catalogue.collections:
                href = f"{self.root}/collections/{name}/items"
                return self.page(from_url(asked) | {"collections": [name]}, href, method="GET"), GEOJSON
            case ["collections", name, "items", item]:
                found = [one for one in self.items if one["id"] == item and one["collection"] == name]
                return (found[0], GEOJSON) if found else None
            case ["search"]:
                return self.page(from_url(asked), f"{self.root}/search", method="GET"), GEOJSON
        return None

    def page(self, told: Mapping[str, Any], href: str, *, method: str) -> Json:
        """One page of a search.

        Args:
            told: the parameters as a POST has them.
            href: where the next page is asked for.
            method: how.

        Raises:
            Refused: they are wrong.
        """
        catalogue = self.catalogue
        asked = read(told, filters=any("#filter" in one for one in catalogue.conformance))
        empty = [one for one in catalogue.collections if matches(self._faults.empty, one)]
        found = find([item for item in self.items if item["collection"] not in empty], asked)
        begin, limit = self._start(found, told.get(catalogue.cursor)), self._limit(told.get("limit"))
        shown = found[begin : begin + limit]
        links = [link("root", self.root)]
        if begin + limit < len(found):
            links.insert(0, self._next(told, shown[-1], href, method=method))
        page: Json = {"type": "FeatureCollection", "features": shown, "links": links}
        if catalogue.cursor == "next":
            counts = {"limit": limit, "matched": len(found), "returned": len(shown)}
            page |= {"context": counts, "numberMatched": len(found), "numberReturned": len(shown)}
        return page

    def _limit(self, told: Any) -> int:
        try:
            limit = self.catalogue.default_limit if told is None else int(told)
        except (TypeError, ValueError) as error:
            raise Refused("limit must be a number") from error
        if limit < 1 or (self.catalogue.refuses_larger and limit > self.catalogue.largest_limit):
            raise Refused(f"limit must be 1 to {self.catalogue.largest_limit}")
        return min(limit, self.catalogue.largest_limit, self._largest_page or limit)

    def _cursor(self, item: Json) -> str:
        if self.catalogue.cursor == "next":
            return f"{item['properties']['datetime']},{item['id']},{item['collection']}"
        return f"next:{item['collection']}:{item['id']}"

    def _start(self, found: Sequence[Json], cursor: str | None) -> int:
        if cursor is None:
            return 0
        places = [place for place, item in enumerate(found) if self._cursor(item) == cursor]
        if not places:
            raise Refused(f"{self.catalogue.cursor} is none of ours")
        return places[0] + 1

    def _next(self, told: Mapping[str, Any], last: Json, href: str, *, method: str) -> Json:
        cursor = {self.catalogue.cursor: self._cursor(last)}
        title = {"title": "Next page of Items"} if self.catalogue.says_merge else {}
        if method == "POST":
            merge = {"merge": False} if self.catalogue.says_merge else {}
            return link("next", href, GEOJSON, method="POST", **title, **merge, body={**told, **cursor})
        query = urlencode({name: _as_text(value) for name, value in {**told, **cursor}.items()})
        return link("next", f"{href}?{query}", GEOJSON, method="GET", **title)

    def _landing(self) -> Json:
        slash = "" if self.catalogue.says_merge else "/"
        queryables = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
        links = [
            link("self", self.root + slash),
            link("root", self.root + slash),
            link("conformance", f"{self.root}/conformance"),
            link("data", f"{self.root}/collections"),
            link("search", f"{self.root}/search", GEOJSON, method="GET"),
            link("search", f"{self.root}/search", GEOJSON, method="POST"),
            link(queryables, f"{self.root}/queryables", "application/schema+json"),
        ]
        links += [link("child", f"{self.root}/collections/{name}") for name in self.catalogue.collections]
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": self.catalogue.id,
            "title": self.catalogue.title,
            "description": self.catalogue.description,
            "conformsTo": list(self.catalogue.conformance),
            "links": links,
        }

    def _collection(self, name: str) -> Json:
        here = f"{self.root}/collections/{name}"
        links = [
            link("self", here),
            link("parent", self.root),
            link("root", self.root),
            link("items", f"{here}/items", GEOJSON),
        ]
        return self.catalogue.collections[name] | {"links": links}

    def _queryables(self) -> Json:
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"{self.root}/queryables",
            "type": "object",
            "title": f"Queryables of {self.catalogue.title}",
            "properties": {"datetime": {"type": "string"}, "eo:cloud_cover": {"type": "number"}},
            "additionalProperties": True,
        }


def _as_text(value: Any) -> str:
    """A parameter as the query of a URL has it."""
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    return ",".join(str(part) for part in value) if isinstance(value, list) else str(value)
