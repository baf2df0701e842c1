"""The verbs ``skysense search`` and ``skysense fewshot``: parse, call, print."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from skysense.errors import ConfigError
from skysense.terminal import bar, console

if TYPE_CHECKING:
    from skysense.maps.product.read import Product
    from skysense.maps.search import Hit, Query

    Found = tuple[Query, list[Hit], float, Sequence[str]]

_PLACES = ".safetensors"


def search_parser() -> ArgumentParser:
    """find the places of a map that are like a point, a polygon or an image"""
    parser = ArgumentParser(description="Find the places of a map of features that are most like a query.")
    parser._negative_number_matcher = re.compile(r"^-\d")  # -70.1,-33.4 is a point, not an option
    parser.add_argument("map", type=Path, help="of skysense embed; or vectors of places (.safetensors)")
    parser.add_argument("--point", type=str, nargs="+", default=[], help="lon,lat in degrees; several are averaged")
    parser.add_argument("--polygon", type=Path, default=None, help="a GeoJSON file of polygons on the map")
    parser.add_argument("--image", type=Path, default=None, help="a GeoTIFF that shows what is looked for")
    parser.add_argument("--model", type=Path, default=None, help="for an image: the model that made the map")
    parser.add_argument("--count", type=int, default=10, help="places wanted")
    parser.add_argument("--apart", type=float, default=None, help="metres between places; 16 cells by default")
    parser.add_argument("--index", type=bool, default=False, help="by an index beside the map, made if there is none")
    parser.add_argument("--out", type=Path, default=None, help="also write the places: .geojson or .csv")
    parser.add_argument("--overwrite", type=bool, default=False, help="replace it")
    parser.add_argument("--device", type=str, default="cpu", help="of the model")
    return parser


def search(options: Namespace) -> int:
    """Run the verb."""
    from skysense.maps.hits import check_out, rows_of, write_rows

    if [bool(options.point), options.polygon is not None, options.image is not None].count(True) != 1:
        raise ConfigError("say what to look for: one of --point, --polygon and --image")
    if options.image is not None and options.model is None:
        raise ConfigError("--image needs --model, the model that made the map")
    if options.count < 1:
        raise ConfigError(f"--count {options.count}: it must be at least 1")
    if options.out is not None:
        check_out(options.out, options.overwrite)
    query, hits, apart, names = (_in_places if options.map.suffix == _PLACES else _on_map)(options)
    rows = rows_of(hits, names)
    _print(rows, query)
    console.print(f"{len(rows)} places, at least {apart:,.0f} m from one another")
    if options.out is not None:
        write_rows(options.out, rows)
        console.print(escape(str(options.out)), soft_wrap=True)
    return 0


def _print(rows: list[dict[str, Any]], query: Query) -> None:
    named = ["name"] if rows and "name" in rows[0] else []
    table = Table("rank", "similarity", "lon", "lat", "distance", *named, title=f"like {escape(query.words)}")
    for row in rows:
        where = ["" if row[name] is None else f"{row[name]:.5f}" for name in ("lon", "lat")]
        distance = "" if row["metres"] is None else f"{row['metres']:,} m"
        names = [escape(row[name]) for name in named]
        table.add_row(str(row["rank"]), f"{row['similarity']:.3f}", *where, distance, *names)
    console.print(table)


def _on_map(options: Namespace) -> Found:
    from skysense.maps.ground import Ground
    from skysense.maps.product.read import open_product
    from skysense.maps.query import parse_points, query_at, query_in, query_of_image
    from skysense.maps.search import APART_CELLS

    with open_product(options.map) as product:
        if options.point:
            query = query_at(product, parse_points(options.point))
        elif options.polygon is not None:
            query = query_in(product, options.polygon)
        else:
            query = query_of_image(product, options.image, options.model, options.device)
        apart = options.apart
        if apart is None:
            apart = APART_CELLS * Ground(product.grid).cell_metres
        return query, _hits(product, query, options.count, apart, by_index=options.index), apart, ()


def _in_places(options: Namespace) -> Found:
    from skysense.maps.place_vectors import read_vectors
    from skysense.maps.query import parse_points, query_of_image_for_places, query_of_places, query_of_places_in
    from skysense.maps.search import nearest_places

    places = read_vectors(options.map)
    if options.point:
        query = query_of_places(places, parse_points(options.point))
    elif options.polygon is not None:
        query = query_of_places_in(places, options.polygon)
    else:
        query = query_of_image_for_places(places, options.image, options.model, options.device)
    apart = options.apart or 0.0
    return query, nearest_places(places.vectors_ND, places.lonlat_N2, query, options.count, apart), apart, places.names


def _hits(product: Product, query: Query, count: int, apart: float, *, by_index: bool) -> list[Hit]:
    from skysense.maps.search import nearest_cells

    if not by_index:
        with bar("searching", late=True) as progress:
            return nearest_cells(product, query, count, apart, progress)
    from skysense.maps.index import make_index, open_index

    index = open_index(product)
    if index is None:
        with bar("indexing", late=True) as progress:
            index = make_index(product, progress)
        console.print(f"{escape(str(index.path))}: index of {index.cells:,} cells", soft_wrap=True)
    return index.nearest(query, product, count, apart)


def fewshot_parser() -> ArgumentParser:
    """a map of classes from a map of features and a handful of labels"""
    parser = ArgumentParser(
        description="Learn classes from a handful of labelled points or polygons and map them, with what the labels "
        "do not tell. The same command goes on with a map that was cut off. See docs/search.md."
    )
    parser.add_argument("map", type=Path, help="of skysense embed")
    parser.add_argument("--labels", type=Path, required=True, help="CSV (lon, lat, label), GeoJSON or GeoPackage")
    parser.add_argument("--column", type=str, default=None, help="of the labels; label or class by default")
    parser.add_argument("--out", type=Path, required=True, help="name.tif or name.zarr")
    parser.add_argument("--method", type=Literal["ridge", "logistic"], default="ridge", help="how it is learned")
    parser.add_argument("--probabilities", type=bool, default=False, help="also write that of every class")
    parser.add_argument("--overwrite", type=bool, default=False, help="replace existing outputs")
    return parser


def fewshot(options: Namespace) -> int:
    """Run the verb."""
    from skysense.maps.fewshot_map import fewshot_map

    with bar("mapping", late=True) as progress:
        result = fewshot_map(
            options.map,
            options.labels,
            options.out,
            column=options.column,
            method=options.method,
            probabilities=options.probabilities,
            overwrite=options.overwrite,
            progress=progress,
        )
    for note in result.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)
    if result.resumed:
        console.print(f"{result.resumed} parts were there from an earlier run")
    right = "" if result.right is None else f"; {100 * result.right:.0f} % right when left out"
    console.print(f"learned from {escape(result.labelled)}{right}")
    console.print(f"{escape(str(result.path))}: {', '.join(map(escape, result.classes))}", soft_wrap=True)
    return 0
