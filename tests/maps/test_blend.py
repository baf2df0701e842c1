"""Windows, their weights, and rows that leave memory in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.errors import ConfigError
from skysense.geo import Window
from skysense.maps.answer import WindowAnswer
from skysense.maps.blend import Layout, RowBlender, memory_of
from skysense.maps.parts import Parting
from tests.maps.fakes import plain_blend


@st.composite
def layouts(draw: st.DrawFn, longest: int = 60) -> Layout:
    size = 4 * draw(st.integers(1, 4))
    height, width = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    return Layout(height, width, size, draw(st.integers(0, size // 2)))


def blend(layout: Layout, answers: dict[Window, WindowAnswer], scores, *, area=None, block=8) -> dict[str, np.ndarray]:
    """Whole scores of a part."""
    area = area or Window(0, 0, layout.height, layout.width)
    blocks: list[tuple[int, dict]] = []
    blender = RowBlender(layout, area, scores, block, lambda row, rows: blocks.append((row, rows)))
    for window in layout.touching(area):
        if window in answers:
            blender.add(window, answers[window])
    blender.close()
    assert [row for row, _ in blocks] == list(range(0, area.height, block))
    return {name: np.concatenate([rows[name] for _, rows in blocks], axis=1) for name in scores}


def random_answers(layout: Layout, scores) -> dict[Window, WindowAnswer]:
    random = np.random.default_rng(0)
    answers = {}
    for window in layout:
        if random.random() < 0.9:
            sides = {name: (channels, layout.size * per_cell) for name, (channels, per_cell) in scores.items()}
            maps = {
                name: (random.normal(size=(channels, side, side)).astype(np.float32), random.random((side, side)) < 0.8)
                for name, (channels, side) in sides.items()
            }
            answers[window] = WindowAnswer(maps)
    return answers


@given(layouts())
@settings(max_examples=40, deadline=None)
def test_windows_cover_every_cell_and_a_constant_stays_constant(layout: Layout) -> None:
    observed = np.ones((layout.size, layout.size), bool)
    constant = np.full((2, layout.size, layout.size), 3.5, np.float32)
    answers = {window: WindowAnswer({"one": (constant, observed)}) for window in layout}
    assert len(answers) == len(layout)
    whole = blend(layout, answers, {"one": (2, 1)})["one"]
    assert whole.shape == (2, layout.height, layout.width)
    np.testing.assert_allclose(whole, 3.5, rtol=1e-6)


@given(layouts(24), st.sampled_from([1, 2, 5]))
@settings(max_examples=25, deadline=None)
def test_scores_are_the_documented_blend_at_any_fineness(layout: Layout, per_cell: int) -> None:
    scores = {"cells": (2, 1), "pixels": (1, per_cell)}
    answers = random_answers(layout, scores)
    found = blend(layout, answers, scores)
    for name, (channels, fine) in scores.items():
        expected = plain_blend(layout, {at: one.maps[name] for at, one in answers.items()}, channels, fine)
        np.testing.assert_allclose(found[name], expected, atol=1e-5, rtol=0)  # NaN where nothing was observed


@given(layouts(), st.integers(1, 30), st.integers(1, 30), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_parts_of_any_size_hold_the_same_numbers(layout: Layout, height: int, width: int, block: int) -> None:
    scores = {"cells": (1, 1), "pixels": (1, 2)}
    answers = random_answers(layout, scores)
    whole = blend(layout, answers, scores)
    for part in Parting(layout.height, layout.width, height, width).parts:
        found = blend(layout, answers, scores, area=part.window, block=block)
        for name, (_, per_cell) in scores.items():
            rows, cols = part.window.scaled(per_cell).slices()
            np.testing.assert_array_equal(found[name], whole[name][:, rows, cols])


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
    fine = layout.weights(Window(0, 6, 8, 8), per_cell=2)
    centres = 0.5 - 0.5 * np.cos(np.pi * (np.arange(4) + 0.5) / 4)
    np.testing.assert_allclose(fine[3, :4], centres, atol=1e-6)


def test_cells_that_no_window_observed_are_nan_and_one_that_only_one_saw_is_its_value() -> None:
    layout = Layout(height=8, width=14, size=8, overlap=2)
    seen = np.ones((8, 8), bool)
    seen[0] = False
    seen[1, 6] = False
    other = np.ones((8, 8), bool)
    other[0] = False
    answers = {
        Window(0, 0, 8, 8): WindowAnswer({"one": (np.where(seen, 1, 0)[None].astype(np.float32), seen)}),
        Window(0, 6, 8, 8): WindowAnswer({"one": (np.where(other, 2, 0)[None].astype(np.float32), other)}),
    }
    row0, row1 = blend(layout, answers, {"one": (1, 1)})["one"][0, :2]
    assert np.isnan(row0).all()
    assert row1[5] == 1
    assert row1[6] == 2
    assert 1 < row1[7] < 2
    assert row1[8] == 2


def test_memory_does_not_grow_with_the_height() -> None:
    def largest_gap(height: int) -> tuple[int, int]:
        handed, behind = [0], [0]
        layout = Layout(height, 16, 16, 2)

        def emit(row: int, rows: dict[str, np.ndarray]) -> None:
            handed[0] = row + rows["one"].shape[1]

        blender = RowBlender(layout, Window(0, 0, height, 16), {"one": (1, 1)}, 32, emit)
        ones = WindowAnswer({"one": (np.ones((1, 16, 16), np.float32), np.ones((16, 16), bool))})
        for window in layout:
            blender.add(window, ones)
            behind[0] = max(behind[0], window.row + 16 - handed[0])
        blender.close()
        assert handed[0] == height
        return blender.open_rows, behind[0]

    short, tall = largest_gap(200), largest_gap(2000)
    assert short[0] == tall[0] == 48
    assert short[1] <= 48
    assert tall[1] <= 48, "rows are handed on as soon as no window can touch them"
    assert memory_of({"one": (1, 1), "fine": (3, 2)}, 32, 16, 100) == 48 * 100 * 4 * (2 + 4 * 4)


def test_rows_without_any_window_are_handed_on_as_no_data() -> None:
    layout = Layout(height=40, width=8, size=8, overlap=0)
    ones = WindowAnswer({"one": (np.ones((1, 8, 8), np.float32), np.ones((8, 8), bool))})
    whole = blend(layout, {Window(32, 0, 8, 8): ones}, {"one": (1, 1)}, block=4)["one"]
    assert np.isnan(whole[:, :32]).all()
    assert (whole[:, 32:] == 1).all()


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
