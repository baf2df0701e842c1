"""The numpy of the docs picks the oriented boxes that the package picks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.tasks.rotated.iou import rotated_iou
from skysense.tasks.rotated.nms import batched_rotated_nms

DOCS = Path(__file__).parents[2] / "docs" / "export.md"


def of_docs() -> dict[str, Any]:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.S)
    (block,) = [one for one in blocks if "suppressed(" in one]
    names: dict[str, Any] = {}
    exec(compile(block, "docs/export.md", "exec"), names)
    return names


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 16))
def test_boxes_that_stay(seed: int, count: int) -> None:
    rng, names = np.random.default_rng(seed), of_docs()
    boxes = np.concatenate(
        [rng.uniform(0, 60, (count, 2)), rng.uniform(2, 40, (count, 2)), rng.uniform(-1.57, 1.57, (count, 1))], axis=1
    )
    boxes[count // 2 :, 4] = 0  # boxes along the axes share lines
    scores, labels = np.sort(rng.random(count))[::-1].copy(), rng.integers(0, 2, count)
    exact = rotated_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    ours = np.array([[names["overlap"](one, other) for other in boxes] for one in boxes])
    np.testing.assert_allclose(ours, exact, atol=1e-9)
    found = names["suppressed"](boxes, scores, labels, {"nms_iou": 0.1, "detections": 8})
    wanted = batched_rotated_nms(*(torch.from_numpy(one) for one in (boxes, scores, labels)), 0.1)[:8]
    assert found == wanted.tolist()
