"""What can be learned from without labels: places in folders, several of them joined, or in shards."""

from __future__ import annotations

from pathlib import Path

from skysense.data.joined import JoinedPlaces
from skysense.data.places import Places
from skysense.data.places_layout import DATASET_FILE
from skysense.data.shards.layout import MANIFEST_FILE
from skysense.data.shards.read import Shards
from skysense.data.shards.store import is_remote
from skysense.errors import InputError
from skysense.geo import RegionTable

Corpus = Places | JoinedPlaces | Shards


def open_corpus(root: str | Path, *, regions: RegionTable | None = None) -> Places | Shards:
    """A folder of places or a corpus of shards, whichever lies there.

    Args:
        root: a folder; of shards also ``s3://bucket/path`` or ``gs://bucket/path``.
        regions: table that gives samples their region slot; by default that of all places.

    Raises:
        InputError: neither of them, or it cannot be read.
        MissingExtra: shards, and what reads them is not installed.
    """
    if is_remote(root) or (Path(root) / MANIFEST_FILE).is_file():
        return Shards(root, regions=regions)
    if not (Path(root) / DATASET_FILE).is_file():
        raise InputError(
            f"is neither a folder of places nor a corpus of shards: it holds no {DATASET_FILE} and no {MANIFEST_FILE}",
            file=root,
            fix="See docs/places.md and docs/shards.md",
        )
    return Places(root, regions=regions)
