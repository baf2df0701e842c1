"""Lossless storage of the blocks of training places: bytes against the time to decode them, and what a view would cost.

``SKYSENSE_DATA=KIT OMP_NUM_THREADS=1 .venv/bin/python benchmarks/codecs.py [--only "s2 places" hr] [--all] [--zarr]``
with the kit of small real imagery. Libraries that are not installed are left out; all of them:
``pip install --target FOLDER imagecodecs pcodec zstandard blosc2`` and ``PYTHONPATH=FOLDER``. Processor time of one
thread, the median of the rounds, decoding different blocks in turn. ``gil`` is the share of a long decoding for which
the interpreter is held and other threads of Python wait.

The rule: of the codecs that decode the blocks under a view within their part of ten milliseconds of a core, the one
whose stored bytes are fewest. A core then decodes 100 views a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import torch
from _block_codecs import Codec, codecs
from _blocks import Array, kinds, masks

PLACE_CELLS, WINDOW_CELLS, LATTICE = 64, 16, 4  # a view is a window on the lattice of its place, in pixels of Sentinel
PIXELS_PER_CELL = {"s2": 1, "s1": 1, "hr": 32}
FRAMES = {"s2": 20, "s1": 10, "hr": 1}  # of a view
BUDGET_MS = {"s2": 3.0, "s1": 1.0, "hr": 6.0}  # of a core, to decode what lies under a view
LIBRARIES_AT_HAND = ("", "numcodecs", "PIL")  # of the package, of zarr, of the extra `train`


@dataclass(frozen=True)
class Row:
    """What one codec makes of one kind of block.

    Attributes:
        codec: which.
        raw, stored: bytes of all blocks.
        count: blocks.
        decoding, encoding: seconds of a core for all blocks.
        view_ms: milliseconds of a core to decode the blocks under a view.
        place_bytes: what the frames of a view occupy over the whole place.
    """

    codec: Codec
    raw: int
    stored: int
    count: int
    decoding: float
    encoding: float
    view_ms: float
    place_bytes: float


def touched(side: int, window: int, place: int, step: int) -> float:
    """Blocks of ``side`` pixels that a window meets along one axis, mean over its positions every ``step`` pixels."""
    starts = range(0, place - window + 1, step)
    return statistics.fmean((start + window - 1) // side - start // side + 1 for start in starts)


def blocks_of_view(modality: str, frames: int, side: int) -> float:
    """Blocks that a view decodes; blocks of several frames hold frames of the view only, which is the best case."""
    pixels = PIXELS_PER_CELL[modality]
    along = touched(side, WINDOW_CELLS * pixels, PLACE_CELLS * pixels, LATTICE * pixels)
    return along**2 * FRAMES[modality] / frames


def measured(codec: Codec, modality: str, blocks: Sequence[Array], rounds: int) -> Row:
    """Encode once, check, decode all blocks so many times."""
    began = time.process_time()
    stored = [codec.encode(block) for block in blocks]
    encoding = time.process_time() - began
    for data, block in zip(stored, blocks, strict=True):
        back = codec.decode(data, block.shape, block.dtype)
        if back.dtype != block.dtype or not np.array_equal(back, block):
            raise RuntimeError(f"{codec.name} changed a block")
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        for data, block in zip(stored, blocks, strict=True):
            codec.decode(data, block.shape, block.dtype)
        spent.append(time.process_time() - began)
    frames, _, side, _ = blocks[0].shape
    size, decoding = sum(map(len, stored)), statistics.median(spent)
    return Row(
        codec,
        sum(block.nbytes for block in blocks),
        size,
        len(blocks),
        decoding,
        encoding,
        1e3 * decoding / len(blocks) * blocks_of_view(modality, frames, side),
        size / len(blocks) * (PLACE_CELLS * PIXELS_PER_CELL[modality] / side) ** 2 * FRAMES[modality] / frames,
    )


def held(codec: Codec, block: Array, megabytes: float = 1.0, trials: int = 15) -> float:
    """Share of a long decoding for which no other thread could run Python, the least of the trials.

    Other programs lengthen waits too, so it is the least that tells: 0 if the library lets go of the interpreter.
    """
    repeats = max(1, round(megabytes * 1e6 / block.nbytes))
    tall = np.concatenate([block] * repeats, axis=2)
    data, least = codec.encode(tall), 1.0
    for _ in range(trials):
        spent: list[float] = []

        def work(spent: list[float] = spent) -> None:
            began = time.perf_counter()
            codec.decode(data, tall.shape, tall.dtype)
            spent.append(time.perf_counter() - began)

        thread = Thread(target=work)
        last, longest = time.perf_counter(), 0.0
        thread.start()
        while not spent:
            now = time.perf_counter()
            last, longest = now, max(longest, now - last)
        thread.join()
        least = min(least, max(longest, time.perf_counter() - last) / spent[0])
    return least


def undominated(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other beats in both bytes and decoding, fewest bytes first."""
    best, found = float("inf"), []
    for row in sorted(rows, key=lambda row: (row.stored, row.decoding)):
        if row.decoding < best:
            best = row.decoding
            found.append(row)
    return found


def chosen(rows: Sequence[Row], budget_ms: float) -> Row | None:
    """The fewest bytes within the budget; None where nothing is fast enough."""
    return min((row for row in rows if row.view_ms <= budget_ms), key=lambda row: row.stored, default=None)


def compare(name: str, blocks: Sequence[Array], rounds: int, every: bool) -> None:
    """Measure all codecs on one kind of block and print the best, or all; >> marks the rule's choices."""
    modality = name[:2]
    rows = [measured(codec, modality, blocks, rounds) for codec in codecs() if codec.can(blocks[0])]
    at_hand = [row for row in rows if row.codec.library in LIBRARIES_AT_HAND]
    picked = [chosen(found, BUDGET_MS[modality]) for found in (rows, at_hand)]
    shown = rows if every else undominated(rows) + undominated(at_hand)
    head = f"{'ratio':>8}{'bits':>7}{'MB/s':>7}{'us':>8}{'enc MB/s':>9}{'gil':>6}{'view ms':>9}{'place kB':>10}"
    print(f"\n{name}: {len(blocks)} blocks\n   {'':<33}{head}  library")
    for row in sorted({id(row): row for row in shown}.values(), key=lambda row: row.stored):
        mark, values = ">>" if row in picked else "", sum(block.size for block in blocks)
        print(
            f"{mark:<3}{row.codec.name:<33}{row.raw / row.stored:8.3f}{8 * row.stored / values:7.2f}"
            f"{row.raw / row.decoding / 1e6:7.0f}{1e6 * row.decoding / row.count:8.1f}"
            f"{row.raw / row.encoding / 1e6:9.1f}{held(row.codec, blocks[0]):6.1f}{row.view_ms:9.2f}"
            f"{row.place_bytes / 1e3:10.1f}  {row.codec.library}",
            flush=True,
        )


def compare_masks(kit: Path, rounds: int) -> None:
    """Masks of whole places: eight pixels a byte, then a codec for bytes."""
    import zlib

    from numcodecs import LZ4, Zstd

    packers = {
        "eight a byte": lambda mask: np.packbits(mask, axis=-1),
        "eight a byte, changes in time": lambda mask: np.packbits(np.diff(mask, axis=0, prepend=False), axis=-1),
        "eight frames a byte": lambda mask: np.packbits(mask, axis=0),
    }
    found = masks(kit)
    print(f"\nmasks {found[0].shape}: {len(found)} places{'bytes a place':>37}{'us':>8}")
    coders = {
        "deflate9": (partial(zlib.compress, level=9), zlib.decompress),
        "lz4": (LZ4().encode, LZ4().decode),
    }
    coders |= {f"zstd{level}": (Zstd(level).encode, Zstd(level).decode) for level in (1, 9, 19)}
    for packing, pack in packers.items():
        for name, (encode, decode) in coders.items():
            stored = [bytes(encode(pack(mask).tobytes())) for mask in found]
            spent = []
            for _ in range(10 * rounds):
                began = time.process_time()
                for data in stored:
                    np.unpackbits(np.frombuffer(decode(data), np.uint8))
                spent.append((time.process_time() - began) / len(stored))
            size = statistics.fmean(map(len, stored))
            print(f"   {f'{packing}+{name}':<50}{size:11.0f}{1e6 * statistics.median(spent):8.1f}")


def compare_zarr(name: str, blocks: Sequence[Array], rounds: int) -> None:
    """What zarr's own reader does without code of ours: blocks as chunks of an array in memory, read one by one."""
    import zarr
    from zarr.codecs import BloscCodec, BloscShuffle
    from zarr.codecs.numcodecs import Delta, PCodec
    from zarr.storage import MemoryStore

    stack = np.stack(blocks)
    bit, byte = (BloscCodec(cname="zstd", clevel=5, shuffle=BloscShuffle[one]) for one in ("bitshuffle", "shuffle"))
    delta = Delta(dtype=stack.dtype.str)
    pipelines: dict[str, dict[str, object]] = {
        "nothing": {"compressors": None},
        "blosc(zstd5,bit)": {"compressors": bit},
        "blosc(zstd5,bit) in a shard": {"compressors": bit, "shards": stack.shape},
        "blosc(zstd5,byte)": {"compressors": byte},
    }
    if stack.dtype.kind != "f":  # differences of floats are rounded
        pipelines["delta+blosc(zstd5,byte)"] = {"filters": delta, "compressors": byte}
        pipelines["delta+blosc(zstd5,bit)"] = {"filters": delta, "compressors": bit}
    if stack.dtype.itemsize > 1 and any(codec.library == "pcodec" for codec in codecs()):
        pipelines["pcodec"] = {"serializer": PCodec(level=8), "compressors": None}
    print(f"\nzarr {zarr.__version__}, {name}{'ratio':>20}{'us a chunk':>12}")
    for title, how in pipelines.items():
        store = MemoryStore()
        how = {"chunks": (1, *stack.shape[1:]), **how}
        zarr.create_array(store, shape=stack.shape, dtype=stack.dtype, **how)[:] = stack
        size = sum(len(value) for key, value in store._store_dict.items() if not key.endswith("zarr.json"))
        array, spent = zarr.open_array(store, mode="r"), []
        for _ in range(rounds):
            began = time.process_time()
            for at in range(len(stack)):
                array[at]
            spent.append((time.process_time() - began) / len(stack))
        print(f"   {title:<40}{stack.nbytes / size:8.3f}{1e6 * statistics.median(spent):12.0f}", flush=True)


def main() -> None:
    """Cut the blocks, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[""], help="kinds of blocks whose name holds one of these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="print the codecs that others beat in everything, too")
    parser.add_argument("--zarr", action="store_true", help="zarr's own reader only")
    options = parser.parse_args()
    if "SKYSENSE_DATA" not in os.environ:
        print("nothing was measured: SKYSENSE_DATA must name the folder of the kit of small imagery")
        return
    torch.set_num_threads(1)
    kit = Path(os.environ["SKYSENSE_DATA"])
    for name, blocks in kinds(kit).items():
        if any(part in name for part in options.only):
            if options.zarr:
                compare_zarr(name, blocks[:: max(1, len(blocks) // 60)], options.rounds)
            else:
                compare(name, blocks, options.rounds, options.all)
    if any(part in "masks" for part in options.only):
        compare_masks(kit, options.rounds)


if __name__ == "__main__":
    main()
