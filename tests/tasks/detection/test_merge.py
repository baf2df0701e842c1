"""Detections that were made several times count once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.merge import suppressed, without_doubles
from skysense.tasks.rotated import pairs

ops = pytest.importorskip("torchvision.ops")


def some(seed: int, count: int) -> Found:
    """Boxes of two classes, many of which overlap."""
    random = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=random) * 60
    boxes = torch.cat([low, low + 5 + torch.rand(count, 2, generator=random) * 30], dim=1)
    labels = torch.randint(2, (count,), generator=random)
    return Found(boxes, torch.rand(count, generator=random), labels)


@given(st.integers(0, 1000), st.integers(0, 80), st.sampled_from([4, 4096]))
def test_suppression_is_the_usual_one(seed: int, count: int, band: int) -> None:
    found = some(seed, count)
    keep = ops.batched_nms(found.boxes_NP, found.scores_N, found.label_N, 0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_BAND", band)
        made = suppressed(found)
    torch.testing.assert_close(made.boxes_NP, found.boxes_NP[keep])
    torch.testing.assert_close(made.label_N, found.label_N[keep])
    twice = without_doubles([found, found])
    torch.testing.assert_close(twice.scores_N, made.scores_N)
