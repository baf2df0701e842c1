"""Masks by colour: exact, with a threshold, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skysense.data.labelled.colours import MaskColours
from skysense.errors import InputError
from skysense.geo import Window
from tests.data.labelled.files import write

RED, GREEN, BLACK = (255, 0, 0), (0, 200, 0), (0, 0, 0)


def painted(*colours: tuple[int, int, int]) -> np.ndarray:
    """One row, a pixel per colour."""
    return np.array(colours, np.uint8).T[:, None]


def test_classes_no_label_and_foreign_colours() -> None:
    code = MaskColours((RED, GREEN), (BLACK,))
    assert code.decode(painted(GREEN, BLACK, RED, GREEN), Path("m.png")).tolist() == [[1, 255, 0, 1]]
    with pytest.raises(InputError, match=re.escape("holds 2 colours that stand for no class, e.g. (0, 0, 200), (255")):
        code.decode(painted(RED, (0, 0, 200), (255, 200, 0), (0, 0, 200)), Path("m.png"))


def test_a_threshold_forgives_what_a_lossy_format_did() -> None:
    code = MaskColours((RED, (255, 255, 0)), (BLACK,), threshold=127)
    assert code.decode(painted((252, 9, 3), (200, 128, 127), (60, 0, 1)), Path("m.tif")).tolist() == [[0, 1, 255]]
    with pytest.raises(InputError, match=re.escape("(0, 0, 128)")):
        code.decode(painted((0, 0, 128)), Path("m.tif"))


colours = st.tuples(*[st.integers(0, 255)] * 3)


@given(st.lists(colours, min_size=1, max_size=12, unique=True), st.data())
def test_any_colours(table: list[tuple[int, int, int]], data: st.DataObject) -> None:
    picked = data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=20))
    code = MaskColours(tuple(table))
    assert code.decode(painted(*(table[index] for index in picked)), Path("m.png")).tolist() == [picked]


def test_a_part_of_a_file(tmp_path: Path) -> None:
    mask = np.zeros((3, 40, 50), np.uint8)
    mask[:, 30:, 20:] = np.array(RED)[:, None, None]
    file, code = write(tmp_path / "m.png", mask), MaskColours((BLACK, RED))
    found = code.read(file, Window(25, 15, 10, 10), (40, 50))
    assert found[5:, 5:].all() and found.sum() == 25
    with pytest.raises(InputError, match="is 40 x 50 px; its image is 41 x 50 px"):
        code.read(file, Window(0, 0, 10, 10), (41, 50))
    with pytest.raises(InputError, match="has 1 bands; its classes are colours of three"):
        code.read(write(tmp_path / "one.png", mask[:1]), Window(0, 0, 10, 10), (40, 50))
