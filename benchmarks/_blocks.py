"""Blocks of real pixels to compress: what a store of training places would hold, cut from the kit of small imagery.

The kit is the folder that ``SKYSENSE_DATA`` names. Sentinel-2 in digital numbers, Sentinel-1 in dB, high-resolution
colours in 8 bits, masks of clouds and of edges. Letters: T frames, C bands, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import xarray
from numpy.typing import NDArray
from PIL import Image

FINE, COARSE = ("B02", "B03", "B04", "B08"), ("B05", "B06", "B07", "B8A", "B11", "B12")  # of 10 m, of 20 m
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
STEPS_PER_DB = 64
MEGABYTES = 4.0  # of each kind of block: more than a core keeps near itself
BAD_SCENES = (0, 1, 3, 8, 9, 10)  # classes of the scene classification: nothing, defective, shadow, clouds, cirrus

Array = NDArray[np.generic]


def cut(stack_TCHW: Array, side: int, frames: int) -> list[Array]:
    """All whole blocks ``(frames, C, side, side)`` of a stack; what is left over at the edges is dropped."""
    count_T, _, rows_H, cols_W = stack_TCHW.shape
    return [
        np.ascontiguousarray(stack_TCHW[t : t + frames, :, y : y + side, x : x + side])
        for t in range(0, count_T - frames + 1, frames)
        for y in range(0, rows_H - side + 1, side)
        for x in range(0, cols_W - side + 1, side)
    ]


def tiles(stacks: list[Array], side: int, frames: int, megabytes: float = MEGABYTES) -> list[Array]:
    """Tiles evenly spread over the stacks, as many as make so many megabytes; blocks of every shape are cut of them."""
    found = [tile for stack in stacks for tile in cut(stack, side, frames)]
    count = min(len(found), max(1, round(megabytes * 1e6 / found[0].nbytes)))
    return [found[at] for at in sorted(set(np.linspace(0, len(found) - 1, count).astype(int).tolist()))]


def series_s2(kit: Path) -> tuple[Array, Array, Array]:
    """One series: 10 m bands ``(T, 4, 64, 64)``, 20 m bands ``(T, 6, 32, 32)``, scene classes ``(T, 64, 64)``."""
    with xarray.open_dataset(kit / "crop_patches" / "be_2018_424a" / "s2.nc", mask_and_scale=False) as data:
        fine, coarse, scene = (data[name].values for name in ("s2_10m", "s2_20m", "scl"))
    return fine.astype(np.uint16), coarse.astype(np.uint16), doubled(scene.astype(np.uint8))


def doubled(coarse: Array) -> Array:
    """Each pixel four times: a 20 m band on the grid of 10 m."""
    return coarse.repeat(2, -2).repeat(2, -1)


def on_one_grid(fine_TCHW: Array, coarse_TCHW: Array) -> Array:
    """The ten bands of Sentinel-2 in their usual order on the grid of 10 m, ``(T, 10, H, W)``."""
    out = np.empty((len(fine_TCHW), len(BANDS), *fine_TCHW.shape[2:]), fine_TCHW.dtype)
    out[:, [BANDS.index(name) for name in FINE]] = fine_TCHW
    out[:, [BANDS.index(name) for name in COARSE]] = doubled(coarse_TCHW)
    return out


def clear(scene_THW: Array) -> NDArray[np.bool_]:
    """Where neither cloud, nor shadow, nor a defect is."""
    return ~np.isin(scene_THW, BAD_SCENES)


def rasters_s2(kit: Path, interpolated: bool) -> list[Array]:
    """Single dates ``(1, 10, H, W)`` of many places; 20 m bands smoothly interpolated, or repeated."""
    found = []
    for path in sorted(kit.glob("bigearthnet/v*/*/s2.tif")) + sorted(kit.glob("terramesh/*/s2l2a.tif")):
        with rasterio.open(path) as file:
            image_CHW = file.read([file.descriptions.index(name) + 1 for name in BANDS]).astype(np.uint16)
        even_CHW = image_CHW[3:4]  # B05, a band of 20 m
        repeated = np.mean(even_CHW[..., ::2] == even_CHW[..., 1::2]) > 0.99
        if repeated != interpolated:
            found.append(image_CHW[None])
    return found


def rasters_s1(kit: Path) -> list[Array]:
    """Single dates ``(1, 2, H, W)`` of many places at 10 m, float32 dB; sources in whole dB are left out."""
    found = []
    for path in sorted(kit.glob("bigearthnet/v*/*/s1.tif")) + sorted(kit.glob("terramesh/*/s1rtc.tif")):
        with rasterio.open(path) as file:
            image_CHW = file.read([1, 2]).astype(np.float32)
        if np.isfinite(image_CHW).all() and np.any(image_CHW != np.rint(image_CHW)):
            found.append(image_CHW[None])
    return found


def series_s1(kit: Path) -> Array:
    """One series ``(T, 2, 32, 32)`` at 20 m, float32 dB."""
    with xarray.open_dataset(kit / "crop_patches" / "be_2018_424a" / "s1.nc") as data:
        return data["s1"].values.astype(np.float32)


def colours(kit: Path) -> list[Array]:
    """Aerial and drone images ``(1, 3, H, W)`` uint8 from 0.1 to 5 m."""
    tiffs = [*kit.glob("flair/*/image.tif"), *kit.glob("naip_series/*.tif"), *kit.glob("trees/images/*.tif")]
    found = []
    for path in sorted(tiffs):
        with rasterio.open(path) as file:
            found.append(file.read([1, 2, 3])[None])
    for path in sorted(kit.glob("trees/images/*.png")):
        found.append(np.moveaxis(np.asarray(Image.open(path).convert("RGB")), -1, 0)[None])
    return found


def stored_s1(decibels: Array) -> Array:
    """Decibels in steps of 1/64 as int16: half the bytes of float32, and neighbours that differ by small integers."""
    return np.rint(decibels * STEPS_PER_DB).astype(np.int16)


def shaped(name: str, stacks: list[Array], shapes: tuple[tuple[int, int], ...]) -> dict[str, list[Array]]:
    """The same pixels cut into blocks of several shapes ``(frames, side)``."""
    largest = tiles(stacks, max(side for _, side in shapes), max(frames for frames, _ in shapes))
    cuts = {shape: [block for tile in largest for block in cut(tile, shape[1], shape[0])] for shape in shapes}
    return {f"{name} " + "x".join(map(str, blocks[0].shape)): blocks for blocks in cuts.values()}


def kinds(kit: Path) -> dict[str, list[Array]]:
    """Blocks by what they hold and how they are cut; ``hr``, ``s1`` or ``s2`` comes first in the name."""
    fine, coarse, scene = series_s2(kit)
    use = clear(scene).mean((1, 2)) > 0.5
    ten, s1, series = on_one_grid(fine[use], coarse[use]), rasters_s1(kit), stored_s1(series_s1(kit))
    rounded = [np.rint(one * STEPS_PER_DB) / np.float32(STEPS_PER_DB) for one in s1]
    wide = ((1, 32), (1, 64))
    return {
        **shaped("s2 series, 20 m bands repeated", [ten], ((1, 16), (1, 32), (1, 64), (4, 32), (4, 64))),
        **shaped("s2 places, 20 m bands repeated", rasters_s2(kit, interpolated=False), wide),
        **shaped("s2 places, 20 m bands interpolated", rasters_s2(kit, interpolated=True), wide),
        **shaped("s1 places, float32", s1, wide),
        **shaped("s1 places, float32 in steps of 1/64", rounded, wide),
        **shaped("s1 places, int16 steps of 1/64", [stored_s1(one) for one in s1], wide),
        **shaped("s1 series, int16 steps of 1/64", [series], ((1, 32), (4, 32), (8, 32))),
        **shaped("hr", colours(kit), ((1, 128), (1, 256), (1, 512))),
    }


def masks(kit: Path) -> list[Array]:
    """Masks of clear pixels ``(T, 64, 64)`` of whole places: 20 dates of the series, clouded ones too, at a time."""
    scene = series_s2(kit)[2]
    return [clear(scene[start : start + 20]) for start in range(0, len(scene) - 19, 20)]
