"""Peak memory of a map and the size of its scene: a scene of 5,000 x 5,000 px and one of 40,000 x 40,000 px.

Each map is made in a process of its own by a model that costs nothing, from the opening of the scene to the finished
Cloud-Optimized GeoTIFF. Peak memory is that of the whole process (``ru_maxrss``), Python and libraries included; what
the process holds before it opens the scene is printed too. While it runs, the folder of the output and the system's
folder for temporary files are looked at: nothing but the work folder may appear.

Run: ``python benchmarks/map_memory.py`` (the larger scene takes 5 GB of disk for a while).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from _means import Means
from _scenes import aerial_scene

from skysense.maps.feed import LEAST_CACHE
from skysense.maps.job import Settings, begin
from skysense.maps.making import make
from skysense.maps.planner import cell_km2
from skysense.maps.sources.open import open_source
from skysense.sensors import OPTICAL_HR

_MB = 1 << 20


def peak() -> float:
    """Of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MB


def make_map(scene: Path, out: Path) -> None:
    """In a process of its own: make a map, and print what it took."""
    before, start = peak(), time.perf_counter()
    source, answerer = open_source(scene, reads={"hr": OPTICAL_HR}), Means()
    job = begin(source, answerer, out, Settings(), {})
    make(job, answerer, answerer, Settings())
    job.work.finish({})
    km2 = source.grid.height * source.grid.width * cell_km2(source.grid)
    print(json.dumps({"before": before, "peak": peak(), "seconds": time.perf_counter() - start, "km2": km2}))


def watched(command: list[str], folder: Path, temporary: Path) -> tuple[dict[str, float], set[str]]:
    """Run a command, and see what appears in two folders meanwhile."""
    known = {entry.name for entry in (*folder.iterdir(), *temporary.iterdir())}
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            seen.update(entry.name for entry in (*folder.iterdir(), *temporary.iterdir()))

    thread = threading.Thread(target=watch)
    thread.start()
    environment = {**_environment(), "TMPDIR": str(temporary)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    over.set()
    thread.join()
    return json.loads(done.stdout.splitlines()[-1]), seen - known


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sides", type=int, nargs="+", default=[5_000, 40_000], help="of the scenes, pixels")
    parser.add_argument("--make", type=Path, nargs=2, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make is not None:
        make_map(*args.make)
        return
    peaks = []
    for side in args.sides:
        with tempfile.TemporaryDirectory() as name:
            folder, temporary = Path(name) / "maps", Path(name) / "tmp"
            folder.mkdir()
            temporary.mkdir()
            scene = aerial_scene(folder / "scene.tif", side)
            out = folder / "out.tif"
            found, seen = watched([sys.executable, __file__, "--make", str(scene), str(out)], folder, temporary)
            peaks.append(found["peak"])
            print(
                f"{side} x {side} px: peak {found['peak']:.0f} MB, of these {found['before']:.0f} MB before the scene "
                f"is opened; {found['km2'] / found['seconds']:.3g} km²/s; appeared meanwhile: {', '.join(sorted(seen))}"
            )
    print(f"last / first: {peaks[-1] / peaks[0]:.2f}; GDAL keeps {LEAST_CACHE / _MB:.0f} MB of decoded tiles")


if __name__ == "__main__":
    main()
