"""Fixtures shared by the tests of maps."""

from __future__ import annotations

import pytest

from skysense.model.assembly import SkySense
from tests.maps.scenes import tiny


@pytest.fixture(scope="session")
def model() -> SkySense:
    """A tiny model without regions, in evaluation mode."""
    return tiny().eval()
