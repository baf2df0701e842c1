"""What a place costs to curate, piece by piece: the measured figures of src/skysense/curate/cost_figures.yaml.

Run: ``SKYSENSE_DATA=KIT OMP_NUM_THREADS=1 python benchmarks/curation_cost.py`` with the kit of small real imagery; some
minutes. Nothing goes over the network:

- ``tile``: rasters with the size, tiles and compression of the archives' files, covered by mosaics of real pixels:
  bytes of a tile.
- ``read``: windows of them, read through the loopback as a curation reads them: requests, bytes, and seconds of a core,
  decompression included, encryption not.
- ``stored``: real pixels written into shards: bytes of a frame, of an image.
- ``made``: curations against the rehearsal archive: seconds of a core for all that is not reading.

Every figure comes with the 95 % interval of its mean (Student's t) over tiles, windows, shards or curations.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml
from _archive_files import CANVAS, CRS, NORTH, WEST, Array, Layout, aerial, layouts, mosaic, served
from _blocks import rasters_s1, rasters_s2
from rasterio.enums import Resampling
from scipy.stats import t as student

from skysense.curate import place
from skysense.curate.acquisition import Asset
from skysense.curate.catalogue import PRESETS
from skysense.curate.cog import read_stack
from skysense.curate.grid import PlaceGrid
from skysense.curate.http import Session
from skysense.curate.rehearsal import simulated_archive
from skysense.curate.rehearsal.footprints import transformer
from skysense.curate.run import Pace, curate
from skysense.curate.sample import Settings
from skysense.curate.settings import Curation
from skysense.data.shards.write import Entry, write_shard
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A, Sensor

CELLS = 64
WINDOWS = 100
SHARDS = 8
SIDE = 2048  # of an image
RUNS = 4
CORNER = (244_020 + 300, 4_500_240 + 300)  # EPSG:32616: within the northern granule of the rehearsal archive


def show(name: str, values: Sequence[float], unit: str) -> None:
    """A figure as a line."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(student.ppf(0.975, len(values) - 1)) * error
    print(f"{name:<22} {mean:>12,.5g}  {mean - half:>12,.5g} .. {mean + half:<12,.5g} {unit}", flush=True)


def read(layout: Layout, urls: Sequence[str], rng: np.random.Generator) -> dict[str, list[float]]:
    """Windows at random on the canvases: requests, bytes and seconds of a core of each."""
    found: dict[str, list[float]] = {"requests": [], "bytes": [], "processor": []}
    first, room = round(layout.tile * layout.metres / 10), CANVAS * layout.tile * layout.metres / 10 - CELLS - 8
    for _ in range(WINDOWS):
        east, south = (10 * (first + 4 + int(rng.integers(room))) for _ in range(2))
        grid = PlaceGrid(CRS, WEST + east, NORTH - south, (CELLS, CELLS))
        url = urls[rng.integers(len(urls))]
        assets = [Asset(url, band=band) for band in range(1, layout.bands + 1)]
        with Session() as session:
            session.read_range(url, 0, 1)  # there is a connection, as mostly in a run
            before, start = session.traffic, time.process_time()
            read_stack(assets, grid, layout.how.METRES_PER_PX, resampling=layout.how.RESAMPLING, session=session)
            found["processor"].append(time.process_time() - start)
            found["requests"].append(session.traffic.requests - before.requests)
            found["bytes"].append(session.traffic.bytes - before.bytes)
    return found


def files(kit: Path, rng: np.random.Generator) -> None:
    """The figures of the archives' files."""
    with tempfile.TemporaryDirectory() as temporary, served(Path(temporary)) as url:
        for layout in layouts(kit, rng):
            names = [f"{layout.name}{at}.tif" for at in range(len(layout.canvases))]
            sizes = [
                layout.write(Path(temporary) / name, canvas)
                for name, canvas in zip(names, layout.canvases, strict=True)
            ]
            show(f"tile.{layout.name}", [size for one in sizes for size in one], "B")
            for what, values in read(layout, [f"{url}/{name}" for name in names], rng).items():
                show(f"read.{layout.name}.{what}", values, {"requests": "", "bytes": "B", "processor": "s"}[what])


def stored(kit: Path, rng: np.random.Generator) -> None:
    """The figures of what is stored."""
    images = _crops([one[0] for one in rasters_s2(kit, interpolated=False)])
    echoes = _crops([one[0] for one in rasters_s1(kit)])
    soft, sharp = [one[:3] for one in aerial(kit)], []
    for path in sorted(kit.glob("flair/*/image.tif")):  # 0.2 m
        with rasterio.open(path) as file:
            sharp.append(file.read([1, 2, 3], out_shape=(3, 328, 328), resampling=Resampling.cubic))
    sizes: dict[str, list[float]] = {"s2": [], "s1": [], "hr": [], "hr of 0.2 m": []}
    spent = []
    for at in range(SHARDS):
        sizes["s2"].append(_size(SENTINEL2_L2A, np.stack(images[at::SHARDS])))
        sizes["s1"].append(_size(SENTINEL1, np.stack(echoes[at::SHARDS])))
        image = _enlarged(mosaic(soft, 1067, rng))[None]
        start = time.process_time()
        sizes["hr"].append(_size(OPTICAL_HR, image))
        spent.append(time.process_time() - start)
        sizes["hr of 0.2 m"].append(_size(OPTICAL_HR, mosaic(sharp, SIDE, rng)[None]))
    for key, values in sizes.items():
        show(f"stored.{key}", values, "B")
    show("made.image.processor", spent, "s")


def _crops(images_CHW: Sequence[Array]) -> list[Array]:
    """As many places as fit into each image."""
    return [
        image[:, row : row + CELLS, col : col + CELLS]
        for image in images_CHW
        for row in range(0, image.shape[1] - CELLS + 1, CELLS)
        for col in range(0, image.shape[2] - CELLS + 1, CELLS)
    ]


def _enlarged(image_CHW: Array) -> Array:
    """An image of 0.6 m on the grid of a place."""
    with rasterio.MemoryFile() as memory:
        where = rasterio.Affine.scale(0.6)
        profile = {"driver": "GTiff", "count": 3, "height": 1067, "width": 1067, "dtype": "uint8", "transform": where}
        with memory.open(**profile) as file:
            file.write(image_CHW)
        with memory.open() as file:
            return file.read(out_shape=(3, SIDE, SIDE), resampling=Resampling.bilinear)


def _size(sensor: Sensor, values_TCHW: Array) -> float:
    """Stored bytes of a frame, its masks and its part of the index included."""
    count, _, height, width = values_TCHW.shape
    days = np.datetime64("2021-01-01") + np.arange(count)
    series = Series(sensor, values_TCHW, days, np.ones((count, height, width), bool))
    with tempfile.TemporaryDirectory() as temporary:
        info, _ = write_shard(temporary, "one", [Entry(Sample("one", {sensor.modality: series}))])
    return info.bytes / count


@contextmanager
def archive(folder: Path) -> Iterator[str]:
    """The rehearsal archive in a process of its own; its address."""
    command = [sys.executable, "-m", "skysense.curate.rehearsal", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def made(rng: np.random.Generator) -> None:
    """The figures of a curation of series beside reading: search, harmonising, staging, packing."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulated_archive(folder / "archive")
        with archive(folder / "archive") as url:
            show("made.frame.processor", [_curated(folder / str(run), url, rng) for run in range(RUNS)], "s")


def _curated(folder: Path, url: str, rng: np.random.Generator) -> float:
    """Seconds of a core, per frame, that a curation of some places spends beside reading files."""
    folder.mkdir()
    told = yaml.safe_load(PRESETS.read_text(encoding="utf-8"))["planetary-computer"]
    told |= {"url": f"{url}/planetary/api/stac/v1", "simulated": True}
    told["signing"] = {
        "files": f"{url}/blob/{{account}}/{{container}}/",
        "token_url": f"{url}/planetary/api/sas/v1/token/{{account}}/{{container}}",
    }
    told["collections"] = [one for one in told["collections"] if one["modality"] != "hr"]
    (folder / "archive.yaml").write_text(yaml.safe_dump({"planetary": told}), encoding="utf-8")
    to_degrees = transformer("EPSG:32616", "EPSG:4326")
    lonlat = [to_degrees.transform(*(CORNER + rng.uniform(0, 2200, 2) + (320, 320))) for _ in range(16)]
    lines = ["name,lon,lat", *(f"p{at},{lon},{lat}" for at, (lon, lat) in enumerate(lonlat))]
    (folder / "places.csv").write_text("\n".join(lines), encoding="utf-8")
    settings = Curation(
        years=(2022, 2022),
        places=folder / "places.csv",
        catalogues=(str(folder / "archive.yaml"),),
        most_cloud=80,
        sample=Settings(fewest_s2=1, fewest_s1=1),
    )
    reading: list[float] = []

    def timed(*args: Any, **options: Any) -> Any:
        start = time.thread_time()
        try:
            return read_stack(*args, **options)
        finally:
            reading.append(time.thread_time() - start)

    place.read_stack = timed  # type: ignore[attr-defined]
    start = time.process_time()
    summary = curate(settings, folder / "corpus", Pace(workers=2, connections=4))
    spent = time.process_time() - start
    assert summary is not None
    counts = summary.tally.counts.values()
    lost = ("repeated", "replaced", "merged", "thinned")
    frames = sum(one.get("found", 0) - sum(one.get(name, 0) for name in lost) for one in counts)
    return (spent - sum(reading)) / frames


def main() -> int:
    """Measure everything, or the parts that are named."""
    wanted = sys.argv[1:] or ["files", "stored", "made"]
    if "SKYSENSE_DATA" not in os.environ:
        print("nothing was measured: SKYSENSE_DATA must name the folder of the kit of small imagery")
        return 0
    rng, kit = np.random.default_rng(0), Path(os.environ["SKYSENSE_DATA"])
    if "files" in wanted:
        files(kit, rng)
    if "stored" in wanted:
        stored(kit, rng)
    if "made" in wanted:
        made(rng)
    return 0


if __name__ == "__main__":
    sys.exit(main())
