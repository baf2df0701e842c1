"""Objects found in windows, kept beside the parts until the whole map is seen.

Letters: N objects, P numbers of a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skysense.geo import Window
from skysense.maps.parts import Part, Parting
from skysense.maps.product.work import Work

if TYPE_CHECKING:
    from skysense.tasks.detection.boxes import Found


def keep_found(work: Work, part: Part, found: Sequence[tuple[Window, Found]]) -> None:
    """Keep what was found in the windows that begin in a part."""
    of_N = np.repeat(np.arange(len(found)), [len(one.scores_N) for _, one in found])
    work.keep_array(
        _name(part),
        {
            "windows": np.array([(at.row, at.col, at.height, at.width) for at, _ in found], np.int64),
            "window": of_N,
            "boxes": np.concatenate([one.boxes_NP.cpu().numpy() for _, one in found]),
            "scores": np.concatenate([one.scores_N.cpu().numpy() for _, one in found]),
            "labels": np.concatenate([one.label_N.cpu().numpy() for _, one in found]),
        },
    )


def found_of(work: Work, parting: Parting) -> list[tuple[Window, Found]]:
    """What was found in every window that was answered, part by part and row by row; boxes in pixels of the window."""
    import torch

    from skysense.tasks.detection.boxes import Found

    every = []
    for part in parting.parts:
        if (kept := work.kept_array(_name(part))) is None:
            continue
        boxes, scores, labels = (torch.from_numpy(kept[name]) for name in ("boxes", "scores", "labels"))
        ends = np.searchsorted(kept["window"], np.arange(len(kept["windows"])), side="right")  # they come in order
        starts = [0, *ends[:-1]]
        for (row, col, height, width), start, end in zip(kept["windows"].tolist(), starts, ends, strict=True):
            of = slice(start, end)
            every.append((Window(row, col, height, width), Found(boxes[of], scores[of], labels[of])))
    return every


def _name(part: Part) -> str:
    return f"found-{part.name}"
