"""What a Cloud-Optimized GeoTIFF must be, checked byte by byte and without any library that reads TIFF."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 11: "f", 12: "d", 16: "Q"}


@dataclass
class Image:
    """One directory of a BigTIFF file."""

    offset: int
    tags: dict[int, tuple]


def images(path: Path) -> list[Image]:
    content = path.read_bytes()
    order, version, eight, zero, offset = struct.unpack_from("<2sHHHQ", content)
    assert (order, version, eight, zero) == (b"II", 43, 8, 0)
    found = []
    while offset:
        (count,) = struct.unpack_from("<Q", content, offset)
        tags, numbers = {}, []
        for at in range(offset + 8, offset + 8 + 20 * count, 20):
            number, kind, length = struct.unpack_from("<HHQ", content, at)
            size = struct.calcsize(_TYPES[kind]) * length
            where = at + 12 if size <= 8 else struct.unpack_from("<Q", content, at + 12)[0]
            tags[number] = struct.unpack_from(f"<{length}{_TYPES[kind]}", content, where)
            numbers.append(number)
        assert numbers == sorted(set(numbers)), "tags in ascending order"
        found.append(Image(offset, tags))
        (offset,) = struct.unpack_from("<Q", content, offset + 8 + 20 * count)
    return found


def check(path: Path) -> None:
    """Assert every rule; those of the validators that come with GDAL and rio-cogeo, and that no byte is unaccounted."""
    content, found = path.read_bytes(), images(path)
    said_bytes = int(content[16 + 30 : 16 + 36])
    said = content[16 + 43 : 16 + 43 + said_bytes].decode()
    assert content[16:59].startswith(b"GDAL_STRUCTURAL_METADATA_SIZE=") and content[52:59] == b" bytes\n"
    assert dict(line.split("=") for line in said.split("\n")[:-1]) == {
        "LAYOUT": "IFDS_BEFORE_DATA",
        "BLOCK_ORDER": "ROW_MAJOR",
        "BLOCK_LEADER": "SIZE_AS_UINT4",
        "BLOCK_TRAILER": "LAST_4_BYTES_REPEATED",
        "KNOWN_INCOMPATIBLE_EDITION": "NO",
    }
    ends = 16 + 43 + said_bytes
    assert found[0].offset == ends + ends % 2, "the first directory follows the header"
    assert [image.offset for image in found] == sorted(image.offset for image in found)
    sizes = [(image.tags[256][0], image.tags[257][0]) for image in found]
    for (wide, high), (narrow, low) in pairwise(sizes):
        assert (narrow, low) == (-(-wide // 2), -(-high // 2)), "each half as large"
    assert max(sizes[-1]) <= 512
    assert [image.tags[254][0] for image in found] == [0] + [1] * (len(found) - 1)
    end = None
    for image in reversed(found):  # smallest first, right after one another
        tile = image.tags[322][0]
        assert image.tags[323][0] == tile and tile % 16 == 0
        offsets, lengths = image.tags[324], image.tags[325]
        across, down = -(-image.tags[256][0] // tile), -(-image.tags[257][0] // tile)
        assert len(offsets) == len(lengths) == across * down
        assert image.tags[284] == (1,) and image.tags[259] == (8,)
        for offset, length in zip(offsets, lengths, strict=True):
            assert end is None or offset == end + 4, "row by row"
            assert end is not None or offset > found[-1].offset, "pixels after the directories"
            assert struct.unpack_from("<I", content, offset - 4) == (length,)
            assert content[offset + length : offset + length + 4] == content[offset + length - 4 : offset + length]
            end = offset + length + 4
    assert end == len(content)
