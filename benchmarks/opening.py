"""Opening half a million patches: seconds, and bytes that an item costs with its labels.

Run from the root of the repository: ``python -m benchmarks.opening``. The list of BigEarthNet version 2 is made up, of
its images a handful lie there: opening reads none.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from pathlib import Path

import pyarrow
from pyarrow import parquet

from skysense.datasets.catalogue import open_dataset
from tests.datasets.fakes import bigearthnet

COUNT = 500_000


def main() -> None:
    """Write a list, open it, and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bigearthnet.write_v2(root, patches=4, size=12)
        (first, *_) = parquet.read_table(root / "metadata.parquet").to_pylist()
        patch, radar = (first[key].rsplit("_", 2)[0] for key in ("patch_id", "s1_name"))
        names = [f"{number // 1000}_{number % 1000}" for number in range(COUNT)]
        columns = {
            "patch_id": [f"{patch}_{name}" for name in names],
            "labels": [first["labels"]] * COUNT,
            "split": ["train", "validation", "test", "train", "train"] * (COUNT // 5),
            "s1_name": [f"{radar}_{name}" for name in names],
        }
        parquet.write_table(pyarrow.table(columns), root / "metadata.parquet")
        for name in ("bigearthnet-s2", "bigearthnet-mm"):
            began, spent = time.perf_counter(), time.process_time()
            data = open_dataset(name, root)
            wall, used = time.perf_counter() - began, time.process_time() - spent
            size = len(pickle.dumps(data)) / len(data)
            print(f"{name:<16}{len(data):>9,} patches {wall:6.2f} s ({used:.2f} s of CPU) {size:6.0f} bytes each")


if __name__ == "__main__":
    main()
