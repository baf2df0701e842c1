"""Which boxes can meet at all: pairs of horizontal boxes that overlap, found without looking at every pair.

Two intervals overlap when one begins inside the other. With the boxes sorted by where they begin on an axis, those that
begin inside a given box are one run of the sorted list. The axis with the fewer such pairs is swept, the other tested.

Letters: 4 is (x1, y1, x2, y2), N and M boxes, R rows with a run each, P pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 1 << 22
"""Pairs at a time: what they take stays below half a gigabyte."""
_BAND = 4096
"""Boxes in a band, about."""


class _Runs(NamedTuple):
    """Pairs of a row and each box of a run: ``sorted_M[start : start + length]``."""

    rows_R: Tensor
    sorted_M: Tensor
    starts_R: Tensor
    lengths_R: Tensor


class Sweep:
    """Pairs of boxes that overlap or touch, of two sets or within one.

    Args:
        a_N4: horizontal boxes.
        b_M4: others on the same device; None for the pairs within ``a_N4``, each in one order of the two.

    Attributes:
        count: how many pairs have to be looked at, an upper bound of those there are.
    """

    def __init__(self, a_N4: Tensor, b_M4: Tensor | None = None) -> None:
        a_4N = a_N4.T.contiguous()
        b_4M = a_4N if b_M4 is None else b_M4.T.contiguous()
        self._columns = (a_4N, b_4M)
        axes = [_within(a_4N, axis) if b_M4 is None else _between(a_4N, b_4M, axis) for axis in (0, 1)]
        counts = torch.stack([torch.cat([runs.lengths_R for runs in axis]).sum() for axis in axes]).tolist()
        self.count = min(counts)
        self._axis = counts.index(self.count)
        self._runs = axes[self._axis]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Blocks of pairs: places in the first set and in the second, ``(P,)`` each."""
        for number, runs in enumerate(self._runs):
            ends_R = runs.lengths_R.cumsum(0)
            total = int(ends_R[-1]) if len(ends_R) else 0
            marks = torch.arange(0, total, _BLOCK, device=ends_R.device)
            cuts = sorted({*torch.searchsorted(ends_R, marks).tolist(), len(ends_R)})
            for start, stop in pairwise(cuts):
                rows, others = _expanded(runs, slice(start, stop))
                yield self._meeting(rows, others) if number == 0 else self._meeting(others, rows)

    def _meeting(self, i_P: Tensor, j_P: Tensor) -> tuple[Tensor, Tensor]:
        """Of pairs that overlap on the axis of the sweep, those that do on the other as well."""
        low, high = 1 - self._axis, 3 - self._axis
        a_4N, b_4M = self._columns
        meet = a_4N[low].index_select(0, i_P) <= b_4M[high].index_select(0, j_P)
        meet &= b_4M[low].index_select(0, j_P) <= a_4N[high].index_select(0, i_P)
        found = meet.nonzero()[:, 0]
        return i_P.index_select(0, found), j_P.index_select(0, found)


def banded(a_N4: Tensor, b_M4: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs of `Sweep`, with work that grows with the number of boxes where these are spread over a large area.

    A sweep looks at all boxes of a strip through the whole area. Here each band of the area is swept for itself; a pair
    counts in the band in which what the two have in common begins.

    Args:
        a_N4: horizontal boxes.
        b_M4: others on the same device; None for the pairs within ``a_N4``.

    Yields:
        Blocks of pairs: places in the first set and in the second, ``(P,)`` each.
    """
    others_M4 = a_N4 if b_M4 is None else b_M4
    count = max(len(a_N4), len(others_M4)) // _BAND
    if count < 2 or not len(a_N4) or not len(others_M4):
        yield from Sweep(a_N4, b_M4)
        return
    low, high = min(float(one[:, 1].min()) for one in (a_N4, others_M4)), float(a_N4[:, 3].max())
    edges = [low + (high - low) * band / count for band in range(1, count)]
    for top, bottom in pairwise([-math.inf, *edges, math.inf]):
        i_N, j_M = (((one[:, 1] < bottom) & (one[:, 3] >= top)).nonzero()[:, 0] for one in (a_N4, others_M4))
        for i_P, j_P in Sweep(a_N4[i_N], None if b_M4 is None else b_M4[j_M]):
            i_P, j_P = i_N[i_P], j_M[j_P]
            begins_P = torch.maximum(a_N4[i_P, 1], others_M4[j_P, 1])
            here_P = (begins_P >= top) & (begins_P < bottom)
            yield i_P[here_P], j_P[here_P]


def _between(a_4N: Tensor, b_4M: Tensor, axis: int) -> list[_Runs]:
    """For every box of a those of b that begin in it, and for every box of b those of a that begin later, but in it."""
    runs = []
    for rows, others, right in ((a_4N, b_4M, False), (b_4M, a_4N, True)):
        begins, order = others[axis].sort()
        starts = torch.searchsorted(begins, rows[axis], right=right)
        stops = torch.searchsorted(begins, rows[axis + 2], right=True)
        here = torch.arange(rows.shape[1], device=rows.device)
        runs.append(_Runs(here, order, starts, (stops - starts).clamp(min=0)))
    return runs


def _within(a_4N: Tensor, axis: int) -> list[_Runs]:
    """For every box those that come after it in the order of beginnings, and begin in it."""
    begins, order = a_4N[axis].sort()
    stops = torch.searchsorted(begins, a_4N[axis + 2][order], right=True)
    starts = torch.arange(1, len(order) + 1, device=order.device)
    return [_Runs(order, order, starts, (stops - starts).clamp(min=0))]


def _expanded(runs: _Runs, part: slice) -> tuple[Tensor, Tensor]:
    """All pairs of some rows, ``(P,)`` each."""
    lengths = runs.lengths_R[part]
    ends = lengths.cumsum(0)
    count = int(ends[-1])
    at = torch.repeat_interleave(lengths, output_size=count)
    shift = runs.starts_R[part] - (ends - lengths)
    places = torch.arange(count, device=lengths.device) + shift.index_select(0, at)
    return runs.rows_R[part].index_select(0, at), runs.sorted_M.index_select(0, places)
