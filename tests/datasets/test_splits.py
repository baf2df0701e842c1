"""Divisions that are the same everywhere."""

from __future__ import annotations

import pytest

from skysense.datasets.splits import keep_share
from skysense.errors import ConfigError

NAMES = [f"patch_{number}" for number in range(100)]


def test_a_share_does_not_depend_on_order_and_grows() -> None:
    tenth = keep_share(NAMES, 0.1)
    assert len(tenth) == 10 and tenth[:3] == ["patch_20", "patch_5", "patch_74"]
    assert keep_share(NAMES[::-1], 0.1) == tenth and set(tenth) < set(keep_share(NAMES, 0.5))
    assert keep_share(NAMES, 1) == NAMES and len(keep_share(NAMES, 0.001)) == 1


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and not above 1"):
        keep_share(NAMES, share)
