from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.probes.outcomes import Outcome, join, load_outcomes, save_outcomes


def _scene(truth: list[int], answer: list[int], classes: int = 3) -> Outcome:
    places = tuple(f"p{i}" for i in range(len(truth)))
    return Outcome(places, np.arange(len(truth)), np.array(truth), np.eye(classes)[answer])


def test_places_without_an_example_are_dropped() -> None:
    outcome = Outcome(("a", "b"), np.array([0, 0, 1]), np.array([0, 1, 0]), np.eye(2)[[0, 0, 0]])
    kept = outcome.take(outcome.truth == 1)
    assert kept.places == ("a",)
    assert kept.place_M.tolist() == [0]
    assert kept.truth.tolist() == [1]


def test_folds_join_and_refuse_a_place_tested_twice() -> None:
    first, second = _scene([0, 1], [0, 1]), Outcome(("z",), np.zeros(1, int), np.array([2]), np.eye(3)[[0]])
    joined = join([first, second])
    assert joined.places == ("p0", "p1", "z")
    assert joined.place_M.tolist() == [0, 1, 2]
    assert joined.truth.tolist() == [0, 1, 2]
    assert joined.answer_M.tolist() == [0, 1, 0]
    with pytest.raises(InputError, match="two folds"):
        join([first, first])


def test_outcomes_survive_a_file(tmp_path: Path) -> None:
    several = Outcome(("a", "b"), np.arange(2), np.array([[0, 1], [1, 1]]), np.array([[0.25, 0.5], [0.75, 1.0]]))
    written = {("scene", "linear | x"): _scene([0, 1], [1, 1]), ("labels", "kNN"): several}
    save_outcomes(tmp_path / "o.npz", written)
    again = load_outcomes(tmp_path / "o.npz")
    assert list(again) == list(written)
    for key, outcome in written.items():
        assert again[key].places == outcome.places
        for name in ("place_M", "truth", "scores_MK"):
            assert np.array_equal(getattr(again[key], name), getattr(outcome, name))
    (tmp_path / "half.npz").write_bytes((tmp_path / "o.npz").read_bytes()[:200])
    with pytest.raises(InputError, match="not a file of outcomes"):
        load_outcomes(tmp_path / "half.npz")
