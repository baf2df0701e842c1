"""A raster of features on disk: one GeoTIFF, written block by block.

Tiles hold all bands of 32 x 32 cells (pixel interleave): features are read as vectors, and one tile per place keeps
the tile index of a scene with hundreds of bands small, where one tile per band would make it hundreds of times larger.
DEFLATE at its fastest level because every reader knows it; compression runs on GDAL's own threads.
"""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.errors import OutputError
from skysense.files import atomic_path, output_error

BLOCK = 32
"""Side of a tile in cells."""
Precision = Literal["float32", "float16"]
_FIX = "Is the disk full? Free some space and try again"
_FULL = 1 << 20  # bytes; a disk with less than this left is full


class FeatureRaster:
    """An open output file; rows go in from top to bottom in blocks of `BLOCK` rows."""

    def __init__(self, dataset: Any, final: Path, precision: Precision) -> None:
        self._dataset, self._final, self._precision = dataset, final, precision

    def write(self, row: int, values_Dhw: NDArray[np.float32]) -> None:
        """Write whole rows.

        Args:
            row: the first one, a multiple of `BLOCK`.
            values_Dhw: ``(D, rows, width)``; `BLOCK` rows, fewer only at the bottom.

        Raises:
            OutputError: the disk is full or broken.
        """
        _, rows, width = values_Dhw.shape
        if shutil.disk_usage(self._final.parent).free < values_Dhw.nbytes + _FULL:
            raise output_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), self._final)
        with _write_errors(self._final):
            for col in range(0, width, BLOCK):  # whole tiles: GDAL never has to read one back to complete it
                part = np.ascontiguousarray(values_Dhw[:, :, col : col + BLOCK])
                if self._precision == "float16":  # rounded here, since GDAL would cut the mantissa off
                    part = part.astype(np.float16).astype(np.float32)
                self._dataset.write(part, window=RasterWindow(col, row, part.shape[2], rows))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags."""
        self._dataset.update_tags(**tags)


@contextmanager
def create(
    path: Path,
    *,
    shape: tuple[int, int, int],
    crs: Any,
    transform: Any,
    bands: Sequence[str],
    tags: Mapping[str, str],
    precision: Precision = "float32",
) -> Iterator[FeatureRaster]:
    """Create a GeoTIFF that appears under ``path`` only when the block has ended well and the file is whole.

    Args:
        path: the final name.
        shape: D, height, width.
        crs: of the map.
        transform: of the map, the full affine.
        bands: one description per band.
        tags: of the file.
        precision: ``float16`` halves the file (ten bits of mantissa, read back as float32).

    Raises:
        OutputError: no permission, a full disk, or a file that did not arrive whole.
    """
    count, height, width = shape
    options: dict[str, Any] = dict(
        driver="GTiff", dtype="float32", count=count, height=height, width=width, crs=crs, transform=transform,
        nodata=float("nan"), tiled=True, blockxsize=BLOCK, blockysize=BLOCK, interleave="pixel", compress="deflate",
        zlevel=1, predictor=3, BIGTIFF="IF_SAFER", num_threads="all_cpus",
    )  # fmt: skip
    if precision == "float16":
        options["nbits"] = 16
    with atomic_path(path) as temporary:
        with _write_errors(path), rasterio.open(temporary, "w", **options) as dataset:
            dataset.descriptions = tuple(bands)
            dataset.update_tags(**tags)
            yield FeatureRaster(dataset, path, precision)
        _check_whole(temporary, path)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except RasterioError as error:
        reason = str(error.__cause__ or error)
        raise OutputError(f"could not be written: {reason}", file=path, fix=_FIX) from error


def _check_whole(temporary: Path, path: Path) -> None:
    """GDAL stays silent when the last bytes of a file could not be written, so look at where its tiles lie."""
    length = temporary.stat().st_size
    try:
        with rasterio.open(temporary) as dataset:
            for down in range(-(-dataset.height // BLOCK)):
                for across in range(-(-dataset.width // BLOCK)):
                    offset = dataset.get_tag_item(f"BLOCK_OFFSET_{across}_{down}", "TIFF", bidx=1)
                    size = dataset.get_tag_item(f"BLOCK_SIZE_{across}_{down}", "TIFF", bidx=1)
                    if not offset or not size or int(offset) + int(size) > length:
                        raise OutputError("could not be written whole", file=path, fix=_FIX)
    except RasterioError as error:
        raise OutputError("could not be written whole", file=path, fix=_FIX) from error


def write_png(path: Path, rgba_hw4: NDArray[np.uint8]) -> None:
    """Write a picture ``(h, w, 4)`` atomically.

    Raises:
        OutputError: no permission or no space.
    """
    height, width, _ = rgba_hw4.shape
    with atomic_path(path) as temporary, warnings.catch_warnings(), _write_errors(path):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture has no place on Earth
        with rasterio.open(temporary, "w", driver="PNG", dtype="uint8", count=4, height=height, width=width) as picture:
            picture.write(np.moveaxis(rgba_hw4, -1, 0))
