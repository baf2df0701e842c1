"""Curation against the rehearsal archive behind a slow line: how much of the line is used, and whether memory is flat.

Run from the root of the repository: ``python -m benchmarks.curation``. The archive is served by a process of its own:
so many bytes per second for all connections together, and 50 ms before each answer. Every run is a process of its own
too, so that its peak of memory is its own. A line that is not full while a core is means that the core is the limit.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from skysense.curate.flow import Progress
from skysense.curate.rehearsal import Apart, simulated_archive
from skysense.curate.rehearsal.footprints import transformer
from skysense.curate.run import Pace, curate
from skysense.curate.sample import Settings
from skysense.curate.settings import Curation
from tests.curate.rehearsed import catalogue_file, places_file

LATENCY = 0.05
RUNS = ((8e6, 32), (20e6, 8), (20e6, 32))
"""Bytes per second, and places."""
CORNER, STEP, BESIDE = (246_850, 4_496_600), 200, 4
"""EPSG:32616: lower left of the places, metres between them (they overlap, which makes no difference to what is
fetched), and how many lie beside each other: all in the UTM zone that most of the archive is in."""
PLACES_PER_SHARD = 8


def main() -> None:
    """Serve, curate, and print."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = simulated_archive(folder / "archive", passes=24, granule_px=384)
        for bandwidth, count in RUNS:
            with Apart(archive, bandwidth=bandwidth, latency=LATENCY) as served:
                told = measure(catalogue_file(served, "planetary", folder), count, folder / f"{bandwidth:.0f}_{count}")
            megabytes, line = told.bytes / 1e6, bandwidth / 1e6
            print(
                f"{line:3.0f} MB/s, {count:3} places: {megabytes:6.1f} MB in {told.requests:6,} requests and "
                f"{told.seconds:5.1f} s, {megabytes / told.seconds / line:4.0%} of the line; "
                f"{told.cpu / told.seconds:4.0%} of a core, {told.cpu / megabytes * 1e3:3.0f} ms a MB; "
                f"peak {told.peak_mb:,.0f} MB, of which {told.start_mb:,.0f} at the start"
            )


def measure(catalogue: str, count: int, out: Path) -> SimpleNamespace:
    """Curate in a process of its own; what it took."""
    grid = [(CORNER[0] + STEP * (at % BESIDE), CORNER[1] + STEP * (at // BESIDE)) for at in range(count)]
    to_degrees = transformer("EPSG:32616", "EPSG:4326").transform
    places = places_file(out.parent, [to_degrees(*one) for one in grid], f"{out.name}.csv")
    command = [sys.executable, "-m", "benchmarks.curation", catalogue, str(places), str(out)]
    return SimpleNamespace(**json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def one(catalogue: str, places: str, out: str) -> None:
    """One curation; prints what it took."""
    start, last = _peak_mb(), Progress(0, 0, 0, 0, 0)

    def note(told: Progress) -> None:
        nonlocal last
        last = told

    curation = Curation(
        years=(2022, 2022),
        places=Path(places),
        catalogues=(catalogue,),
        sample=Settings(fewest_s2=1, fewest_s1=1),
        places_per_shard=PLACES_PER_SHARD,
    )
    curate(curation, out, Pace(), progress=note)
    used = resource.getrusage(resource.RUSAGE_SELF)
    took = {"bytes": last.traffic.bytes, "requests": last.traffic.requests, "seconds": last.seconds}
    print(json.dumps({**took, "cpu": used.ru_utime + used.ru_stime, "peak_mb": _peak_mb(), "start_mb": start}))


def _peak_mb() -> float:
    """Of this process alone; ``ru_maxrss`` begins with that of the process it was started by."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


if __name__ == "__main__":
    one(*sys.argv[1:]) if sys.argv[1:] else main()
