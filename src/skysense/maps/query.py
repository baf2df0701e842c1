"""What is looked for on a map: the place of a point, of several, of a polygon, or what an image shows.

Letters: P points, N cells, K bands.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.geo import Window, check_position
from skysense.maps.blocks import features_of, vectors_at
from skysense.maps.embed import embed
from skysense.maps.features import FEATURES
from skysense.maps.fit import Components
from skysense.maps.ground import Ground, metres_between
from skysense.maps.job import Settings
from skysense.maps.place_vectors import PlaceVectors
from skysense.maps.product.read import Product, open_product
from skysense.maps.search import Query
from skysense.maps.similarity import query_of
from skysense.model.loading import load
from skysense.model.weights import weights_sha256

_MOST = 1_000_000  # cells of a polygon that is searched for
_EXAMPLES = 1 << 16  # cells of a polygon whose vectors are averaged; of more of them, some evenly spread


def parse_points(texts: list[str]) -> NDArray[np.float64]:
    """Longitudes and latitudes ``(P, 2)`` of points as a person gives them: ``lon,lat`` each.

    Raises:
        InputError: no two numbers, or off the Earth.
    """
    points = []
    for text in texts:
        try:
            lon, lat = map(float, text.split(","))
        except ValueError:
            raise InputError(f"{text!r} is no point", fix='Give "lon,lat" in degrees, e.g. 8.55,47.37') from None
        check_position(lon, lat)
        points.append((lon, lat))
    return np.array(points)


def query_at(product: Product, lonlat_P2: NDArray[np.float64]) -> Query:
    """What is at one or several points: the mean direction of the vectors of their cells.

    Raises:
        InputError: a point outside the map, or without data.
    """
    ground = Ground(product.grid)
    row_P, col_P, inside_P = ground.cells(lonlat_P2)
    vectors_PK = vectors_at(product, features_of(product), row_P, col_P)
    for (lon, lat), inside, vector_K in zip(lonlat_P2.tolist(), inside_P, vectors_PK, strict=True):
        if not inside:
            raise InputError(f"the point {lon:g},{lat:g} lies outside the map", file=product.path)
        if np.isnan(vector_K).any():
            raise InputError(f"the map has no data at the point {lon:g},{lat:g}", file=product.path)
    words = f"{len(lonlat_P2)} points" if len(lonlat_P2) > 1 else f"the point {lonlat_P2[0, 0]:g},{lonlat_P2[0, 1]:g}"
    return Query(query_of(vectors_PK), words, lonlat_P2, around=True)


def query_in(product: Product, file: Path) -> Query:
    """What is in the polygons of a GeoJSON file: the mean direction of the vectors of their cells.

    Its position is that of the cell nearest to the middle of its cells. Of a polygon with very many cells a part,
    evenly spread, is averaged; none of them is an answer.

    Raises:
        InputError: no polygons, none with data on the map, or larger ones than an example need be.
    """
    from skysense.curate.geojson import areas_on_earth, read_features, shapely

    area, ground = areas_on_earth(read_features(file), file), Ground(product.grid)
    found = [np.stack(ground.cells_in(part), axis=1) for part in shapely().get_parts(area)]
    if (count := sum(map(len, found))) > _MOST:
        fix = "Draw a smaller one: a part of what is looked for is example enough"
        raise InputError(f"{count:,} cells lie in its polygons, more than {_MOST:,}", file=file, fix=fix)
    cells_N2 = np.unique(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=0)
    some_N2 = cells_N2[:: max(1, -(-len(cells_N2) // _EXAMPLES))]
    vectors_NK = vectors_at(product, features_of(product), *some_N2.T)
    seen_N = ~np.isnan(vectors_NK[:, 0])
    if not seen_N.any():
        raise InputError("no cell with data lies in its polygons", file=file, fix=f"Is {product.path} of this ground?")
    row_N, col_N = some_N2[seen_N].T
    middle = int(np.argmin((row_N - row_N.mean()) ** 2 + (col_N - col_N.mean()) ** 2))
    return Query(
        query_of(vectors_NK[seen_N]),
        f"{len(row_N)} cells in {file.name}",
        ground.lonlat(row_N[middle : middle + 1], col_N[middle : middle + 1]),
        cells=cells_N2[:, 0] * product.grid.width + cells_N2[:, 1],
    )


def query_of_image(product: Product, image: Path, model: Path, device: str = "cpu") -> Query:
    """What an image shows: the mean direction of the features that the model of the map finds in it.

    Args:
        product: a map of features.
        image: a GeoTIFF of one sensor that the model reads; of any ground.
        model: file of the model that made the map.
        device: where it runs.

    Raises:
        InputError: another model than that of the map, or an image that cannot be used.
    """
    said = product.metadata
    made_by = said.get("model", {}).get("sha256")
    settings = Settings(window_cells=said.get("window_cells", 16), overlap_cells=said.get("overlap_cells"))
    vectors_NK = _features_of(image, model, device, made_by, settings)
    if (components := said.get("components")) is not None:
        vectors_NK = Components.from_json(components).project(vectors_NK)
    return Query(query_of(vectors_NK), f"{len(vectors_NK)} cells of {image.name}")


def query_of_places(places: PlaceVectors, lonlat_P2: NDArray[np.float64]) -> Query:
    """The places of a collection that are nearest to one or several points: the mean of their directions.

    Raises:
        InputError: no place has a position.
    """
    known = np.flatnonzero(~np.isnan(places.lonlat_N2[:, 0]))
    if not len(known):
        raise InputError("none of its places has a position: look for an image instead")
    near = [known[metres_between(places.lonlat_N2[known], at_2).argmin()] for at_2 in lonlat_P2]
    return _of_places(places, np.unique(near))


def query_of_places_in(places: PlaceVectors, file: Path) -> Query:
    """The places of a collection that lie in the polygons of a GeoJSON file: the mean of their directions.

    Raises:
        InputError: no polygons, or no place in them.
    """
    from skysense.curate.area import read_area

    lonlat_N2 = np.nan_to_num(places.lonlat_N2, nan=np.inf)
    inside = np.flatnonzero(read_area(file).contains(lonlat_N2))
    if not len(inside):
        raise InputError("no place of the collection lies in its polygons", file=file)
    return _of_places(places, inside)


def query_of_image_for_places(places: PlaceVectors, image: Path, model: Path, device: str = "cpu") -> Query:
    """What an image shows, to be compared with places; see `query_of_image`."""
    said = places.metadata
    settings = Settings(window_cells=said.get("window_cells", 16), overlap_cells=said.get("overlap_cells"))
    vectors_NK = _features_of(image, model, device, said.get("model"), settings)
    return Query(query_of(vectors_NK), f"{len(vectors_NK)} cells of {image.name}")


def _of_places(places: PlaceVectors, numbers: NDArray[np.int64]) -> Query:
    words = places.names[numbers[0]] if len(numbers) == 1 else f"{len(numbers)} places"
    return Query(query_of(places.vectors_ND[numbers]), words, places.lonlat_N2[numbers], cells=numbers)


def _features_of(image: Path, model: Path, device: str, made_by: str | None, settings: Settings) -> NDArray[np.float32]:
    """Features ``(N, D)`` of the cells of an image, by the model that made what they are compared with."""
    loaded = load(model, device=device)
    if weights_sha256(loaded.state_dict()) != made_by:
        raise InputError(
            "is not the model that made the features which are searched: they cannot be compared",
            file=model,
            fix="Give the model they were made with, or make them anew with this one",
        )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "example.tif"
        embed(loaded, image, out, settings=settings, quicklook=False)
        with open_product(out) as shown:
            whole = Window(0, 0, shown.grid.height, shown.grid.width)
            vectors_DN = shown.read_values(FEATURES, whole).reshape(len(shown.layers[FEATURES].bands), -1)
    return vectors_DN[:, ~np.isnan(vectors_DN[0])].T
