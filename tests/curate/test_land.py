from __future__ import annotations

import importlib.util
import zipfile

import numpy as np
import pytest

from skysense.curate.land import _edges, land
from skysense.errors import InputError
from tests.curate.earths import all_land, land_of_boxes

installed = pytest.mark.skipif(
    importlib.util.find_spec("global_land_mask") is None, reason="global_land_mask is not installed"
)


@installed
def test_known_places():
    on_land = {
        "Munich": (11.58, 48.14),
        "Sahara": (10, 25),
        "Death Valley, below the sea": (-116.9, 36.25),
        "Lake Victoria": (33, -1),
        "Caspian Sea": (51, 42),
        "Greenland": (-40, 75),
        "Fiji": (178.0, -17.8),
        "South Pole": (0, -90),
        "Chukotka beyond the antimeridian": (-179.5, 68),
    }
    at_sea = {
        "Atlantic": (-30, 0),
        "North Pole": (0, 90),
        "Baltic": (20, 58),
        "Date line": (180, 0),
        "Ross Sea": (180, -75),
    }
    assert land().holds(np.array(list(on_land.values()), float)).all()
    assert not land().holds(np.array(list(at_sea.values()), float)).any()


@installed
def test_the_share_of_land():
    rng = np.random.default_rng(0)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, 200_000)))
    share = land().holds(np.stack([rng.uniform(-180, 180, len(lat)), lat], axis=1)).mean()
    assert share == pytest.approx(0.29, abs=0.004)  # 148.9 of 510.1 million square kilometres


def test_a_pixel_of_land_ends_where_the_next_begins():
    island = land_of_boxes([(10, 50, 10 + 2 / 120, 50 + 1 / 120)])
    step = 1 / 120
    inside = [(10.0001, 50.0001), (10 + 2 * step - 1e-6, 50 + step - 1e-6)]
    outside = [(9.9999, 50.001), (10 + 2 * step + 1e-6, 50.001), (10.001, 49.9999), (10.001, 50 + step + 1e-6)]
    assert island.holds(np.array(inside)).all() and not island.holds(np.array(outside)).any()


def test_touching():
    island = land_of_boxes([(10, 50, 11, 51)])
    assert island.touches(9, 49, 12, 52) and island.touches(10.4, 50.4, 10.5, 50.5)
    assert island.touches(10.99, 50.99, 20, 60) and island.touches(0, 50.5, 10.001, 50.6)
    assert not island.touches(11.1, 50, 12, 51) and not island.touches(10, 51.1, 11, 52)
    assert all_land().touches(-180, -90, -179.9, -89.9) and all_land().touches(179.9, 89.9, 180, 90)


def test_a_foreign_mask_is_refused(tmp_path):
    file = tmp_path / "mask.npz"
    np.savez_compressed(file, mask=np.zeros((10, 20), np.bool_))
    with pytest.raises(InputError, match="another mask"):
        _edges(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mask.npy", b"\x93NUMPY")
    with pytest.raises(InputError, match="cannot be read"):
        _edges(file)
    file.write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be read"):
        _edges(file)
