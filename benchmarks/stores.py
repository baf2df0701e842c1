"""The choice of a store: random views out of the same places in the candidates, one thread, processor time.

All hold the same chunks (a frame of 32 x 32 px, all bands; the image in 128 px), compressed by the same codec, blosc
with zstd and bit shuffle; litdata has no chunks within a sample and reads it whole. The places and the views are those
of `benchmarks.loading`.

    PYTHONPATH=FOLDER python -m benchmarks.stores

FOLDER is where the candidates are: ``pip install --target FOLDER zarrs pylance litdata``; missing ones are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from numcodecs import blosc

from benchmarks.loading import Arrays, View, make_places, rate, shards, stored
from skysense.data.places import Places, write_dataset, write_place
from skysense.observation import Sample

CHUNK = {"hr": 128, "s2": 32, "s1": 32}


def places(samples: list[Sample], folder: Path) -> Callable[[int], Arrays]:
    """A folder a place: GeoTIFF and NetCDF."""
    write_dataset(folder, title="benchmark", simulated=True, legends={})
    for sample in samples:
        write_place(folder, sample)
    opened = Places(folder)

    def read(look: int) -> Arrays:
        view = View(look, len(opened))
        sample = opened.read_sample(opened[view.place], window=view.window, frames=view.frames)
        return {key: one.values for key, one in sample.series.items()}

    return read


def zarr_python(samples: list[Sample], folder: Path) -> Callable[[int], Arrays]:
    """The arrays of the shards, read by zarr-python."""
    ours = folder.parent / "shards"
    groups = [zarr.open_group(path, mode="r") for path in sorted(ours.glob("*.zarr"))]
    frames = {key: samples[0].series[key].values.shape[0] for key in samples[0].series}

    def read(look: int) -> Arrays:
        view = View(look, len(samples))
        shard, slot = divmod(view.place, 8)
        found = {}
        for key, one in samples[0].series.items():
            rows = view.frames[key] + slot * frames[key]
            part = view.window.scaled(one.sensor.cell_px)
            names = [name for name in (key, f"{key}_halved") if name in groups[shard]]
            values = np.empty((len(rows), len(one.sensor.bands), part.height, part.width), one.values.dtype)
            for name in names:
                array = groups[shard][name]
                bands = [one.sensor.bands.index(band) for band in array.attrs["bands"]]
                if name == key:
                    values[:, bands] = array.oindex[rows, :, *part.slices()]
                else:
                    coarse = array.oindex[
                        rows,
                        :,
                        part.row // 2 : (part.row + part.height + 1) // 2,
                        part.col // 2 : (part.col + part.width + 1) // 2,
                    ]
                    fine = coarse.repeat(2, 2).repeat(2, 3)[:, :, part.row % 2 :, part.col % 2 :]
                    values[:, bands] = fine[:, :, : part.height, : part.width]
            found[key] = values
        return found

    return read


def zarrs(samples: list[Sample], folder: Path) -> Callable[[int], Arrays]:
    """The same by zarr-python with the pipeline of zarrs, written in Rust."""
    import zarrs as _  # noqa: F401 - registers the pipeline

    plain = zarr_python(samples, folder)

    def read(look: int) -> Arrays:
        with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            return plain(look)

    return read


def lance(samples: list[Sample], folder: Path) -> Callable[[int], Arrays]:
    """Files of Lance: a row a chunk, found by its number."""
    import pyarrow
    from lance.file import LanceFileReader, LanceFileWriter

    blosc.use_threads = False
    folder.mkdir()
    schema = pyarrow.schema([pyarrow.field("chunk", pyarrow.large_binary())])
    readers = {}
    for key in samples[0].series:
        with LanceFileWriter(str(folder / f"{key}.lance"), schema) as file:
            for sample in samples:
                values, side = sample.series[key].values, CHUNK[key]
                codec = blosc.Blosc("zstd", 5, blosc.BITSHUFFLE if values.itemsize > 1 else blosc.NOSHUFFLE)
                chunks = [
                    codec.encode(np.ascontiguousarray(frame[:, row : row + side, col : col + side]))
                    for frame in values
                    for row in range(0, values.shape[2], side)
                    for col in range(0, values.shape[3], side)
                ]
                file.write_batch(pyarrow.record_batch([pyarrow.array(chunks, pyarrow.large_binary())], schema=schema))
        readers[key] = LanceFileReader(str(folder / f"{key}.lance"))
    shapes = {key: (one.values.shape, one.values.dtype) for key, one in samples[0].series.items()}
    codec = blosc.Blosc("zstd")

    def read(look: int) -> Arrays:
        view = View(look, len(samples))
        found = {}
        for key, ((frames, bands, height, width), dtype) in shapes.items():
            side = CHUNK[key]
            down, across = height // side, width // side
            part = view.window.scaled(height // 64)
            first_row, first_col = part.row // side, part.col // side
            tiles = [
                (row, col)
                for row in range(first_row, (part.row + part.height - 1) // side + 1)
                for col in range(first_col, (part.col + part.width - 1) // side + 1)
            ]
            numbers = [
                ((view.place * frames + int(frame)) * down + row) * across + col
                for frame in view.frames[key]
                for row, col in tiles
            ]
            chunks = readers[key].take_rows(numbers).to_table().column("chunk").combine_chunks()
            content, ends = np.frombuffer(chunks.buffers()[2], np.uint8), np.frombuffer(chunks.buffers()[1], np.int64)
            rows, cols = tiles[-1][0] - first_row + 1, tiles[-1][1] - first_col + 1
            values = np.empty((len(view.frames[key]), bands, rows * side, cols * side), dtype)
            for at in range(len(numbers)):
                frame, tile = divmod(at, len(tiles))
                row, col = (tiles[tile][0] - first_row) * side, (tiles[tile][1] - first_col) * side
                chunk = np.frombuffer(codec.decode(content[ends[at] : ends[at + 1]]), dtype).reshape(bands, side, side)
                values[frame, :, row : row + side, col : col + side] = chunk
            top, left = part.row - first_row * side, part.col - first_col * side
            found[key] = values[:, :, top : top + part.height, left : left + part.width]
        return found

    return read


def litdata(samples: list[Sample], folder: Path) -> Callable[[int], Arrays]:
    """Chunks of litdata: samples one after the other, each read whole."""
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    blosc.use_threads = False
    folder.mkdir()
    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for number, sample in enumerate(samples):
        packed = {}
        for key, one in sample.series.items():
            codec = blosc.Blosc("zstd", 5, blosc.BITSHUFFLE if one.values.itemsize > 1 else blosc.NOSHUFFLE)
            packed[key] = codec.encode(one.values)
        writer[number] = packed
    writer.done()
    writer.merge(num_workers=1)
    data = StreamingDataset(str(folder))
    shapes = {key: (one.values.shape, one.values.dtype) for key, one in samples[0].series.items()}
    codec = blosc.Blosc("zstd")

    def read(look: int) -> Arrays:
        view = View(look, len(samples))
        packed = data[view.place]
        found = {}
        for key, (shape, dtype) in shapes.items():
            whole = np.frombuffer(codec.decode(packed[key]), dtype).reshape(shape)
            found[key] = whole[view.frames[key]][:, :, *view.window.scaled(shape[2] // 64).slices()]
        return found

    return read


CANDIDATES: dict[str, tuple[str, Callable[[list[Sample], Path], Callable[[int], Arrays]]]] = {
    "tensorstore": ("tensorstore", lambda samples, folder: shards(samples, folder.parent / "shards")),
    "zarr-python": ("zarr", zarr_python),
    "zarrs": ("zarrs", zarrs),
    "lance": ("lance", lance),
    "litdata": ("litdata", litdata),
    "places": ("netCDF4", places),
}


def main() -> None:
    """Write, compare, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--looks", type=int, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        samples = make_places(root / "earth", options.places)
        sides, sizes = {}, {}
        for candidate, (module, make) in CANDIDATES.items():
            if importlib.util.find_spec(module) is None:
                continue
            sides[candidate] = make(samples, root / candidate)
            sizes[candidate] = stored(root / candidate)
        for look in range(3):
            expected = sides["tensorstore"](look)
            for candidate, read in sides.items():
                for key, values in read(look).items():
                    np.testing.assert_array_equal(values, expected[key], err_msg=f"{candidate} {key}")
        rates: dict[str, list[float]] = {candidate: [] for candidate in sides}
        for number in range(options.rounds):
            for candidate, read in sides.items():
                start = 3 + number * options.looks
                rates[candidate].append(rate(read, range(start, start + options.looks)))
        print(f"{'':<14}{'views/s':>9}{'MB a place':>12}")
        for candidate, found in rates.items():
            size = sizes[candidate] or sizes["tensorstore"] or stored(root / "shards")
            spread = f"  ({min(found):.1f} to {max(found):.1f})"
            print(f"{candidate:<14}{statistics.median(found):9.1f}{size / options.places / 1e6:12.2f}{spread}")


if __name__ == "__main__":
    main()
