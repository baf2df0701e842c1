"""The engine alone: square kilometres a second from GeoTIFF to GeoTIFF with a model that costs nothing.

Beside it, first, the way that TorchGeo's parts suggest: `RasterDataset`, `GridGeoSampler`, a `DataLoader`, and what its
documentation leaves to the user: windows are added up in arrays as large as the map with the same raised cosines, and
the map is written with rasterio. Same scene, same windows (512 px, one eighth shared), same means, same number of
channels, same tiles and DEFLATE; one process and one thread of work each, in turns. Both maps are compared.

Second, rslearn's: the scene lies in its dataset already, its crops are read one by one, its merger cuts half of what
crops share instead of blending it, its writer writes.

Both hold the whole map in memory and know no missing pixels; ours also makes overviews.

Run: ``python benchmarks/engine_peers.py``. The peers are no dependencies: to have them aside, ``pip install --target
FOLDER torchgeo rslearn`` and put the folder on PYTHONPATH; one that is missing is left out.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from _means import Means, means
from _rslearn_way import RslearnMap
from _scenes import aerial_scene
from affine import Affine
from numpy.typing import NDArray

from skysense.geo import Window
from skysense.maps.blend import Layout
from skysense.maps.job import Settings, begin
from skysense.maps.making import make
from skysense.maps.planner import cell_km2
from skysense.maps.product.read import open_product
from skysense.maps.sources.open import open_source
from skysense.sensors import OPTICAL_HR

_CELL = 32
_REPEAT = 4


def ours(scene: Path, out: Path) -> NDArray[np.float32]:
    """This package."""
    answerer, settings = Means(repeat=_REPEAT), Settings()
    job = begin(open_source(scene, reads={"hr": OPTICAL_HR}), answerer, out, settings, {}, overwrite=True)
    make(job, answerer, answerer, settings)
    job.work.finish({})
    with open_product(out) as product:
        return product.read_values("means", Window(0, 0, product.grid.height, product.grid.width))


def torchgeo(scene: Path, out: Path) -> NDArray[np.float32]:
    """TorchGeo's parts, and what is left to do."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    class Scene(RasterDataset):
        filename_glob = scene.name

    layout = Settings().layout(*(side // _CELL for side in _shape(scene)))
    data = Scene(scene.parent)
    size, stride = layout.size * _CELL, (layout.size - layout.overlap) * _CELL
    loader = DataLoader(data, batch_size=8, sampler=GridGeoSampler(data, size, stride), collate_fn=stack_samples)
    total = np.zeros((3 * _REPEAT, layout.height, layout.width), np.float32)
    weight = np.zeros((layout.height, layout.width), np.float32)
    with rasterio.open(scene) as file:
        left, top, metres, crs = file.bounds.left, file.bounds.top, file.res[0] * _CELL, file.crs
    for batch in loader:
        for image, place in zip(batch["image"], batch["bounds"], strict=True):
            west, north = place[0].start, place[1].stop
            row, col = round((top - north) / metres), round((west - left) / metres)
            window = Window(row, col, layout.size, layout.size)
            values = np.tile(means(image.numpy(), _CELL), (_REPEAT, 1, 1))
            _add(total, weight, values, layout, window)
    found = total / weight
    options = dict(
        driver="GTiff", height=layout.height, width=layout.width, count=len(found), dtype="float32", crs=crs,
        transform=Affine(metres, 0, left, 0, -metres, top), tiled=True, blockxsize=32, blockysize=32,
        interleave="pixel", compress="deflate", zlevel=1, predictor=3, nodata=np.nan,
    )  # fmt: skip
    with rasterio.open(out, "w", **options) as file:
        file.write(found)
    return found


def _shape(scene: Path) -> tuple[int, int]:
    with rasterio.open(scene) as file:
        return file.height, file.width


def _add(total: NDArray, weight: NDArray, values: NDArray, layout: Layout, window: Window) -> None:
    rows, cols = min(layout.size, layout.height - window.row), min(layout.size, layout.width - window.col)
    weights = layout.weights(window)[:rows, :cols]
    to = slice(window.row, window.row + rows), slice(window.col, window.col + cols)
    total[:, *to] += values[:, :rows, :cols] * weights
    weight[to] += weights


def _ways(scene: Path, folder: Path) -> dict[str, Callable[[], NDArray[np.float32]]]:
    """Ours, and those of the peers that are installed."""
    ways: dict[str, Callable[[], NDArray[np.float32]]] = {"ours": lambda: ours(scene, folder / "ours.tif")}
    try:
        import torchgeo as _  # noqa: F401
    except ImportError as error:
        print(f"TorchGeo is not compared: {error}")
    else:
        ways["torchgeo"] = lambda: torchgeo(scene, folder / "torchgeo.tif")
    layout = Settings().layout(*(side // _CELL for side in _shape(scene)))
    sizes = {"size": layout.size * _CELL, "overlap": layout.overlap * _CELL, "cell_px": _CELL}
    try:
        ways["rslearn"] = RslearnMap(scene, folder / "rslearn", repeat=_REPEAT, **sizes).make
    except ImportError as error:
        print(f"rslearn is not compared: {error}")
    return ways


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--side", type=int, default=6_336, help="of the scene: pixels; 6336 is 14 windows")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        scene = aerial_scene(Path(folder) / "scene.tif", args.side)
        ways = _ways(scene, Path(folder))
        grid = open_source(scene, reads={"hr": OPTICAL_HR}).grid
        km2 = grid.height * grid.width * cell_km2(grid)
        found = {name: way() for name, way in ways.items()}
        for name in list(ways)[1:]:
            print(f"{name}: the maps differ by {np.abs(found[name] - found['ours']).max():.2g} at most")
        rounds = []
        for number in range(args.rounds):
            seconds = {}
            for name in list(ways)[:: 1 if number % 2 else -1]:
                clock, processor = time.perf_counter(), time.process_time()
                ways[name]()
                seconds[name] = time.perf_counter() - clock, time.process_time() - processor
            rounds.append(seconds)
    for name in ways:
        speeds = [statistics.median(km2 / one[name][at] for one in rounds) for at in (0, 1)]
        print(f"{name}: {speeds[0]:.3g} km²/s by the clock, {speeds[1]:.3g} by processor time")
    for name in list(ways)[1:]:
        for at, kind in enumerate(("clock", "processor time")):
            ratios = sorted(one[name][at] / one["ours"][at] for one in rounds)
            spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}, {len(rounds)} rounds"
            print(f"{name} / ours by {kind}: {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
