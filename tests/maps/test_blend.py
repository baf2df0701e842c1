"""Windows, their weights, and rows that leave memory in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.errors import ConfigError
from skysense.geo import Window
from skysense.maps.blend import Layout, RowBlender


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    size = 4 * draw(st.integers(1, 4))
    return Layout(draw(st.integers(1, 60)), draw(st.integers(1, 60)), size, draw(st.integers(0, size // 2)))


@given(layouts())
@settings(max_examples=60, deadline=None)
def test_windows_cover_every_cell_and_a_constant_stays_constant(layout: Layout) -> None:
    blocks: list[tuple[int, np.ndarray]] = []
    blender = RowBlender(layout, 2, 8, lambda row, values: blocks.append((row, values)))
    observed = np.ones((layout.size, layout.size), bool)
    constant = np.full((2, layout.size, layout.size), 3.5, np.float32)
    count = 0
    for window in layout:
        blender.add(window, constant, observed)
        count += 1
    blender.close()
    assert count == len(layout)
    assert [row for row, _ in blocks] == list(range(0, layout.height, 8))
    whole = np.concatenate([values for _, values in blocks], axis=1)
    assert whole.shape == (2, layout.height, layout.width)
    np.testing.assert_allclose(whole, 3.5, rtol=1e-6)


def test_weights_are_raised_cosines_that_stay_full_at_the_border() -> None:
    layout = Layout(height=8, width=20, size=8, overlap=2)
    ramp = np.array([0.5 - 0.5 * np.cos(np.pi / 4), 0.5 - 0.5 * np.cos(3 * np.pi / 4)])
    assert layout.cols == [0, 6, 12]
    inner = np.concatenate([ramp, np.ones(4), ramp[::-1]])
    first = np.concatenate([np.ones(6), ramp[::-1]])
    np.testing.assert_allclose(layout.weights(Window(0, 6, 8, 8)), np.tile(inner, (8, 1)), atol=1e-6)
    np.testing.assert_allclose(layout.weights(Window(0, 0, 8, 8)), np.tile(first, (8, 1)), atol=1e-6)
    np.testing.assert_allclose(layout.weights(Window(0, 12, 8, 8)), np.tile(first[::-1], (8, 1)), atol=1e-6)
    assert ramp.sum() == pytest.approx(1), "neighbours that overlap by the ramp add up to one"


def test_cells_that_no_window_observed_are_nan_and_one_that_only_one_saw_is_its_value() -> None:
    layout = Layout(height=8, width=14, size=8, overlap=2)
    blocks: list[np.ndarray] = []
    blender = RowBlender(layout, 1, 8, lambda row, values: blocks.append(values))
    seen = np.ones((8, 8), bool)
    seen[0] = False
    seen[1, 6] = False
    blender.add(Window(0, 0, 8, 8), np.where(seen, 1, 0)[None].astype(np.float32), seen)
    other = np.ones((8, 8), bool)
    other[0] = False
    blender.add(Window(0, 6, 8, 8), np.where(other, 2, 0)[None].astype(np.float32), other)
    blender.close()
    row0, row1 = blocks[0][0, 0], blocks[0][0, 1]
    assert np.isnan(row0).all()
    assert row1[5] == 1
    assert row1[6] == 2
    assert 1 < row1[7] < 2
    assert row1[8] == 2


def test_memory_does_not_grow_with_the_height() -> None:
    def largest_gap(height: int) -> tuple[int, int]:
        handed, behind = [0], [0]
        layout = Layout(height, 16, 16, 2)

        def emit(row: int, values: np.ndarray) -> None:
            handed[0] = row + values.shape[1]

        blender = RowBlender(layout, 1, 32, emit)
        for window in layout:
            blender.add(window, np.ones((1, 16, 16), np.float32), np.ones((16, 16), bool))
            behind[0] = max(behind[0], window.row + 16 - handed[0])
        blender.close()
        assert handed[0] == height
        return blender.open_rows, behind[0]

    short, tall = largest_gap(200), largest_gap(2000)
    assert short[0] == tall[0] == 48
    assert short[1] <= 48
    assert tall[1] <= 48, "rows are handed on as soon as no window can touch them"


def test_rows_without_any_window_are_handed_on_as_no_data() -> None:
    layout = Layout(height=40, width=8, size=8, overlap=0)
    blocks: list[tuple[int, np.ndarray]] = []
    blender = RowBlender(layout, 1, 4, lambda row, values: blocks.append((row, values)))
    blender.add(Window(32, 0, 8, 8), np.ones((1, 8, 8), np.float32), np.ones((8, 8), bool))
    blender.close()
    assert [row for row, _ in blocks] == list(range(0, 40, 4))
    assert all(np.isnan(values).all() for row, values in blocks if row < 32)
    assert all((values == 1).all() for row, values in blocks if row >= 32)


def test_shuffled_windows_are_the_same_windows() -> None:
    layout = Layout(60, 44, 8, 2)
    shuffled = list(layout.shuffled())
    assert shuffled != list(layout)
    assert set(shuffled) == set(layout)
    assert shuffled == list(layout.shuffled())


@pytest.mark.parametrize(("size", "overlap", "words"), [(10, 1, "of 4"), (0, 0, "of 4"), (8, 5, "0 .. 4")])
def test_settings_that_contradict_are_refused(size: int, overlap: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Layout(20, 20, size, overlap)
