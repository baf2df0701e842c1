"""The README walked through from nothing to a map: its own commands, in its order, with a browser for the clicks.

Simulated places and a model of one step: this shows that the way leads through, not what a model is worth.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from skysense.cli import main
from skysense.data.earth import simulate_scene
from skysense.maps.product.read import open_product
from tests.examples.test_readme import ROOT, blocks
from tests.viewer.browser import chromium, click, opened

SHORTER = {  # the same commands, on less
    "simulate": "--regions 2 --places_per_region 2 --footprint_cells 8",
    "pretrain": "--steps 1 --batch_size 2 --views.s2_frames 1 --views.s1_frames 1",
    "view": "--port 0 --no_browser true",
}
WAY = ("simulate runs/earth", "places check", "pretrain runs/earth", "embed runs/demo/scene.tif map.tif",
       "view map.tif", "search map.tif", "fewshot map.tif")  # fmt: skip
CELLS = {"wood": [(12, 19), (17, 38)], "soil": [(23, 23), (29, 23)]}  # rows and columns of 10 m, as the scene shows


@pytest.mark.long
def test_the_way_from_a_scene_to_a_map_in_its_place_on_earth(tmp_path, monkeypatch, capsys):
    lines = [line for block in blocks("") for line in block.replace("\\\n", " ").splitlines()]
    places = [next(at for at, line in enumerate(lines) if line.startswith(f"skysense {start}")) for start in WAY]
    assert places == sorted(places)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    scene = simulate_scene("runs/demo/scene.tif")  # as `make demo` leaves it
    for at in places:
        verb, *arguments = [*shlex.split(lines[at])[1:], *SHORTER.get(lines[at].split()[1], "").split()]
        if verb == "view":
            with viewing(arguments) as address, chromium() as browser, opened(browser, address) as page:
                look_and_label(page, {name: [lonlat(scene, cell) for cell in some] for name, some in CELLS.items()})
        else:
            assert main([verb, *arguments]) == 0, capsys.readouterr()
    found = capsys.readouterr().out
    assert "like the point -88.58,40.14" in found
    labelled = [one["geometry"]["coordinates"] for one in json.loads(Path("labels.geojson").read_text())["features"]]
    assert np.abs(np.subtract(labelled, (-88.58, 40.14))).max() < 0.01
    check(scene, Path("cover.tif"), Path("downloaded.tif"))


@contextmanager
def viewing(arguments: list[str]) -> Iterator[str]:
    """The address that the command prints, until it is ended."""
    command = [sys.executable, "-m", "skysense.cli", "view", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
        finally:
            process.terminate()


def lonlat(scene: Path, cell: tuple[int, int]) -> tuple[float, float]:
    """Where the scene shows the middle of a cell."""
    with rasterio.open(scene) as image:
        x, y = image.xy(32 * cell[0] + 15.5, 32 * cell[1] + 15.5)
        (lon,), (lat,) = transform(image.crs, "EPSG:4326", [x], [y])
    return lon, lat


def look_and_label(page, places: dict[str, list[tuple[float, float]]]) -> None:
    """A click, two classes of two points each, and what is saved of them."""
    click(page, *places["wood"][0], "similar")
    page.keyboard.press("l")
    for key, (name, points) in enumerate(places.items(), 1):
        page.keyboard.press(str(key))
        for lon, lat in points:
            click(page, lon, lat, "fewshot" if key == 2 else None)
        page.get_by_label(f"Name of class {key}").fill(name)
        page.get_by_label(f"Name of class {key}").press("Tab")
        page.locator("#title").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save labels").click()
    waiting.value.save_as("labels.geojson")
    page.locator("#label").get_by_label("What to download").select_option("all")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Classes as GeoTIFF").click()
    waiting.value.save_as("downloaded.tif")


def check(scene: Path, cover: Path, downloaded: Path) -> None:
    """Both maps lie where the scene lies, cell by cell, and every labelled place has its class."""
    with rasterio.open(scene) as image, rasterio.open(cover) as dataset, rasterio.open(downloaded) as from_page:
        for one in (dataset, from_page):
            assert one.crs == image.crs and one.res == (10, 10) and one.shape == (32, 64)
            assert tuple(one.bounds) == pytest.approx(tuple(image.bounds), abs=1e-6)
        with open_product(cover) as product:
            names = product.layers["classes"].classes
        classes, on_page = dataset.read(1), from_page.read(1)
        for at, (name, cells) in enumerate(CELLS.items()):
            assert [names[classes[cell]] for cell in cells] == [name] * 2
            assert from_page.tags()[f"CLASS_{at}"] == name and [on_page[cell] for cell in cells] == [at] * 2
        wood = classes == names.index("wood")
        assert 0.2 < wood.mean() < 0.98 and (wood == (on_page == 0)).mean() > 0.99  # learnt alike
