from pathlib import Path

import pytest

from skysense.curate.halt import Halt
from skysense.curate.rehearsal import Rehearsal, simulated_archive


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A small simulated archive: granules of 1.28 km, four passes of Sentinel-2, three of Sentinel-1."""
    return simulated_archive(tmp_path_factory.mktemp("curation") / "archive", passes=4, granule_px=128)


@pytest.fixture(scope="module")
def archive(small):
    with Rehearsal(small) as archive:
        yield archive


@pytest.fixture
def impatient(monkeypatch):
    """Pauses between two tries of a request are left out."""
    monkeypatch.setattr(Halt, "sleep", lambda self, seconds: self.go_on())
