from __future__ import annotations

import pytest

from skysense.curate.split import split_of
from skysense.errors import ConfigError

CELLS = range(400_000, 440_000)


def test_the_answer_of_some_cells_is_the_same_for_ever():
    assert [cell for cell in range(609_700, 609_900) if split_of(cell) == "val"] == [609712, 609826, 609832, 609875]


def test_the_share_is_met_and_grows_by_adding():
    two = {cell for cell in CELLS if split_of(cell, 0.02) == "val"}
    ten = {cell for cell in CELLS if split_of(cell, 0.1) == "val"}
    assert len(two) / len(CELLS) == pytest.approx(0.02, abs=0.003)
    assert len(ten) / len(CELLS) == pytest.approx(0.1, abs=0.006)
    assert two < ten


def test_all_and_nothing():
    assert {split_of(cell, 0) for cell in CELLS[:500]} == {"train"}
    assert {split_of(cell, 1) for cell in CELLS[:500]} == {"val"}
    with pytest.raises(ConfigError, match="share of regions"):
        split_of(1, 2)
