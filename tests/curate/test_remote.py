"""GDAL works for one thread at a time, and for another while one waits for the network."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from skysense.curate.cog import opened
from skysense.curate.http import Part
from skysense.curate.remote import TURN


class Waits:
    """A session that answers when so many threads are waiting for it at once."""

    def __init__(self, content: bytes, threads: int) -> None:
        self.content = content
        self.all_here = threading.Barrier(threads, timeout=20)
        self.first = threading.local()

    def read_range(self, url: str, start: int, length: int) -> Part:
        if not getattr(self.first, "passed", False):
            self.first.passed = True
            self.all_here.wait()  # broken unless the others get to the network too
        return Part(self.content[start : start + length], len(self.content))


def test_threads_wait_for_the_network_together_and_are_in_gdal_by_turns(tmp_path: Path) -> None:
    file, expected = tmp_path / "a.tif", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    kind = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint16", "crs": "EPSG:32632"}
    with rasterio.open(file, "w", transform=from_origin(0, 640, 10, 10), **kind) as raster:
        raster.write(expected, 1)
    session = Waits(file.read_bytes(), threads=4)
    wrong = []

    def read() -> None:
        with opened("https://archive.example/a.tif", session) as dataset:  # type: ignore[arg-type]
            wrong.append(not TURN.locked() or not np.array_equal(dataset.read(1), expected))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [False] * 4
    assert not TURN.locked()
