"""Real pixels: an aerial image beside Sentinel-2, and a year of both Sentinels with bands of 20 m."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.geo import Window
from skysense.maps.blend import Layout
from skysense.maps.sources.open import open_source
from skysense.maps.sources.probe import probe
from skysense.sensors import OPTICAL_HR
from tests.maps.sources.reading import READS, whole

UNITS = {"s2": "reflectance*1e4", "s1": "dB"}


def test_a_year_of_both_sentinels(kit: Path) -> None:
    netcdf, xarray = pytest.importorskip("netCDF4"), pytest.importorskip("xarray")
    folder = kit / "crop_patches" / "be_2018_424a"
    named = {key: {"files": folder / f"{key}.nc", "unit": UNITS[key]} for key in ("s2", "s1")}
    source = open_source(named, reads=READS, frames={"s2": 20})
    assert (source.grid.height, source.grid.width, source.grid.crs.to_epsg()) == (64, 64, 32631)
    with source.open() as reader:
        series = reader.read(Window(20, 40, 16, 16)).series
    assert series["s2"].values.shape == (20, 10, 16, 16)
    assert series["s1"].values.shape == (159, 2, 16, 16)
    with xarray.open_dataset(folder / "s2.nc") as dataset:
        days = dataset.time.values.astype("datetime64[D]")
    with netcdf.Dataset(folder / "s2.nc") as file:
        (day,) = np.flatnonzero(days == series["s2"].dates[7])
        red, edge = file["s2_10m"][day, 2, 20:36, 40:56], file["s2_20m"][day, 0, 10:18, 20:28]
    np.testing.assert_array_equal(series["s2"].values[7, 2], red)
    np.testing.assert_array_equal(series["s2"].values[7, 3], edge.repeat(2, axis=0).repeat(2, axis=1))
    assert 0.2 < series["s2"].clear.mean() < 0.9
    assert probe(source, Layout(64, 64, 16, 2).shuffled()) == ()


def test_an_aerial_image_on_the_grid_of_sentinel(kit: Path) -> None:
    """A grove of 60 m: its pixels of 0.2 m are brought onto 0.3125 m, and look the same when averaged over cells."""
    folder = next(path for path in sorted((kit / "treesat" / "single").iterdir()) if (path / "s2.tif").is_file())
    named = {"hr": folder / "hr.tif", "s2": {"files": folder / "s2.tif", "unit": UNITS["s2"]}}
    source = open_source(named, reads=READS)
    sample = whole(source)
    assert source.grid.transform.a == pytest.approx(10)
    image, seen = sample.series["hr"].values[0], sample.series["hr"].valid[0]
    assert image.shape[1:] == (32 * source.grid.height, 32 * source.grid.width)
    assert seen[32:-32, 32:-32].all()
    alone = whole(open_source(named["hr"], reads={"hr": OPTICAL_HR})).series["hr"]
    assert abs(image[:, seen].mean() - alone.values[0][:, alone.valid[0]].mean()) < 1
    assert any("0.2 m to pixels of 0.312 m" in note for note in source.notes)
