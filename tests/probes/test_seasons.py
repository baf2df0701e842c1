from __future__ import annotations

import torch

from skysense.model.assembly import Features, FrameFeatures
from skysense.probes.seasons import seasons


def frames(values: list[float], rows: list[int], days: list[int], valid: list[bool]) -> FrameFeatures:
    """Frames of one cell and one feature."""
    return FrameFeatures(
        torch.tensor(values).view(-1, 1, 1, 1),
        torch.tensor(rows),
        torch.arange(len(rows)),
        torch.tensor(days),
        torch.tensor(valid).view(-1, 1, 1),
    )


def test_sensors_side_by_side_by_quarter() -> None:
    features = Features(
        {
            "hr": frames([5.0], [1], [-1], [True]),
            "s2": frames(
                [1.0, 3.0, 8.0, 100.0, 7.0, 9.0],
                [0, 0, 0, 0, 1, 1],
                [0, 91, 364, 100, -1, 200],  # of 365 days the second quarter begins with day 92
                [True, True, True, False, True, True],
            ),
        },
        torch.zeros(2, 4, 1, 1),
        torch.ones(2, 1, 1, dtype=torch.bool),
        None,
    )
    found = seasons(features, ["hr", "s2", "s1"])[:, :, 0, 0]
    assert found.tolist() == [
        [0.0, 2.0, 4.0, 4.0, 8.0, 0.0, 0.0, 0.0, 0.0],  # no image; empty quarters take the year; no radar
        [5.0, 8.0, 8.0, 9.0, 8.0, 0.0, 0.0, 0.0, 0.0],  # what has no date counts in the year alone
    ]
    assert torch.equal(seasons(features, ["s2"])[:, :, 0, 0], found[:, 1:5])
