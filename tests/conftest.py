"""Shared fixtures: where the real-data kit and the recorded reference outputs are, and a small simulated Earth."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long examples take to make says how busy the machine is, not whether the test is a good one.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def _folder(variable: str, what: str) -> Path:
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} is not set: {what}")
    if not Path(path).is_dir():
        pytest.fail(f"{variable}={path} is not a folder")
    return Path(path)


@pytest.fixture(scope="session")
def kit() -> Path:
    """Folder of the real-data kit."""
    return _folder("SKYSENSE_DATA", "the real-data kit is not at hand")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the recorded reference outputs."""
    return _folder("SKYSENSE_REFERENCE", "the recorded reference outputs are not at hand")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing is asked of public archives unless somebody wants it."""
    if not os.environ.get("SKYSENSE_ONLINE"):
        for item in items:
            if "online" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="SKYSENSE_ONLINE is not set: it asks a public archive"))
