"""A copy of a data set whose large images are stored in blocks, so that a part of them is read without the rest.

To read a window of a PNG or JPEG all that lies above it must be decoded, too; of a TIFF in strips, whole rows. Of a PNG
of 4000 x 4000 px (aerial imagery) one core read 4.7 windows of 896 px a second, and 150 of its copy, which is as large
as the PNG. Deflate and LZW read half as fast; blocks of 512 px are faster only where windows begin on them.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what its copying raises; no public class covers it
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from skysense.data.geotiff import STRICT, opened
from skysense.data.labelled.imagery import SUFFIXES
from skysense.data.labelled.survey import Progress
from skysense.errors import InputError, OutputError
from skysense.files import atomic_path

LARGE = 2000
"""Images with a longer side are stored in blocks, in pixels."""
BLOCK = 256
_STORED = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": BLOCK,
    "blockysize": BLOCK,
    "compress": "zstd",
    "zstd_level": 9,
    "bigtiff": "if_safer",
    "num_threads": "all_cpus",
}


@dataclass
class Copied:
    """What a copy was made of.

    Attributes:
        tiled: images that were stored in blocks.
        as_they_are: other files.
        before: files that an earlier call had written.
        damaged: images that could not be decoded, copied as they are.
    """

    tiled: int
    as_they_are: int
    before: int
    damaged: list[Path]


def make_tiled(source: str | Path, out: str | Path, progress: Progress | None = None) -> Copied:
    """Copy a folder, large images as GeoTIFFs in blocks, everything else as it is.

    No value changes: compression is lossless, and georeference, names of bands, palette and no-data value are kept. The
    copy of ``a.png`` is ``a.tif``; an image that shares its stem with another one of the folder is copied as it is. A
    call that was cut off is gone on with by the same call: files are whole or not there, and those that are there and
    not older than their source are left alone.

    Args:
        source: the data set.
        out: of the copy, made if it is not there.
        progress: called after every file.

    Raises:
        InputError: no folder, or one of the two lies in the other.
        OutputError: the copy cannot be written; what is finished stays.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise InputError("is not a folder", file=source)
    here, there = source.resolve(), out.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise InputError(f"lies in {source}, or that in it", file=out, fix="Make the copy elsewhere")
    files = list(_files(source))
    stems = Counter(file.with_suffix("") for file in files if _is_image(file))
    copied = Copied(0, 0, 0, [])
    for number, file in enumerate(files, 1):
        alone = stems[file.with_suffix("")] == 1
        _copy(file, out / file.relative_to(source), copied, may_tile=_is_image(file) and alone)
        if progress is not None:
            progress(number, len(files))
    return copied


def _copy(file: Path, target: Path, copied: Copied, *, may_tile: bool) -> None:
    """Copy one file unless that is done."""
    in_blocks = target.with_suffix(".tif")
    if _is_done(file, target) or (may_tile and _is_done(file, in_blocks)):
        copied.before += 1
        return
    if may_tile and _needs_blocks(file):
        if _write_in_blocks(file, in_blocks):
            copied.tiled += 1
            return
        copied.damaged.append(file)
    with atomic_path(target) as temporary:
        shutil.copyfile(file, temporary)
    copied.as_they_are += 1


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder in the order of their paths; links to folders are followed unless they lead upward."""
    for here, inside, names in os.walk(folder, followlinks=True):
        above = Path(here).resolve()
        inside[:] = sorted(name for name in inside if not above.is_relative_to(Path(here, name).resolve()))
        yield from (Path(here, name) for name in sorted(names))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _is_done(file: Path, target: Path) -> bool:
    return target.is_file() and target.stat().st_mtime >= file.stat().st_mtime


def _needs_blocks(file: Path) -> bool:
    """Whether an image is large and one of its blocks is as wide as it is."""
    try:
        with opened(file) as dataset:
            if dataset.subdatasets or max(dataset.height, dataset.width) <= LARGE:
                return False
            return any(width >= dataset.width and dataset.width > BLOCK for _, width in dataset.block_shapes)
    except InputError:
        return False  # whatever it is, it is no image


def _write_in_blocks(file: Path, target: Path) -> bool:
    """Write an image in blocks and compare it with its source; False if that cannot be decoded."""
    with warnings.catch_warnings(), rasterio.Env(**STRICT), opened(file) as dataset:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        if not _decodes(dataset):
            return False
        with atomic_path(target) as temporary:
            try:
                rasterio.shutil.copy(dataset, temporary, **_STORED, **_numbers(dataset))
                with rasterio.open(temporary) as copy:
                    same = all(np.array_equal(*both) for both in zip(_strips(dataset), _strips(copy), strict=True))
            except (CPLE_BaseError, RasterioError) as error:
                raise OutputError("could not be written", file=target, fix="Is there space left?") from error
            if not same:
                raise OutputError(f"differs from {file} after writing", file=target, fix="Is the disk sound?")
    return True


def _numbers(dataset: Any) -> dict[str, int]:
    """How numbers are stored: as differences of neighbours where the format can, and in whole bytes, which it needs."""
    kinds = {np.dtype(dtype).kind for dtype in dataset.dtypes}
    known = {"u": 2, "i": 2, "f": 3}
    options = {"predictor": known[kinds.pop()]} if len(kinds) == 1 and kinds <= set(known) else {}
    if any("NBITS" in dataset.tags(band, ns="IMAGE_STRUCTURE") for band in dataset.indexes):
        options["nbits"] = 8 * max(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    return options


def _decodes(dataset: Any) -> bool:
    try:
        for _ in _strips(dataset):
            pass
    except (RasterioError, MemoryError):
        return False
    return True


def _strips(dataset: Any) -> Iterator[NDArray]:
    """All pixels from top to bottom, some rows at a time; as raw bytes, so that NaN equals itself."""
    for row in range(0, dataset.height, BLOCK):
        rows = min(BLOCK, dataset.height - row)
        yield dataset.read(window=Window(0, row, dataset.width, rows)).view(np.uint8)
