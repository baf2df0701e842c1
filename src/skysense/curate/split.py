"""Training or validation, by region: places near each other look alike, so a region is for one of the two."""

from __future__ import annotations

import hashlib
from typing import Literal

from skysense.errors import ConfigError

VALIDATION_SHARE = 0.02
_KEY = b"skysense split 1"


def split_of(cell: int, share: float = VALIDATION_SHARE) -> Literal["train", "val"]:
    """What a region cell is for: a hash of its id decides.

    The answer depends on nothing else, neither on the area nor on the number of places nor on a seed, so that what one
    corpus validates on, no other trains on. Cells of a smaller share stay for validation in a larger one.

    Args:
        cell: of `skysense.geo.region_cell`.
        share: of cells that are for validation, 0 .. 1.

    Raises:
        ConfigError: a share outside 0 .. 1.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of regions for validation must lie within 0 .. 1; got {share:g}")
    digest = hashlib.blake2b(cell.to_bytes(8, "little"), digest_size=8, key=_KEY).digest()
    return "val" if int.from_bytes(digest, "little") < share * 2**64 else "train"
