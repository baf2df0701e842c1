"""The structure of a TIFF file: what its directories say.

What a layer is and where it lies is said by GDAL: it writes a file of one pixel in memory, whose tags are taken over.
How large it is and where its tiles are is said here. Files are BigTIFF (TIFF 6.0 with 64-bit offsets), little endian.
"""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.maps.grid import Grid
from skysense.maps.product.codec import PREDICTORS
from skysense.maps.product.layer import Layer

METADATA_TAG = "SKYSENSE"
"""Name of the metadata item that holds the JSON."""
_STRUCTURE = (
    "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    "BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
_SIGNED = (f"GDAL_STRUCTURAL_METADATA_SIZE={len(_STRUCTURE):06d} bytes\n" + _STRUCTURE).encode()
HEADER_BYTES = (16 + len(_SIGNED) + 1) // 2 * 2
"""Before the first directory, which begins on an even byte."""
_SHORT, _LONG, _LONG8 = 3, 4, 16
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SUBFILE, _WIDTH, _HEIGHT, _PREDICTOR = 254, 256, 257, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_LENGTHS = 322, 323, 324, 325
_STRIPS = (273, 278, 279)
_ONCE = (33550, 33922, 34264, 34735, 34736, 34737, 42112)  # place and metadata: of full resolution only


@dataclass(frozen=True)
class Tag:
    """One entry of a directory.

    Attributes:
        kind: TIFF field type.
        count: of its values.
        content: the values, little endian.
    """

    kind: int
    count: int
    content: bytes


Tags = dict[int, Tag]


def layer_tags(layer: Layer, grid: Grid, metadata: Mapping[str, Any]) -> Tags:
    """What GDAL says of a layer: number type, bands, colours, scales, offsets, no-data, place, metadata.

    Args:
        layer: to be written.
        grid: of its pixels.
        metadata: becomes the item `METADATA_TAG`, as JSON.
    """
    import rasterio
    from rasterio.io import MemoryFile

    half = layer.stored == "float16"
    options: dict[str, Any] = dict(
        driver="GTiff", dtype="float32" if half else layer.stored, count=len(layer.bands), height=1, width=1,
        crs=grid.crs, transform=grid.transform, nodata=layer.nodata, interleave="pixel", compress="deflate",
        predictor=PREDICTORS[layer.stored], BIGTIFF="YES",
    )  # fmt: skip
    if half:
        options["nbits"] = 16
    with rasterio.Env(GDAL_PAM_ENABLED=False), warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(**options) as dataset:
            dataset.descriptions = layer.bands
            if layer.scale is not None:
                dataset.scales = layer.scale
            if layer.offset is not None:
                dataset.offsets = layer.offset
            if layer.colours:
                dataset.write_colormap(1, {at: _rgba(one) for at, one in enumerate(layer.colours)})
            dataset.update_tags(**{METADATA_TAG: json.dumps(metadata, allow_nan=False)})
        return _first_directory(bytes(memory.getbuffer()))


def _rgba(colour: str) -> tuple[int, ...]:
    return (*bytes.fromhex(colour.removeprefix("#")), 255)


def _first_directory(content: bytes) -> Tags:
    """The tags of a BigTIFF file, but for those that say where its pixels are."""
    (start,) = struct.unpack_from("<Q", content, 8)
    (entries,) = struct.unpack_from("<Q", content, start)
    tags: Tags = {}
    for entry in range(entries):
        at = start + 8 + 20 * entry
        number, kind, count = struct.unpack_from("<HHQ", content, at)
        size = _BYTES[kind] * count
        where = at + 12 if size <= 8 else struct.unpack_from("<Q", content, at + 12)[0]
        if number not in _STRIPS:
            tags[number] = Tag(kind, count, content[where : where + size])
    return tags


@dataclass(frozen=True)
class Directory:
    """One image of a file.

    Attributes:
        tags: as `layer_tags` gives them.
        overview: whether it is a smaller copy of the first one.
        height, width: pixels.
        tile: side of a tile.
        tiles: how many there are.
    """

    tags: Tags
    overview: bool
    height: int
    width: int
    tile: int
    tiles: int

    def _all(self, offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> Tags:
        taken = {number: tag for number, tag in self.tags.items() if not (self.overview and number in _ONCE)}
        return taken | {
            _SUBFILE: Tag(_LONG, 1, struct.pack("<I", int(self.overview))),
            _WIDTH: Tag(_LONG, 1, struct.pack("<I", self.width)),
            _HEIGHT: Tag(_LONG, 1, struct.pack("<I", self.height)),
            _TILE_WIDTH: Tag(_SHORT, 1, struct.pack("<H", self.tile)),
            _TILE_HEIGHT: Tag(_SHORT, 1, struct.pack("<H", self.tile)),
            _TILE_OFFSETS: Tag(_LONG8, self.tiles, offsets.astype("<u8").tobytes()),
            _TILE_LENGTHS: Tag(_LONG, self.tiles, lengths.astype("<u4").tobytes()),
        }

    @property
    def size(self) -> int:
        """Bytes of the directory and its values, whatever the offsets are."""
        nothing = np.zeros(self.tiles, np.int64)
        return len(self.written(0, nothing, nothing, last=True))

    def written(self, at: int, offsets: NDArray[np.int64], lengths: NDArray[np.int64], *, last: bool) -> bytes:
        """As it stands in the file.

        Args:
            at: where in the file it begins.
            offsets: of its tiles, row by row.
            lengths: of its tiles.
            last: whether no other directory follows right after it.
        """
        tags = sorted(self._all(offsets, lengths).items())
        entries, values = b"", b""
        behind = at + 8 + 20 * len(tags) + 8
        for number, tag in tags:
            if len(tag.content) <= 8:
                value = tag.content.ljust(8, b"\0")
            else:
                value = struct.pack("<Q", behind + len(values))
                values += tag.content.ljust(-(-len(tag.content) // 8) * 8, b"\0")
            entries += struct.pack("<HHQ", number, tag.kind, tag.count) + value
        following = 0 if last else behind + len(values)
        return struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", following) + values


def file_header() -> bytes:
    """The first bytes of a BigTIFF file, whose first directory follows right after them.

    They end in the lines by which GDAL knows a Cloud-Optimized GeoTIFF (GDAL manual, COG driver, header ghost area):
    how tiles are ordered and framed (`framed`). GDAL changes them when it edits the file in a way that makes it none.
    """
    return (struct.pack("<2sHHHQ", b"II", 43, 8, 0, HEADER_BYTES) + _SIGNED).ljust(HEADER_BYTES, b"\0")


LEADER_BYTES, TRAILER_BYTES = 4, 4


def framed(tile: bytes) -> bytes:
    """A compressed tile between its length and a copy of its last bytes, so that a reader of a file in the web learns
    where it ends without the directory, and whether it has all of it.
    """
    return struct.pack("<I", len(tile)) + tile + tile[-TRAILER_BYTES:]
