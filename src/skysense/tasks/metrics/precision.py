"""Average precision of detections, for any weighting of groups.

A curve of precision over recall has its corners where a detection hits. Precision between corners only falls, so that
all kinds of average precision follow from the corners alone: a few per true box, however many detections there are.

Letters: D detections, best first, J those that hit, T ways to match, P groups, R resamples,
L levels of recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skysense.tasks.metrics.counts import ratio

Floats = NDArray[np.floating]
Kind = Literal["area", "11 points", "101 points"]

_LEVELS: dict[Kind, NDArray[np.float64]] = {
    "11 points": np.arange(0, 1.1, 0.1),  # some are a rounding error above k / 10: so they are where VOC's are
    "101 points": np.linspace(0, 1, 101),
}


_CELLS = 2_000_000
"""Numbers that an intermediate result may have: of many detections, fewer resamples are looked at in one go."""


class Curves:
    """Precision over recall of one class, for several ways to say what a hit is.

    Args:
        place_D: group of each detection that counts, best first.
        hit_TD: whether it found a box, by way.
        boxes_P: boxes to be found in each group.
    """

    def __init__(self, place_D: NDArray[np.int64], hit_TD: NDArray[np.bool_], boxes_P: Floats) -> None:
        self.hits_T = [np.flatnonzero(hit_D) for hit_D in hit_TD]
        last = max((int(hits_J[-1]) for hits_J in self.hits_T if len(hits_J)), default=-1)
        self.place_D = place_D[: last + 1]  # what comes after the last hit changes no corner
        self.boxes_P = boxes_P

    def average_precision(self, weights_RP: Floats, kinds_T: Sequence[Sequence[Kind]]) -> list[dict[Kind, Floats]]:
        """Values ``(R,)`` of each kind, by way; NaN without a box to be found.

        Args:
            weights_RP: how often each group counts, whole numbers.
            kinds_T: what to compute of each way: "area" under the curve made monotone (Pascal VOC since 2010), or the
                mean of the highest precision at or beyond "11 points" of recall (VOC 2007, DOTA) or "101 points"
                (COCO).
        """
        rows = max(1, _CELLS // max(1, len(self.place_D)))
        blocks = [self._block(weights_RP[at : at + rows], kinds_T) for at in range(0, len(weights_RP), rows)]
        return [
            {kind: np.concatenate([block[way][kind] for block in blocks]) for kind in kinds}
            for way, kinds in enumerate(kinds_T)
        ]

    def _block(self, weights_RP: Floats, kinds_T: Sequence[Sequence[Kind]]) -> list[dict[Kind, Floats]]:
        boxes_R, weights_RD = weights_RP @ self.boxes_P, np.take(weights_RP, self.place_D, axis=1)
        seen_RD = weights_RD.cumsum(axis=1)
        found: list[dict[Kind, Floats]] = []
        for hits_J, kinds in zip(self.hits_T, kinds_T, strict=True):
            weights_RJ = weights_RD[:, hits_J]
            found_RJ = weights_RJ.cumsum(axis=1)
            precision_RJ = found_RJ / np.maximum(seen_RD[:, hits_J], 1)
            highest_RJ = np.maximum.accumulate(precision_RJ[:, ::-1], axis=1)[:, ::-1]
            values: dict[Kind, Floats] = {}
            for kind in kinds:
                if kind == "area":
                    values[kind] = ratio((weights_RJ * highest_RJ).sum(axis=1), boxes_R)
                else:
                    values[kind] = _at_levels(found_RJ, highest_RJ, boxes_R, _LEVELS[kind])
            found.append(values)
        return found


def _at_levels(found_RJ: Floats, highest_RJ: Floats, boxes_R: Floats, levels_L: NDArray[np.float64]) -> Floats:
    """Mean over levels of the highest precision at or beyond each, zero where recall does not get there."""
    count, corners = found_RJ.shape
    least_RL = np.floor(levels_L * boxes_R[:, None]) - 1  # boxes that make up a level, whatever rounding does to it
    for _ in range(2):
        least_RL += least_RL / np.maximum(boxes_R[:, None], 1) < levels_L
    # rows one after the other are one sorted list: found boxes plus an offset that no row reaches
    offset_R1 = np.arange(count)[:, None] * (boxes_R.max() + 2)
    first_RL = np.searchsorted((found_RJ + offset_R1).ravel(), (least_RL + offset_R1).ravel(), side="left")
    first_RL = first_RL.reshape(count, -1) - np.arange(count)[:, None] * corners
    with_end_RJ = np.concatenate([highest_RJ, np.zeros((count, 1))], axis=1)
    mean_R = np.take_along_axis(with_end_RJ, first_RL, axis=1).mean(axis=1)
    return np.where(boxes_R > 0, mean_R, np.nan)
