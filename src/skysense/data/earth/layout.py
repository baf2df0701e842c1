"""Where things stand on a piece of simulated ground, as polygons and crowns: parcels, roads, trees, buildings, water.

Lengths are metres from the upper left corner, y downward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.earth.materials import Palette
from skysense.data.earth.polygons import Polygon, area, rectangle, shrink, strip, subdivide

MARGIN = 12.5
"""Metres drawn beyond the edge, so that bending the ground and casting shadows never run out of it."""


@dataclass(frozen=True)
class Recipe:
    """How a scene is put together.

    Attributes:
        main: the use that gives the scene its name, or None where water does.
        share: lowest and highest share of the main use.
        side: lowest and highest width of a parcel in metres.
        others: weights of the other uses.
    """

    main: str | None
    share: tuple[float, float]
    side: tuple[float, float]
    others: dict[str, float]


RECIPES = {
    "cropland": Recipe(
        "field", (0.50, 0.92), (36, 62), {"grass": 4, "forest": 3, "homes": 1, "orchard": 1.5, "bare": 0.5}
    ),
    "forest": Recipe("forest", (0.42, 0.88), (50, 85), {"grass": 5, "field": 3, "bare": 1, "homes": 0.5}),
    "grassland": Recipe(
        "grass", (0.42, 0.86), (45, 85), {"forest": 4, "field": 4, "homes": 0.7, "bare": 1, "orchard": 1}
    ),
    "orchard": Recipe("orchard", (0.38, 0.80), (42, 75), {"field": 4, "grass": 3, "homes": 1, "forest": 1}),
    "residential": Recipe("homes", (0.40, 0.85), (52, 80), {"grass": 4, "forest": 3, "field": 1.5, "works": 1}),
    "industrial": Recipe(
        "works", (0.40, 0.80), (55, 85), {"grass": 4, "bare": 2, "field": 1.5, "forest": 1, "homes": 2}
    ),
    "water": Recipe(None, (0.0, 0.0), (42, 75), {"grass": 4, "forest": 4, "field": 4, "homes": 1.2, "bare": 0.6}),
}


@dataclass(frozen=True)
class Crown:
    """A tree: centre, radius and height in metres, material, and how bright it is among its kind."""

    x: float
    y: float
    radius: float
    height: float
    material: int
    tint: float


@dataclass(frozen=True)
class Building:
    """A rectangle: centre, half sides along its own axes, direction, eave height, rise of the roof, material, tint.

    Its kind is "house" or "hall".
    """

    x: float
    y: float
    half: tuple[float, float]
    angle: float
    height: float
    rise: float
    material: int
    tint: float
    kind: str


@dataclass
class Layout:
    """Everything that is drawn, in drawing order; numbers are indices into the palette's materials."""

    size: tuple[float, float]
    parcels: list[tuple[Polygon, int]] = field(default_factory=list)
    margins: list[tuple[Polygon, int]] = field(default_factory=list)
    roads: list[tuple[Polygon, int]] = field(default_factory=list)
    crowns: list[Crown] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    water: int | None = None
    shape: Literal["lake", "river", "pond", "stream"] = "lake"


def plan(rng: Generator, palette: Palette, scene: str, size: tuple[float, float]) -> Layout:
    """Lay out one scene.

    Args:
        rng: random numbers.
        palette: gives materials.
        scene: key into `RECIPES`.
        size: width and height in metres.
    """
    layout = Layout(size)
    recipe = RECIPES[scene]
    ground = rectangle(-MARGIN, -MARGIN, size[0] + MARGIN, size[1] + MARGIN)
    angle = float(rng.uniform(0, np.pi))
    parts, cuts = subdivide(rng, ground, float(rng.uniform(*recipe.side)), angle, 0.10)
    for parcel, use in zip(parts, _uses(rng, recipe, parts), strict=True):
        _DRAW[use](rng, palette, layout, parcel, angle)
    _roads(rng, palette, layout, cuts, built=scene in ("residential", "industrial"))
    if scene == "water":
        layout.water, layout.shape = palette.water(), "river" if rng.random() < 0.5 else "lake"
    elif rng.random() < 0.08:
        layout.water, layout.shape = palette.water(), "pond"
    return layout


def plan_landscape(rng: Generator, palette: Palette, size: tuple[float, float]) -> Layout:
    """Lay out a wide piece of ground in which every scene has its quarter: fields, a village, woods, works, a river."""
    layout = Layout(size)
    ground = rectangle(-MARGIN, -MARGIN, size[0] + MARGIN, size[1] + MARGIN)
    angle = float(rng.uniform(0, np.pi))
    quarters, cuts = subdivide(rng, ground, 165.0, angle, 0.07)
    scenes = [scene for scene in RECIPES if scene != "water"]
    scenes += ["cropland"] * max(len(quarters) - len(scenes), 0)
    order = rng.permutation(len(quarters))
    for quarter, turn in zip(quarters, order, strict=True):
        recipe = RECIPES[scenes[turn]]
        own_angle = angle + float(rng.normal(0, 0.06))
        parts, inner = subdivide(rng, quarter, float(rng.uniform(*recipe.side)), own_angle, 0.08)
        for parcel, use in zip(parts, _uses(rng, recipe, parts), strict=True):
            _DRAW[use](rng, palette, layout, parcel, own_angle)
        _roads(rng, palette, layout, inner, built=scenes[turn] in ("residential", "industrial"))
    for one in cuts:
        layout.roads.append((strip(one.ends, 7.5 if one.level < 2 else 5.5), palette.surface("asphalt")))
    layout.water, layout.shape = palette.water(), "stream"
    return layout


def _uses(rng: Generator, recipe: Recipe, parcels: list[Polygon]) -> list[str]:
    """Give every parcel a use: the main one until its share is reached, others after their weights."""
    names = list(recipe.others)
    weights = np.array(list(recipe.others.values()), np.float64)
    weights = rng.dirichlet(weights)  # each place has its own neighbourhood
    left = float(rng.uniform(*recipe.share)) * sum(map(area, parcels))
    uses = [""] * len(parcels)
    for i in rng.permutation(len(parcels)):
        if recipe.main is not None and left > 0:
            uses[i] = recipe.main
            left -= area(parcels[i])
        else:
            uses[i] = names[int(rng.choice(len(names), p=weights))]
    return uses


def _roads(rng: Generator, palette: Palette, layout: Layout, cuts: list, *, built: bool) -> None:
    """Lanes between parcels: paved where people live, tracks elsewhere; most boundaries have none."""
    for one in cuts:
        if built or (one.level == 0 and rng.random() < 0.6):
            layout.roads.append((strip(one.ends, rng.uniform(4.5, 7.0)), palette.surface("asphalt")))
        elif rng.random() < 0.3:
            layout.roads.append((strip(one.ends, rng.uniform(2.6, 3.6)), palette.surface("dirt road")))


def _field(rng: Generator, palette: Palette, layout: Layout, parcel: Polygon, angle: float) -> None:
    layout.parcels.append((parcel, palette.field(_long_side(parcel))))
    verge = palette.grass()
    for ends in _edges(parcel):
        length = float(np.hypot(*(ends[1] - ends[0])))
        if rng.random() < 0.7:
            layout.margins.append((strip(ends, rng.uniform(1.2, 3.0)), verge))
        if rng.random() < 0.16 and length > 15:  # a hedge
            along = np.arange(0, length, 4.2)
            points = ends[0] + (ends[1] - ends[0]) * (along / length)[:, None]
            _plant(rng, layout, points + rng.normal(0, 0.7, points.shape), palette.trees("broadleaf"), 1.8, 3.2, 5.5)


def _grass(rng: Generator, palette: Palette, layout: Layout, parcel: Polygon, angle: float) -> None:
    layout.parcels.append((parcel, palette.grass()))
    count = rng.poisson(area(parcel) * rng.gamma(0.7, 0.0012))
    _plant(rng, layout, _scatter(rng, parcel, count), palette.trees("broadleaf"), 2.0, 4.5, 8)


def _forest(rng: Generator, palette: Palette, layout: Layout, parcel: Polygon, angle: float) -> None:
    kind = "conifer" if rng.random() < palette.conifers else "broadleaf"
    stand = palette.trees(kind)
    layout.parcels.append((parcel, stand))
    spacing = rng.uniform(4.0, 5.0) if kind == "conifer" else rng.uniform(5.0, 7.0)
    points = _lattice(parcel, spacing, rng.uniform(0, np.pi), overlap=2.0)
    points = points + rng.normal(0, spacing * 0.24, points.shape)
    second = palette.trees("broadleaf")
    other = rng.random(len(points)) < rng.uniform(0, 0.25)
    _plant(rng, layout, points[~other], stand, spacing * 0.45, spacing * 0.75, 15)
    _plant(rng, layout, points[other], second, spacing * 0.5, spacing * 0.8, 14)


def _orchard(rng: Generator, palette: Palette, layout: Layout, parcel: Polygon, angle: float) -> None:
    trees, floor = palette.orchard()
    layout.parcels.append((parcel, floor))
    spacing = float(rng.uniform(4.0, 7.5))
    points = _lattice(parcel, spacing, _long_side(parcel), overlap=-1.5)
    points = points[rng.random(len(points)) < 0.96]
    low = rng.uniform(0.27, 0.36) * spacing
    _plant(rng, layout, points + rng.normal(0, 0.2, points.shape), trees, low, low * 1.25, rng.uniform(2.5, 4.5))


def _homes(rng: Generator, palette: Palette, layout: Layout, parcel: Polygon, angle: float) -> None:
    """Lots along a street, each with a house, a drive and garden trees."""
    lots, cuts = subdivide(rng, parcel, float(rng.uniform(19, 29)), _long_side(parcel), 0.04)
    roof = str(rng.choice(["tile roof", "tile roof", "slate roof", "metal roof"]))
    for lot in lots:
        layout.parcels.append((lot, palette.grass(garden=True)))
        yard = shrink(lot, 3.0)
        if yard is None or area(yard) < 60:
            continue
        turn = _long_side(lot) + (np.pi / 2 if rng.random() < 0.2 else 0)
        kind = roof if rng.random() < 0.7 else str(rng.choice(["tile roof", "slate roof", "metal roof"]))
        half = (rng.uniform(4.5, 7.5), rng.uniform(3.4, 5.0))
        centre = yard.mean(0) + rng.normal(0, 1.0, 2)
        layout.buildings.append(
            Building(
                centre[0],
                centre[1],
                half,
                turn,
                rng.uniform(2.8, 5.5),
                rng.uniform(1.5, 3.0),
                palette.roof(kind),
                rng.uniform(0.8, 1.15),
                "house",
            )
        )
        gate = lot[int(rng.integers(len(lot)))]
        layout.roads.append(
            (strip(np.array([centre, centre + 0.8 * (gate - centre)]), 2.6), palette.surface("concrete"))
        )
        gardens = _scatter(rng, yard, rng.poisson(area(lot) * 0.005))
        away = np.hypot(*(gardens - centre).T) > half[0] if len(gardens) else np.zeros(0, bool)
        _plant(rng, layout, gardens[away], palette.trees("broadleaf"), 1.4, 3.4, 6)
    for one in cuts[:1]:
        layout.roads.append((strip(one.ends, rng.uniform(4.5, 6.0)), palette.surface("asphalt")))


def _works(rng: Generator, palette: Palette, layout: Layout, parcel: Polygon, angle: float) -> None:
    """Halls with flat roofs on paved yards."""
    yard = palette.surface(str(rng.choice(["asphalt", "concrete", "gravel"], p=[0.45, 0.35, 0.2])))
    layout.parcels.append((parcel, palette.grass(garden=True)))
    paved = shrink(parcel, float(rng.uniform(2, 6)))
    if paved is None:
        return
    layout.parcels.append((paved, yard))
    for lot in subdivide(rng, paved, float(rng.uniform(32, 48)), _long_side(parcel), 0.0)[0]:
        inner = shrink(lot, float(rng.uniform(4, 8)))
        if inner is None or area(inner) < 120 or rng.random() < 0.12:
            continue
        turn = _long_side(parcel)
        axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        spread = (inner @ axes.T).max(0) - (inner @ axes.T).min(0)
        middle = inner.mean(0)
        half = np.maximum(spread * rng.uniform(0.36, 0.46, 2), 4)
        kind = str(rng.choice(["metal roof", "metal roof", "slate roof", "blue roof", "concrete"]))
        layout.buildings.append(
            Building(
                middle[0],
                middle[1],
                (half[0], half[1]),
                turn,
                rng.uniform(6, 12),
                0.35,
                palette.roof(kind),
                rng.uniform(0.75, 1.15),
                "hall",
            )
        )
    count = rng.poisson(area(parcel) * 0.0012)
    _plant(rng, layout, _scatter(rng, parcel, count), palette.trees("broadleaf"), 1.5, 3.0, 6)


def _bare(rng: Generator, palette: Palette, layout: Layout, parcel: Polygon, angle: float) -> None:
    layout.parcels.append((parcel, palette.bare()))


_DRAW = {
    "field": _field,
    "grass": _grass,
    "forest": _forest,
    "orchard": _orchard,
    "homes": _homes,
    "works": _works,
    "bare": _bare,
}


def _plant(
    rng: Generator, layout: Layout, points: NDArray, material: int, low: float, high: float, height: float
) -> None:
    """Crowns of radius ``low`` .. ``high`` at points ``(n, 2)``."""
    radii = rng.uniform(low, high, len(points))
    heights = height * rng.uniform(0.75, 1.2, len(points))
    tints = rng.normal(1.0, 0.10, len(points)).clip(0.75, 1.3)
    layout.crowns += [
        Crown(float(x), float(y), float(r), float(h), material, float(tint))
        for (x, y), r, h, tint in zip(points, radii, heights, tints, strict=True)
    ]


def _edges(polygon: Polygon) -> list[Polygon]:
    return [np.array([polygon[i - 1], polygon[i]]) for i in range(len(polygon))]


def _long_side(polygon: Polygon) -> float:
    """Direction of the longest edge, radians."""
    sides = polygon - np.roll(polygon, 1, axis=0)
    x, y = sides[int(np.argmax(np.hypot(*sides.T)))]
    return float(np.arctan2(y, x))


def _inside(polygon: Polygon, points: NDArray, overlap: float) -> NDArray[np.bool_]:
    """Which points ``(n, 2)`` lie in a convex polygon, or at most ``overlap`` metres outside (inside, if negative)."""
    start, stop = polygon, np.roll(polygon, -1, axis=0)
    edge = stop - start
    keep = np.hypot(*edge.T) > 1e-6
    start, edge = start[keep], edge[keep]
    normal = np.stack([edge[:, 1], -edge[:, 0]], 1) / np.hypot(*edge.T)[:, None]
    normal *= np.where(((polygon.mean(0) - start) * normal).sum(1) > 0, -1, 1)[:, None]
    return (points @ normal.T - (start * normal).sum(1) <= overlap).all(1)


def _scatter(rng: Generator, polygon: Polygon, count: int) -> NDArray:
    """At most ``count`` random points in a convex polygon."""
    points = rng.uniform(polygon.min(0), polygon.max(0), (count, 2))
    return points[_inside(polygon, points, -1.0)]


def _lattice(polygon: Polygon, spacing: float, angle: float, overlap: float) -> NDArray:
    """A square lattice of points in a convex polygon."""
    centre = polygon.mean(0)
    reach = int(np.hypot(*(polygon.max(0) - polygon.min(0))) / spacing / 2) + 2
    steps = np.arange(-reach, reach + 1) * spacing
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = centre + grid @ turn
    return points[_inside(polygon, points, overlap)]
