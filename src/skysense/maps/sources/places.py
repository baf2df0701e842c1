"""Folders of places and corpora of shards: what they are told by, and whether their imagery is still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from skysense.data.places import Places
from skysense.data.places_layout import DATASET_FILE, PLACE_FILE, Place
from skysense.data.shards.layout import ENDING, MANIFEST_FILE
from skysense.data.shards.read import Shards
from skysense.data.shards.store import is_remote
from skysense.sensors import Modality


def are_places(root: str | Path) -> bool:
    """Whether a path is that of a folder of places or a corpus of shards."""
    return is_remote(root) or any((Path(root) / name).is_file() for name in (DATASET_FILE, MANIFEST_FILE))


class States:
    """Tells by hashes whether places are those of an earlier run; no pixel is read.

    Of a folder sizes and times of change count, of a corpus what its manifest says of the content of its shards.

    Args:
        corpus: the places.
        reads: sensors that are read; other files may change.
    """

    def __init__(self, corpus: Places | Shards, reads: Collection[Modality]) -> None:
        self._corpus, self._reads = corpus, reads
        shards = corpus.manifest.shards if isinstance(corpus, Shards) else ()
        self._digests = {f"{shard.name}{ENDING}": shard.digest for shard in shards}

    def of(self, place: Place) -> str:
        """Of one place; of a corpus that of its shard."""
        if self._digests:
            return self._digests[place.folder.parent.name]
        files = [place.folder / PLACE_FILE, *(place.file(key) for key in place.modalities if key in self._reads)]
        states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]
        return hashlib.sha256(repr((place.name, states)).encode()).hexdigest()

    def of_all(self) -> str:
        """Of all places, in order."""
        every = self._digests.values() or map(self.of, self._corpus)
        return hashlib.sha256("\n".join(every).encode()).hexdigest()
