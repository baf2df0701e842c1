from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.benchmark.stages import claim, stage
from skysense.errors import ConfigError
from skysense.probes.outcomes import Outcome


def test_a_folder_belongs_to_its_settings(tmp_path: Path) -> None:
    claim(tmp_path / "out", {"seeds": [0], "steps": 3})
    claim(tmp_path / "out", {"seeds": [0], "steps": 3})
    with pytest.raises(ConfigError, match="other settings \\(steps\\)"):
        claim(tmp_path / "out", {"seeds": [0], "steps": 4})


def test_a_stage_that_is_there_is_not_worked_out_again(tmp_path: Path) -> None:
    outcome = Outcome(("a",), np.zeros(1, int), np.zeros(1, int), np.ones((1, 2)))
    calls: list[int] = []

    def work() -> dict[tuple[str, str], Outcome]:
        calls.append(1)
        return {("task", "method"): outcome}

    first, second = stage(tmp_path / "s.npz", work), stage(tmp_path / "s.npz", work)
    assert len(calls) == 1
    assert list(first) == list(second) == [("task", "method")]
    assert first["task", "method"].places == ("a",)


def test_a_stage_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> dict[tuple[str, str], Outcome]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path / "s.npz", fail)
    assert list(tmp_path.iterdir()) == []
