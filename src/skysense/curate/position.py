"""A place before it has imagery: number, name, position, region and split."""

from __future__ import annotations

from dataclasses import dataclass

from skysense.data.places_layout import Split


@dataclass(frozen=True, slots=True)
class Position:
    """Where a place is to be.

    Attributes:
        number: ascending in the order of the work; numbers may have gaps. A higher number never lies in a lower cell.
        name: unique, fit for a file name.
        lon, lat: of its centre, WGS 84 degrees.
        cell: of `skysense.geo.region_cell`.
        split: ``train`` or ``val``.
    """

    number: int
    name: str
    lon: float
    lat: float
    cell: int
    split: Split


def name_at(lon: float, lat: float) -> str:
    """A name that says where, to 0.0001 degrees (11 m): ``n48.1372_e011.5755``.

    Places that are more than 16 m apart have different names, whatever seed or area they were drawn with.
    """
    lat, lon = round(lat, 4), round(lon, 4)
    return f"{'s' if lat < 0 else 'n'}{abs(lat):07.4f}_{'w' if lon < 0 else 'e'}{abs(lon):08.4f}"
