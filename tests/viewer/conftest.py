"""The farm, on disk once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.viewer.farm import write_map, write_series


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a Cloud-Optimized GeoTIFF per layer."""
    return write_map(tmp_path_factory.mktemp("farm") / "farm.tif")


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a folder of images of three days."""
    return write_series(tmp_path_factory.mktemp("series") / "days")
