"""Positions of cells: rotated grids, the antimeridian, polygons."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from skysense.errors import InputError
from skysense.maps.grid import Grid
from skysense.maps.ground import Ground, metres_between
from tests.maps.feature_maps import TURNED, UTM

GRIDS = {
    "rotated": Grid(UTM, TURNED, 40, 50),
    "over the antimeridian, UTM": Grid(CRS.from_epsg(32660), Affine(1000, 0, 780_000, 0, -1000, 1000_000), 30, 90),
    "over the antimeridian, degrees": Grid(CRS.from_epsg(4326), Affine(0.01, 0, 179.8, 0, -0.01, 10), 30, 60),
    "beyond -180, degrees": Grid(CRS.from_epsg(4326), Affine(0.01, 0, -180.3, 0, -0.01, 10), 30, 60),
}


@pytest.mark.parametrize("name", GRIDS)
def test_cells_and_positions_are_inverse(name):
    grid = GRIDS[name]
    ground = Ground(grid)
    row_N, col_N = (one.ravel() for one in np.mgrid[: grid.height, : grid.width])
    lonlat_N2 = ground.lonlat(row_N, col_N)
    assert np.abs(lonlat_N2[:, 0]).max() <= 180
    if "antimeridian" in name:
        assert lonlat_N2[:, 0].min() < -179 and lonlat_N2[:, 0].max() > 179
    found_row_N, found_col_N, inside_N = ground.cells(lonlat_N2)
    assert inside_N.all()
    np.testing.assert_array_equal(found_row_N, row_N)
    np.testing.assert_array_equal(found_col_N, col_N)
    assert not ground.cells(np.array([[0.0, -40.0]]))[2].any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", GRIDS)
def test_a_position_that_the_crs_does_not_reach_is_off_the_map(name):
    ground = Ground(GRIDS[name])
    assert not ground.cells(np.array([[-95.0, 0.0], [np.inf, np.inf]]))[2].any()
    assert np.isinf(ground.on_grid(np.array([[np.inf, np.inf]]))).all()


def test_side_of_a_cell_and_distances():
    assert Ground(GRIDS["rotated"]).cell_metres == pytest.approx(10, rel=0.01)
    assert Ground(GRIDS["over the antimeridian, degrees"]).cell_metres == pytest.approx(1103, rel=0.01)
    across = metres_between(np.array([[179.9, 0.0], [-179.9, 0.0], [-180, 90]]), np.array([-180.0, 0.0]))
    np.testing.assert_allclose(across, [11_119.5, 11_119.5, 10_007_557], rtol=1e-4)


def test_cells_whose_middle_lies_in_a_polygon():
    shapely = pytest.importorskip("shapely")
    grid = GRIDS["rotated"]
    ground = Ground(grid)
    corners = np.array([[5, 10], [9, 10], [9, 13], [5, 13]])  # columns and rows of cells
    x, y = grid.at(corners[:, 0], corners[:, 1])
    row_N, col_N = ground.cells_in(shapely.Polygon(ground._to_degrees.itransform(zip(x, y, strict=True))))
    assert set(zip(row_N.tolist(), col_N.tolist(), strict=True)) == {(r, c) for r in range(10, 13) for c in range(5, 9)}
    lon, lat = ground.lonlat(np.array([3]), np.array([4]))[0]
    row_N, col_N = ground.cells_in(shapely.box(lon + 1e-6, lat + 1e-6, lon + 2e-6, lat + 2e-6))  # smaller than a cell
    assert (row_N.tolist(), col_N.tolist()) == ([3], [4])
    row_N, _ = ground.cells_in(shapely.box(0, 0, 1, 1))
    assert not len(row_N)


def test_a_crs_without_positions_is_refused():
    local = CRS.from_wkt('LOCAL_CS["here",UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]')
    with pytest.raises(InputError, match="no positions on the Earth"):
        Ground(Grid(local, TURNED, 4, 4))


def test_a_large_polygon_is_looked_at_in_a_regular_pattern():
    shapely = pytest.importorskip("shapely")
    ground = Ground(Grid(UTM, TURNED, 400, 300))
    lonlat_42 = ground.lonlat(np.array([10, 10, 210, 210]), np.array([20, 220, 220, 20]))
    every = set(zip(*ground.cells_in(shapely.Polygon(lonlat_42)), strict=True))
    some = set(zip(*ground.cells_in(shapely.Polygon(lonlat_42), 3000), strict=True))
    assert len(every) >= 199 * 199  # edges run through middles of cells
    assert some == {(row, col) for row, col in every if row % 4 == 0 and col % 4 == 0}
