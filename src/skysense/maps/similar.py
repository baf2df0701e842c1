"""Places that are like a query, as a program gets them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skysense.maps.hits import check_out, geojson_of, rows_of, write_rows
from skysense.maps.product.read import Product
from skysense.maps.search import Hit, Query


@dataclass(frozen=True)
class Similar:
    """The places of a map that are most like a query.

    Attributes:
        product: the map.
        query: what was looked for.
        hits: places, best first.
    """

    product: Product = field(repr=False)
    query: Query = field(repr=False)
    hits: tuple[Hit, ...]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __getitem__(self, rank: int) -> Hit:
        return self.hits[rank]

    @property
    def __geo_interface__(self) -> dict[str, Any]:
        """Points as GeoJSON, which geopandas and shapely read."""
        return geojson_of(rows_of(self.hits))

    def write(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the places as ``.geojson`` or ``.csv``.

        Raises:
            OutputError: another suffix, a file that is there, no space, no permission.
        """
        check_out(Path(path), overwrite)
        write_rows(Path(path), rows_of(self.hits))

    def _repr_html_(self) -> str:
        """What a notebook shows: where they are, and a table."""
        from skysense.maps.draw import html_table, marked_html, side_by_side

        width = self.product.grid.width
        spots = [(hit.number % width + 0.5, hit.number // width + 0.5) for hit in self.hits]
        rows = {
            f"{row['rank']}": f"{row['similarity']:.3f} at {row['lon']:.5f}, {row['lat']:.5f}"
            + ("" if row["metres"] is None else f", {row['metres']:,} m away")
            for row in rows_of(self.hits)
        }
        return side_by_side(marked_html(self.product, spots), html_table({"like": self.query.words} | rows))
