from pathlib import Path

import pytest

from skysense.curate.rehearsal import kit_archive, read_archive, simulated_archive


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A small simulated archive: granules of 1.28 km, four passes of Sentinel-2, three of Sentinel-1."""
    return simulated_archive(tmp_path_factory.mktemp("rehearsal") / "archive", passes=4, granule_px=128)


@pytest.fixture(scope="session")
def scenes(folder):
    return {scene.name: scene for scene in read_archive(folder)}


@pytest.fixture(scope="session")
def kit_folder(kit, tmp_path_factory) -> Path:
    return kit_archive(kit, tmp_path_factory.mktemp("rehearsal") / "kit", every=20)
