"""Where the places of a corpus lie: a map of their surroundings, and where these are on Earth.

Letters: N places or dots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.land import Land, land
from skysense.data.shards.layout import SPLITS
from skysense.errors import InputError, MissingExtra, need
from skysense.geo import region_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#5c6370", "#0072b2", "#d55e00", "#007a5a")
"""Of places without a split and of those to train, validate and test on (after Okabe and Ito 2002)."""
SPLIT_NAMES = tuple(split or "no split" for split in SPLITS)
_LAND, _SEA, _FRAME = "#dfe2e8", "#ffffff", "#8a93a6"
_INCHES = 7.6
_NARROWEST = 5.0
"""Degrees that a map shows at least, so that a coast or a border is likely to be on it."""
_WHOLE_EARTH = 160
"""Degrees of longitude beyond which nobody needs to be told which part of the Earth a map shows."""
_LONG_STRETCH = 45
"""Degrees of longitude without places that are worth cutting a map in."""
_CELL_INCHES = 0.06
"""Regions that are drawn smaller are dots: their shade could not be seen."""
_DOTS = 20_000


@dataclass(frozen=True)
class Extent:
    """Part of the Earth in degrees; east may exceed 180 where the antimeridian is crossed."""

    west: float
    south: float
    east: float
    north: float

    @property
    def stretch(self) -> float:
        """Degrees of latitude that are as long as one degree of longitude, in the middle."""
        return max(math.cos(math.radians((self.south + self.north) / 2)), 0.2)

    @property
    def shape(self) -> float:
        """Height of its map by the width."""
        return (self.north - self.south) / ((self.east - self.west) * self.stretch)

    def unwrapped(self, lon_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Longitudes as this map counts them."""
        return self.west + (lon_N - self.west) % 360


def span_of(lon_N: NDArray[np.float64]) -> tuple[float, float]:
    """The westernmost and the easternmost of longitudes, cut where no place is for the longest stretch.

    If no stretch is long, places are all round the Earth and it is cut at the antimeridian, as maps are.

    Args:
        lon_N: degrees of at least one place.

    Returns:
        The first is larger than the second where the antimeridian lies between.
    """
    lon_N = np.unique(lon_N)
    gap_N = np.diff(lon_N, append=lon_N[0] + 360)
    widest = int(gap_N.argmax())
    if gap_N[widest] < _LONG_STRETCH:
        return float(lon_N[0]), float(lon_N[-1])
    return float(lon_N[(widest + 1) % len(lon_N)]), float(lon_N[widest])


def extent_of(lon_N: NDArray[np.float64], lat_N: NDArray[np.float64]) -> Extent:
    """The part of the Earth to show: all places, some room round them, and neither a very flat nor a very high map.

    Args:
        lon_N: degrees of at least one place.
        lat_N: of the same places.
    """
    west, east = span_of(lon_N)
    width = (east - west) % 360
    south, north = float(lat_N.min()), float(lat_N.max())
    stretch = Extent(west, south, west + width, north).stretch
    wide = max(width * 1.1 + 0.5, _NARROWEST / stretch, (north - south) * 1.1 / stretch / 0.9)
    high = min(max((north - south) * 1.1 + 0.5, _NARROWEST * 0.5, wide * stretch * 0.4), 180)
    if wide > 2 * _WHOLE_EARTH:
        return Extent(-180, max(-90, south - 5), 180, min(90, north + 5))
    centre, middle = west + width / 2, (south + north) / 2
    low = min(max(middle - high / 2, -90), 90 - high)
    left = (centre - wide / 2 + 180) % 360 - 180
    return Extent(left, low, left + wide, low + high)


def coverage_map(rows: NDArray[np.void], *, seed: int = 0) -> tuple[Figure, str]:
    """A map of the places that have a position, and what it shows in words.

    Args:
        rows: of the index of a corpus; at least one has a position.
        seed: of the choice of places where there are too many to draw.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    rows = rows[np.isfinite(rows["lon"])]
    extent = extent_of(rows["lon"], rows["lat"])
    known, words = _land()
    world = extent.east - extent.west > _WHOLE_EARTH
    height = min(max(_INCHES * extent.shape, 2.4), 6.5)
    figure = need("matplotlib.figure", "train").Figure(
        figsize=(_INCHES + (0.6 if world else 2.4), height + 0.5), layout="constrained"
    )
    axes = figure.subplots(1, 1 if world else 2, width_ratios=None if world else [_INCHES, 1.9], squeeze=False)[0]
    axis = axes[0]
    _ground(axis, extent, known)
    region_N, places_N = np.unique(rows["region"], return_counts=True)
    if _INCHES * 0.68 / (extent.east - extent.west) > _CELL_INCHES:  # a region is 0.68 degrees wide
        bar = _regions(axis, extent, region_N, places_N)
        if places_N.max() > 1:
            scale = figure.colorbar(bar, ax=axis, shrink=0.8, aspect=30, pad=0.01)
            scale.set_label("places in a region", fontsize=8)
            scale.locator = need("matplotlib.ticker", "train").MaxNLocator(6, integer=True)
            scale.ax.tick_params(labelsize=7)
        shown = rows
        what = "Shaded: regions (cells of 65.5 km of equal area) with places; dots: the places, by split"
        if len(rows) > _DOTS:
            shown = rows[np.random.default_rng(seed).choice(len(rows), _DOTS, replace=False)]
            what += f" ({_DOTS:,} of {len(rows):,}, drawn at random)"
    else:
        _, first = np.unique(np.stack([rows["region"], rows["split"]], axis=1), axis=0, return_index=True)
        shown = rows[first]
        what = f"Dots: the {len(region_N):,} regions (cells of 65.5 km of equal area) with places, by split"
    _dots(axis, extent, shown)
    if not world:
        _locator(axes[1], extent, known)
        what += "; at the right where on Earth that is"
    return figure, f"{what}.{words}"


def _land() -> tuple[Land | None, str]:
    try:
        return land(), ""
    except (MissingExtra, InputError) as error:
        return None, f" Without coasts: {error}."


def _ground(axis: Axes, extent: Extent, known: Land | None, across: int = 700) -> None:
    """Land and sea, with degrees along the sides."""
    axis.set_facecolor(_SEA)
    if known is not None:
        down = max(int(across * extent.shape * extent.stretch), 2)
        lon_N = np.linspace(extent.west, extent.east, across)
        lat_N = np.linspace(extent.south, extent.north, down)
        lon_M, lat_M = np.meshgrid((lon_N + 180) % 360 - 180, lat_N)
        held = known.holds(np.stack([lon_M.ravel(), lat_M.ravel()], axis=1)).reshape(lon_M.shape)
        axis.contourf(lon_N, lat_N, held, levels=[0.5, 1.5], colors=[_LAND])
    axis.set_xlim(extent.west, extent.east)
    axis.set_ylim(extent.south, extent.north)
    axis.set_aspect(1 / extent.stretch)
    axis.xaxis.set_major_formatter(lambda lon, _: _degrees((lon + 180) % 360 - 180, "EW"))
    axis.yaxis.set_major_formatter(lambda lat, _: _degrees(lat, "NS"))
    axis.tick_params(labelsize=7, color=_FRAME)
    axis.spines[:].set_color(_FRAME)


def _degrees(value: float, names: str) -> str:
    side = "" if value in (0, -180) else names[0] if value > 0 else names[1]
    return f"{abs(value):g}°{side}"


def _regions(axis: Axes, extent: Extent, region_N: NDArray[np.int64], places_N: NDArray[np.int64]) -> Any:
    collections, colours = need("matplotlib.collections", "train"), need("matplotlib.colors", "train")
    maps = need("matplotlib", "train").colormaps
    corners = []
    for region in region_N.tolist():
        west, south, east, north = region_box(region)
        left = float(extent.unwrapped(np.array(west)))
        corners.append([(left + x, y) for x, y in ((0, south), (east - west, south), (east - west, north), (0, north))])
    pale = colours.ListedColormap(maps["YlGn"](np.linspace(0.15, 0.6, 256)))  # dots must stand out
    limits = colours.Normalize(1, max(int(places_N.max()), 2))
    drawn = collections.PolyCollection(
        corners, array=places_N, cmap=pale, norm=limits, edgecolors="#6b7280", linewidths=0.4, alpha=0.85
    )
    return axis.add_collection(drawn, autolim=False)


def _dots(axis: Axes, extent: Extent, rows: NDArray[np.void]) -> None:
    size = 40 if len(rows) < 100 else 22 if len(rows) < 500 else 9 if len(rows) < 5000 else 4
    shared = len(np.unique(rows["region"])) < len(np.unique(rows[["region", "split"]]))
    for number, split in enumerate(np.unique(rows["split"]).tolist()):
        these = rows[rows["split"] == split]
        axis.scatter(
            extent.unwrapped(these["lon"]),
            these["lat"],
            s=size * (0.4 if shared and number else 1.0),  # what lies on top must not hide what lies below
            color=COLOURS[split],
            edgecolors="white",
            linewidths=0.4 if size > 4 else 0,
            label=SPLIT_NAMES[split],
            zorder=3,
        )
    axis.legend(
        fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, handletextpad=0.1, borderpad=0.1
    )


def _locator(axis: Axes, extent: Extent, known: Land | None) -> None:
    """The whole Earth with a frame round the map."""
    _ground(axis, Extent(-180, -90, 180, 90), known, across=360)
    axis.set_aspect(1)
    axis.set_xticks([])
    axis.set_yticks([])
    patches = need("matplotlib.patches", "train")
    wide, high = max(extent.east - extent.west, 8), max(extent.north - extent.south, 8)
    for turn in (0, -360):  # a frame over the antimeridian shows on both sides
        corner = (extent.west + turn, (extent.south + extent.north) / 2 - high / 2)
        axis.add_patch(patches.Rectangle(corner, wide, high, fill=False, edgecolor=COLOURS[2], linewidth=1.6))
