"""Schedules at their corners."""

from __future__ import annotations

import pytest

from skysense.train.schedules import cosine, linear_then_flat, warmup_cosine


def test_cosine_goes_from_start_to_end_and_stays() -> None:
    assert cosine(0.996, 1.0, 0.0) == pytest.approx(0.996)
    assert cosine(0.0, 1.0, 0.5) == pytest.approx(0.5)
    assert cosine(0.996, 1.0, 1.0) == pytest.approx(1.0)
    assert cosine(0.996, 1.0, 1.7) == pytest.approx(1.0)


def test_warmup_is_linear_and_peaks_once() -> None:
    values = [warmup_cosine(2.0, 0.1, step / 100, 0.1) for step in range(101)]
    assert values[5] == pytest.approx(1.0)
    assert max(values) == values[10] == pytest.approx(2.0)
    assert values[100] == pytest.approx(0.1)
    assert warmup_cosine(2.0, 0.1, 0.0, 0.0) == pytest.approx(2.0)


def test_linear_then_flat() -> None:
    assert linear_then_flat(0.04, 0.07, 0.15, 0.3) == pytest.approx(0.055)
    assert linear_then_flat(0.04, 0.07, 0.3, 0.3) == 0.07
    assert linear_then_flat(0.04, 0.07, 0.0, 0.0) == 0.07
