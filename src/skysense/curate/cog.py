"""Windows of rasters that lie somewhere on the web: few requests, and no pixel that nobody measured.

GDAL reads through a Python file object, so that every byte goes through one `Session`: retries, tokens, truncated
answers and counting are dealt with there and nowhere else. The head of a file is fetched in one piece; then GDAL says
which tiles it needs, and those that lie next to each other are fetched together: two requests for a small window of a
cloud-optimised GeoTIFF.

Letters: C bands, H W pixels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.warp import reproject, transform
from rasterio.windows import Window as RasterWindow

from skysense.curate.acquisition import Asset
from skysense.curate.faults import Gone
from skysense.curate.grid import PlaceGrid
from skysense.curate.http import Session
from skysense.curate.remote import NAME, TURN, Remote
from skysense.data.geotiff import STRICT

# `reproject` hides a warning about arrays of its own, in a way that fails where several threads do so at once.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=r"rasterio\.warp")

Pixels = tuple[NDArray, NDArray[np.bool_]]
"""Values and what of them was observed, of the same shape."""

_ALONE: Mapping[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}  # a remote file has no companions
_TOLERANCE = 0.1  # pixels by which a raster may lie elsewhere than its catalogue says: proj:transform is often rounded
_ALIGNED = 1e-3  # pixels; grids nearer than this to each other are the same


def read_window(
    asset: Asset, grid: PlaceGrid, metres_per_px: float, *, resampling: Resampling, session: Session
) -> Pixels:
    """One band on the grid of a place.

    Args:
        asset: where the band is.
        grid: of the place.
        metres_per_px: size of a pixel of the result.
        resampling: how, where the band lies on another grid. Where it lies on this one, pixels are as they were stored.
        session: connections to archives.

    Returns:
        Values ``(H, W)`` in the stored type, without scale and offset, and what was observed: False outside the
        raster, where the file's mask or nodata value says so, and where a value is not finite.

    Raises:
        Gone: the file is not there, broken, has no place on Earth, or contradicts what its catalogue says.
        Unavailable, BudgetSpent: see `Session.read_range`.
    """
    values_CHW, observed_CHW = read_stack([asset], grid, metres_per_px, resampling=resampling, session=session)
    return values_CHW[0], observed_CHW[0]


def read_stack(
    assets: Sequence[Asset], grid: PlaceGrid, metres_per_px: float, *, resampling: Resampling, session: Session
) -> Pixels:
    """Bands on the grid of a place; a file that holds several of them is read once.

    Args:
        assets: where each band is; at least one.
        grid: of the place.
        metres_per_px: size of a pixel of the result.
        resampling: as in `read_window`.
        session: connections to archives.

    Returns:
        Values ``(C, H, W)`` and what was observed, band by band as `read_window`.

    Raises:
        Gone, Unavailable, BudgetSpent: as `read_window`.
    """
    layers: dict[int, Pixels] = {}
    for href in dict.fromkeys(asset.href for asset in assets):
        places = [index for index, asset in enumerate(assets) if asset.href == href]
        together = [assets[index] for index in places]
        with opened(href, session) as dataset:
            crs = _check(dataset, together)
            values_CHW, observed_CHW = _on_grid(dataset, crs, together, grid, metres_per_px, resampling)
        layers |= dict(zip(places, zip(values_CHW, observed_CHW, strict=True), strict=True))
    values, observed = zip(*(layers[index] for index in range(len(assets))), strict=True)
    return np.stack(values), np.stack(observed)


@contextmanager
def opened(href: str, session: Session) -> Iterator[Any]:
    """An open raster, on the web or here. One thread at a time is within the ``with`` block; see `TURN`.

    Args:
        href: ``https://``, ``s3://`` and ``gs://`` of public buckets, ``file://``, or a path.
        session: connections to archives.

    Raises:
        Gone: it is not there, or GDAL cannot read it, now or inside the ``with`` block.
        Unavailable, BudgetSpent: see `Session.read_range`.
    """
    url, shown = web_address(href), href.split("?")[0]
    how: dict[str, Any]
    if url is None:
        remote, settings = None, dict(STRICT)
        how = {"fp": unquote(urlsplit(href).path) if href.startswith("file://") else href}
        if not Path(how["fp"]).is_file():
            raise Gone("missing", f"{shown}: is not there")
    else:
        remote, settings = Remote(session, url, TURN), {**STRICT, **_ALONE}
        how = {"fp": NAME, "opener": remote, "driver": "GTiff"}
    try:
        with TURN, rasterio.Env(**settings), rasterio.open(**how) as dataset:
            yield dataset
    except Exception as error:
        if remote is not None and remote.fault is not None:
            raise remote.fault from None
        if isinstance(error, RasterioError):
            raise Gone("unreadable", f"{shown}: cannot be read ({_first_cause(error)})") from error
        raise
    if remote is not None and remote.fault is not None:
        raise remote.fault


def web_address(href: str) -> str | None:
    """Where a file is on the web; None if it is a local one.

    Raises:
        Gone: a kind of address that nothing here can read.
    """
    parts = urlsplit(href)
    bucket, key = parts.netloc, quote(unquote(parts.path))
    match parts.scheme:
        case "http" | "https":
            return href
        case "s3" if "." in bucket:  # no certificate covers a dot in front of the host
            return f"https://s3.amazonaws.com/{bucket}{key}"
        case "s3":
            return f"https://{bucket}.s3.amazonaws.com{key}"
        case "gs":
            return f"https://storage.googleapis.com/{bucket}{key}"
        case "" | "file":
            return None
    if len(parts.scheme) == 1:  # a drive of Windows
        return None
    raise Gone("missing", f"{href.split('?')[0]}: files of {parts.scheme}:// cannot be read; give their https address")


def _check(dataset: Any, assets: Sequence[Asset]) -> CRS:
    """Refuse a raster that is another one than its catalogue says.

    Returns:
        Its reference system: of the file, or else of the catalogue, because there are archives with some files that
        lack it (microsoft/PlanetaryComputer, issues 490 and 491).
    """
    what = assets[0].href.split("?")[0]
    if max(asset.band for asset in assets) > dataset.count:
        raise Gone("contradictory", f"{what}: has {dataset.count} bands, not {max(asset.band for asset in assets)}")
    for asset in assets:
        if dataset.crs is not None and asset.crs is not None and not _same_crs(dataset.crs, asset.crs):
            raise Gone("contradictory", f"{what}: lies in {dataset.crs}, the catalogue says {asset.crs}")
        if asset.shape is not None and asset.shape != dataset.shape:
            raise Gone(
                "contradictory", f"{what}: has {dataset.shape} rows and columns, the catalogue says {asset.shape}"
            )
        if asset.transform is not None and _far_apart(dataset, asset.transform):
            raise Gone("contradictory", f"{what}: lies at {dataset.bounds}, not where the catalogue says")
    crs = dataset.crs or _known_crs(assets[0].crs)
    if crs is None:
        raise Gone("unreadable", f"{what}: has no reference system, so nobody knows where on Earth it is")
    return crs


@lru_cache(maxsize=256)
def _known_crs(text: str | None) -> CRS | None:
    try:
        return None if text is None else CRS.from_user_input(text)
    except (CRSError, ValueError):
        return None


def _same_crs(crs: CRS, text: str) -> bool:
    other = _known_crs(text)
    if other is None:
        return False
    return bool(crs == other) or (other.to_epsg() is not None and crs.to_epsg() == other.to_epsg())


def _far_apart(dataset: Any, told: Affine) -> bool:
    """Whether any two corners differ by more than a tenth of a pixel."""
    if told.determinant == 0:
        return True
    height, width = dataset.shape
    for corner in ((0, 0), (width, 0), (0, height), (width, height)):
        col, row = _apply(~dataset.transform, *_apply(told, *corner))
        if max(abs(col - corner[0]), abs(row - corner[1])) > _TOLERANCE:
            return True
    return False


def _apply(affine: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    """Where a point, or an array of them, comes to lie; no operator does this in all versions of affine."""
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _on_grid(
    dataset: Any, crs: CRS, assets: Sequence[Asset], grid: PlaceGrid, metres_per_px: float, resampling: Resampling
) -> Pixels:
    """Bands of one file on the grid, ``(C, H, W)``."""
    shape = grid.shape(metres_per_px)
    corner = _corner(dataset.transform, crs, grid, metres_per_px)
    if corner is not None:
        wanted, step = RasterWindow(*corner, shape[1], shape[0]), 1
    else:
        wanted, shrink = _around(dataset.transform, crs, grid, metres_per_px, resampling)
        step = _step(dataset, assets[0].band, shrink)
        wanted = _outward(wanted, step)
    there = _within(wanted, dataset)
    bands = [asset.band for asset in assets]
    dtype = np.result_type(*(dataset.dtypes[band - 1] for band in bands))
    values_CHW, observed_CHW = np.zeros((len(bands), *shape), dtype), np.zeros((len(bands), *shape), bool)
    if there is None:
        return values_CHW, observed_CHW
    small = (math.ceil(there.height / step), math.ceil(there.width / step))
    blend = resampling is not Resampling.nearest and all(
        asset.nodata is None for asset in assets
    )  # GDAL knows no other
    how = Resampling.average if blend else Resampling.nearest
    stored_CHW = dataset.read(bands, window=there, out_shape=(len(bands), *small), resampling=how)
    seen_CHW = _observed(dataset, assets, there, stored_CHW)
    if corner is None:
        fine, down, across = dataset.window_transform(there), there.height / small[0], there.width / small[1]
        source = Affine(fine.a * across, fine.b * down, fine.c, fine.d * across, fine.e * down, fine.f)
        return _warped(stored_CHW, seen_CHW, source, crs, grid, metres_per_px, resampling)
    rows = slice(there.row_off - wanted.row_off, there.row_off - wanted.row_off + there.height)
    cols = slice(there.col_off - wanted.col_off, there.col_off - wanted.col_off + there.width)
    values_CHW[:, rows, cols], observed_CHW[:, rows, cols] = stored_CHW, seen_CHW
    return values_CHW, observed_CHW


def _corner(theirs: Affine, crs: CRS, grid: PlaceGrid, metres_per_px: float) -> tuple[int, int] | None:
    """Column and row of the place's upper left pixel in the raster, if both have the same pixels."""
    if not _same_crs(crs, grid.crs):
        return None
    ours = grid.transform(metres_per_px)
    height, width = grid.shape(metres_per_px)
    first, last = (_apply(~theirs, *_apply(ours, *corner)) for corner in ((0, 0), (width, height)))
    col, row = round(first[0]), round(first[1])
    drift = (first[0] - col, first[1] - row, last[0] - col - width, last[1] - row - height)
    upright = theirs.b == theirs.d == 0
    return (col, row) if upright and max(map(abs, drift)) < _ALIGNED else None


def _around(
    theirs: Affine, crs: CRS, grid: PlaceGrid, metres_per_px: float, resampling: Resampling
) -> tuple[RasterWindow, float]:
    """The window of the raster that the place's pixels are made from, with what the resampling kernel reaches.

    Returns:
        The window, and how many of the raster's pixels one of the place's is wide, at least 1.
    """
    left, bottom, right, top = grid.footprint.bounds
    steps = np.linspace(0, 1, 22)
    xs = np.concatenate([left + steps * (right - left)] * 2 + [np.full(22, left), np.full(22, right)])
    ys = np.concatenate([np.full(22, bottom), np.full(22, top)] + [bottom + steps * (top - bottom)] * 2)
    there_x, there_y = transform(_known_crs(grid.crs), crs, xs, ys)
    cols, rows = _apply(~theirs, np.asarray(there_x), np.asarray(there_y))
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        return RasterWindow(0, 0, 0, 0), 1.0  # the place is not on the raster's map at all
    height, width = grid.shape(metres_per_px)
    shrink = max(np.ptp(cols) / width, np.ptp(rows) / height, 1.0)
    margin = math.ceil((0 if resampling is Resampling.nearest else 4) * shrink) + 1
    col, row = math.floor(cols.min()) - margin, math.floor(rows.min()) - margin
    return RasterWindow(col, row, math.ceil(cols.max()) + margin - col, math.ceil(rows.max()) + margin - row), shrink


def _step(dataset: Any, band: int, shrink: float) -> int:
    """How many pixels of a raster are read as one, where the place's are much larger.

    It is that of the coarsest overview whose pixels are no larger than the place's; then GDAL reads this one as it is.
    Of a raster without such an overview, GDAL takes so many pixels together as it reads: memory stays bounded.
    """
    return max((step for step in dataset.overviews(band) if step <= shrink), default=math.floor(shrink))


def _outward(window: RasterWindow, step: int) -> RasterWindow:
    """A window with edges on multiples of a step, where pixels of an overview begin."""
    left, top = (math.floor(edge / step) * step for edge in (window.col_off, window.row_off))
    right = math.ceil((window.col_off + window.width) / step) * step
    bottom = math.ceil((window.row_off + window.height) / step) * step
    return RasterWindow(left, top, right - left, bottom - top)


def _within(wanted: RasterWindow, dataset: Any) -> RasterWindow | None:
    """The part of a window that the raster has."""
    left, top = max(wanted.col_off, 0), max(wanted.row_off, 0)
    right, bottom = (
        min(wanted.col_off + wanted.width, dataset.width),
        min(wanted.row_off + wanted.height, dataset.height),
    )
    return RasterWindow(left, top, right - left, bottom - top) if right > left and bottom > top else None


def _observed(dataset: Any, assets: Sequence[Asset], window: RasterWindow, stored_CHW: NDArray) -> NDArray[np.bool_]:
    """What was observed, by the file's nodata value or else the catalogue's, by a mask, and by being a number.

    A band that the catalogue names holds imagery, even if the writer marked it as alpha: writers mark the fourth band
    of 8-bit images so by default, and did with the near infrared of NAIP (microsoft/PlanetaryComputer, issue 82).
    """
    seen_CHW = np.isfinite(stored_CHW) if stored_CHW.dtype.kind == "f" else np.ones(stored_CHW.shape, bool)
    alphas = {index for index, colour in enumerate(dataset.colorinterp, 1) if colour is ColorInterp.alpha}
    for layer, asset in enumerate(assets):
        nodata, flags = dataset.nodatavals[asset.band - 1], dataset.mask_flag_enums[asset.band - 1]
        nodata = asset.nodata if nodata is None else nodata
        if nodata is not None:
            seen_CHW[layer] &= stored_CHW[layer] != nodata
        is_imagery = MaskFlags.alpha in flags and bool(alphas & {asset.band, *asset.imagery})
        if MaskFlags.per_dataset in flags and not is_imagery:
            seen_CHW[layer] &= dataset.read_masks(asset.band, window=window, out_shape=stored_CHW.shape[1:]) > 0
    return seen_CHW


def _warped(
    stored_CHW: NDArray,
    seen_CHW: NDArray[np.bool_],
    source: Affine,
    crs: CRS,
    grid: PlaceGrid,
    metres_per_px: float,
    resampling: Resampling,
) -> Pixels:
    """Pixels of another grid, resampled to ours; what was not observed has no weight.

    Values and weights are resampled alike and divided, so that nodata does not bleed into its neighbours. A pixel
    counts as observed if at least half of what it is made from was.
    """

    def onto_grid(layers_CHW: NDArray) -> NDArray:
        result_CHW = np.zeros((len(layers_CHW), *grid.shape(metres_per_px)), layers_CHW.dtype)
        reproject(
            layers_CHW,
            result_CHW,
            src_transform=source,
            src_crs=crs,
            dst_transform=grid.transform(metres_per_px),
            dst_crs=_known_crs(grid.crs),
            resampling=resampling,
        )
        return result_CHW

    if resampling is Resampling.nearest:
        known_CHW = np.where(seen_CHW, stored_CHW, 0).astype(stored_CHW.dtype)
        both = onto_grid(np.concatenate([known_CHW, seen_CHW.astype(stored_CHW.dtype)]))  # most of the cost is per call
        return both[: len(stored_CHW)], both[len(stored_CHW) :] > 0
    alike = bool((seen_CHW == seen_CHW[:1]).all())
    weight_CHW = onto_grid((seen_CHW[:1] if alike else seen_CHW).astype(np.float32))
    observed_CHW = np.broadcast_to(weight_CHW >= 0.5, (len(stored_CHW), *weight_CHW.shape[1:])).copy()
    if seen_CHW.all():
        values_CHW = onto_grid(stored_CHW)  # GDAL does the same at the edge of a raster
    else:
        known_CHW = np.where(seen_CHW, stored_CHW, 0).astype(np.float32)
        values_CHW = onto_grid(known_CHW) / np.where(weight_CHW >= 0.5, weight_CHW, 1)
        if stored_CHW.dtype.kind in "iu":
            limits = np.iinfo(stored_CHW.dtype)
            values_CHW = np.clip(np.rint(values_CHW), limits.min, limits.max)
    values_CHW[~observed_CHW] = 0
    return values_CHW.astype(stored_CHW.dtype, copy=False), observed_CHW


def _first_cause(error: BaseException) -> str:
    """GDAL's own words, which the chain of errors begins with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).replace(NAME, "the file").split()) or type(error).__name__
