"""Streaming what a view shows: samples a second beside TorchGeo's `RasterDataset` and beside WebDataset, on one core.

Places of 64 cells with an image of 2048 px, 60 Sentinel-2 and 24 Sentinel-1 frames are written three times: into
shards, as GeoTIFFs of one date (what `RasterDataset` indexes), and into a tar, compressed as in the shards. A sample is
what a view of the published size shows: 16 cells, 20 and 8 frames, 512 px of the image. All sides must have found the
same numbers. WebDataset reads places in the order of the tar and has to decode them whole; the others at random.

    PYTHONPATH=FOLDER python -m benchmarks.loading

FOLDER is where the peers are: ``pip install --target FOLDER torchgeo webdataset``; one that is missing is left out.
The last lines are of two threads against one, and of batches of views against the step of the `tiny` model.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from numcodecs import blosc
from numpy.typing import NDArray
from rasterio.transform import from_bounds

from skysense.data.earth import simulate
from skysense.data.loader import short_turns
from skysense.data.places import Places
from skysense.data.shards.layout import Manifest
from skysense.data.shards.read import Shards
from skysense.data.shards.store import context
from skysense.data.shards.write import Entry, ShardWriter
from skysense.geo import Footprint, Window
from skysense.observation import Sample
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.loop import pretrain
from skysense.sensors import Modality

CELLS, SIDE = 64, 16
FRAMES: dict[Modality, tuple[int, int]] = {"s2": (60, 20), "s1": (24, 8)}
"""Frames of a place, and those that a view shows."""
Arrays = dict[str, NDArray]


def make_places(folder: Path, count: int) -> list[Sample]:
    """Different places out of few simulated ones: turned, moved, three years long."""
    simulate(folder, regions=2, places_per_region=1, footprint_cells=CELLS)
    bases = [sample for _, sample in Places(folder).samples()]
    made = []
    for number in range(count):
        base, rng = bases[number % len(bases)], np.random.default_rng(number)
        rows, cols = (2 * int(move) for move in rng.integers(0, CELLS // 2, 2))  # whole pixels of 20 m
        series = {}
        for key, one in base.series.items():
            moved = np.roll(one.values, (rows * one.sensor.cell_px, cols * one.sensor.cell_px), (2, 3))
            turned = np.ascontiguousarray(np.rot90(moved, number % 4, (2, 3)))
            if key == "hr":
                series[key] = replace(one, values=turned)
                continue
            total = FRAMES[key][0]
            years = -(-total // len(one.dates))
            dates = np.concatenate([one.dates + np.timedelta64(365 * year, "D") for year in range(years)])[:total]
            frames = np.concatenate([np.roll(turned, 2 * year, 2) for year in range(years)])[:total]
            shape = (len(frames), CELLS, CELLS)
            series[key] = replace(one, values=frames, dates=dates, valid=np.ones(shape, bool), clear=None)
        west = 500_000.0 + 1000 * number
        ground = Footprint((west, 5_000_000.0, west + 640, 5_000_640.0), "EPSG:32632")
        made.append(replace(base, name=f"p{number:03d}", series=series, footprint=ground, lon=None, lat=None))
    return made


class View:
    """What is looked at: a function of the number of the look, the same for all sides."""

    def __init__(self, look: int, places: int) -> None:
        rng = np.random.default_rng(look)
        self.place = look % places
        self.window = Window(*(int(start) for start in rng.integers(0, CELLS - SIDE + 1, 2)), SIDE, SIDE)
        self.frames = {key: np.sort(rng.permutation(all_of)[:some]) for key, (all_of, some) in FRAMES.items()}
        self.frames["hr"] = np.array([0])


def shards(samples: list[Sample], folder: Path, workers: int = 1) -> Callable[[int], Arrays]:
    """Ours."""
    if not folder.exists():
        writer = ShardWriter(folder, Manifest("benchmark", simulated=True), places_per_shard=8)
        for sample in samples:
            writer.add(Entry(sample))
        writer.finish()
    corpus = Shards(folder, workers=workers)

    def read(look: int) -> Arrays:
        view = View(look, len(corpus))
        sample = corpus.read_sample(corpus[view.place], window=view.window, frames=view.frames)
        return {key: one.values for key, one in sample.series.items()}

    return read


def _write_tiffs(samples: list[Sample], folder: Path) -> None:
    for sample in samples:
        for key, one in sample.series.items():
            (folder / key).mkdir(parents=True, exist_ok=True)
            for date, image in zip(one.dates, one.values, strict=True):
                count, height, width = image.shape
                assert sample.footprint is not None
                block = min(256, height)
                with rasterio.open(
                    folder / key / f"{sample.name}_{str(date).replace('-', '')}.tif",
                    "w",
                    driver="GTiff",
                    width=width,
                    height=height,
                    count=count,
                    dtype=image.dtype,
                    crs=sample.footprint.crs,
                    transform=from_bounds(*sample.footprint.bounds, width, height),
                    compress="deflate",
                    predictor=3 if image.dtype.kind == "f" else 2,
                    tiled=True,
                    blockxsize=block,
                    blockysize=block,
                    interleave="pixel",
                ) as file:
                    file.write(image)


def torchgeo(samples: list[Sample], folder: Path) -> Callable[[int], Arrays]:
    """`RasterDataset` as it is used: one file a date, its date in its name."""
    import pandas
    from torchgeo.datasets import RasterDataset

    _write_tiffs(samples, folder)

    def opened(key: str) -> RasterDataset:
        kind = type(key, (RasterDataset,), {"filename_regex": r"p\d+_(?P<date>\d+)", "date_format": "%Y%m%d"})
        return kind(folder / key)

    sets = {key: opened(key) for key in samples[0].series}

    def read(look: int) -> Arrays:
        view = View(look, len(samples))
        sample, found = samples[view.place], {}
        ground = sample.footprint
        assert ground is not None
        left, top = ground.bounds[0] + 10 * view.window.col, ground.bounds[3] - 10 * view.window.row
        for key, one in sample.series.items():
            images = []
            for date in one.dates[view.frames[key]]:
                day = pandas.Timestamp(date)
                query = (
                    slice(left, left + 10 * SIDE),
                    slice(top - 10 * SIDE, top),
                    slice(day, day + pandas.Timedelta(hours=23)),
                )
                images.append(sets[key][query]["image"].numpy())
            found[key] = np.stack(images)
        return found

    return read


def geotiffs(samples: list[Sample], folder: Path) -> Callable[[int], Arrays]:
    """The same files, opened and read by rasterio with nothing around it."""
    if not folder.exists():
        _write_tiffs(samples, folder)

    def read(look: int) -> Arrays:
        view = View(look, len(samples))
        found = {}
        for key, one in samples[view.place].series.items():
            part = view.window.scaled(one.sensor.cell_px)
            images = []
            for date in one.dates[view.frames[key]]:
                name = f"{samples[view.place].name}_{str(date).replace('-', '')}.tif"
                pixels = tuple((side.start, side.stop) for side in part.slices())
                with rasterio.open(folder / key / name) as file:
                    images.append(file.read(window=pixels))
            found[key] = np.stack(images)
        return found

    return read


def webdataset(samples: list[Sample], folder: Path) -> Callable[[int], Arrays]:
    """A tar of places, compressed by the codec of the shards."""
    import webdataset as wds

    blosc.use_threads = False
    folder.mkdir()
    tar = folder / "places-000000.tar"
    with tarfile.open(tar, "w") as file:
        for sample in samples:
            for key, one in sample.series.items():
                for part, bands in _parts(one.values):
                    codec = blosc.Blosc("zstd", 5, blosc.BITSHUFFLE if bands.itemsize > 1 else blosc.NOSHUFFLE)
                    content = b"".join(
                        len(one).to_bytes(4, "little") + one
                        for one in (codec.encode(np.ascontiguousarray(piece)) for piece in _blocks(bands))
                    )
                    entry = tarfile.TarInfo(f"{sample.name}.{key}{part}")
                    entry.size = len(content)
                    file.addfile(entry, io.BytesIO(content))

    def stream() -> Iterator[dict[str, bytes]]:
        while True:
            yield from wds.WebDataset(str(tar), shardshuffle=False, empty_check=False)

    source = stream()
    shapes = {key: (one.values.shape, one.values.dtype) for key, one in samples[0].series.items()}

    def read(look: int) -> Arrays:
        view, members = View(look, len(samples)), next(source)
        assert members["__key__"] == samples[view.place].name
        found = {}
        for key, (shape, dtype) in shapes.items():
            whole = np.empty(shape, dtype)
            for part, bands in _parts(whole, members, key):
                _decode(members[f"{key}{part}"], bands)
                if part == "half":
                    whole[:, _COARSE] = bands.repeat(2, 2).repeat(2, 3)
                elif f"{key}half" in members:
                    whole[:, _FINE] = bands
            rows, cols = view.window.scaled(shape[2] // CELLS).slices()
            found[key] = whole[view.frames[key]][:, :, rows, cols]
        return found

    return read


_FINE, _COARSE = [0, 1, 2, 6], [3, 4, 5, 7, 8, 9]
"""Bands of Sentinel-2 measured at 10 m, and at 20 m."""


def _parts(values: NDArray, members: dict[str, bytes] | None = None, key: str = "") -> list[tuple[str, NDArray]]:
    """The arrays that a series is stored as: bands of 20 m once and not repeated, as in the shards."""
    if values.shape[1] != 10 or (members is not None and f"{key}half" not in members):
        return [("", values)]
    return [("", np.ascontiguousarray(values[:, _FINE])), ("half", np.ascontiguousarray(values[:, _COARSE, ::2, ::2]))]


def _blocks(values: NDArray) -> Iterator[NDArray]:
    side = max(16, values.shape[2] // 16 if values.shape[2] > 64 else values.shape[2] // 2)
    for frame in values:
        for row in range(0, frame.shape[1], side):
            for col in range(0, frame.shape[2], side):
                yield frame[:, row : row + side, col : col + side]


def _decode(content: bytes, into: NDArray) -> None:
    at, codec, view = 0, blosc.Blosc("zstd"), memoryview(content)
    for block in _blocks(into):
        size = int.from_bytes(view[at : at + 4], "little")
        block[:] = np.frombuffer(codec.decode(view[at + 4 : at + 4 + size]), into.dtype).reshape(block.shape)
        at += 4 + size


def stored(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def rate(read: Callable[[int], Arrays], looks: range) -> float:
    """Samples a second of processor time, of one pass."""
    began = time.process_time()
    for look in looks:
        read(look)
    return len(looks) / (time.process_time() - began)


def main() -> None:
    """Write, compare, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        samples = make_places(root / "earth", options.places)
        sides = {"shards": shards(samples, root / "shards")}
        sizes = {"shards": stored(root / "shards")}
        for peer, make in (("torchgeo", torchgeo), ("geotiffs", geotiffs), ("webdataset", webdataset)):
            if peer == "geotiffs" or importlib.util.find_spec(peer):
                where = root / ("webdataset" if peer == "webdataset" else "tiffs")
                sides[peer] = make(samples, where)
                sizes[peer] = stored(where)
        for look in range(3):
            expected = sides["shards"](look)
            for peer, read in sides.items():
                found = read(look) if peer != "webdataset" or look < len(samples) else expected
                for key, values in expected.items():
                    np.testing.assert_array_equal(values, found[key], err_msg=f"{peer} {key}")
        compare(sides, sizes, options.places, options.rounds)
        threads(samples, root / "shards", options.rounds)
        beside_step(root / "shards", root / "run")


def compare(sides: dict[str, Callable[[int], Arrays]], sizes: dict[str, int], places: int, rounds: int) -> None:
    """All sides in turn, round after round."""
    rates: dict[str, list[float]] = {peer: [] for peer in sides}
    start = 3
    for _ in range(rounds):
        for peer, read in sides.items():
            rates[peer].append(rate(read, range(start, start + places)))
        start += places
    ours = rates["shards"]
    print(f"{'':<12}{'samples/s':>10}{'MB a place':>12}{'ours is':>9}")
    for peer, found in rates.items():
        ratio = [mine / their for mine, their in zip(ours, found, strict=True)]
        spread = f"{statistics.median(ratio):7.2f} x ({min(ratio):.2f} to {max(ratio):.2f})"
        print(f"{peer:<12}{statistics.median(found):10.1f}{sizes[peer] / places / 1e6:12.2f}{spread}")


def threads(samples: list[Sample], folder: Path, rounds: int) -> None:
    """Two threads against one, by the clock."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for workers, rates in found.items():
            context.cache_clear()  # both begin with nothing kept
            read = shards(samples, folder, workers)
            with short_turns(), ThreadPoolExecutor(workers) as pool:
                list(pool.map(read, range(20)))
                began = time.perf_counter()
                start = 1000 * (number + 1)
                list(pool.map(read, range(start, start + 300)))
                rates.append(300 / (time.perf_counter() - began))
    gain = [two / one for one, two in zip(found[1], found[2], strict=True)]
    one, two = (statistics.median(found[workers]) for workers in (1, 2))
    print(f"1 thread {one:.0f}, 2 threads {two:.0f} samples/s by the clock: {statistics.median(gain):.2f} x")


def beside_step(folder: Path, out: Path) -> None:
    """What a step of `tiny` waits for its places, of a real run."""
    config = PretrainConfig(steps=12, batch_size=8, checkpoint_every=100)
    waits: list[float] = []

    def on_step(step: int, values: dict[str, float]) -> None:
        if step > 1:
            waits.append(values["waited"] / (values["waited"] + values["seconds"]))

    pretrain(config, Shards(folder), out, device="cpu", on_step=on_step)
    print(f"a step of tiny waits {statistics.median(waits):.1%} of its time for its {config.batch_size} places")


if __name__ == "__main__":
    main()
