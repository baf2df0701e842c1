"""Schedules as plain functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math


def cosine(start: float, end: float, progress: float) -> float:
    """From ``start`` (progress 0) to ``end`` (progress 1) along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def warmup_cosine(peak: float, end: float, progress: float, warmup: float) -> float:
    """Linear from 0 to ``peak`` over the first ``warmup`` of the run, then a cosine to ``end``.

    Args:
        peak: value when the warm-up is over.
        end: value at the end of the run.
        progress: share of the run, 0 .. 1, of the step about to be made.
        warmup: share of the run.
    """
    if progress < warmup:
        return peak * progress / warmup
    return cosine(peak, end, (progress - warmup) / max(1 - warmup, 1e-12))


def warmup_poly(peak: float, progress: float, warmup: float, power: float = 1.0) -> float:
    """Linear from nearly 0 to ``peak`` over the first ``warmup`` of the run, then ``(1 - progress) ** power`` to 0.

    Args:
        peak: value when the warm-up is over.
        progress: share of the run, 0 .. 1, of the step about to be made.
        warmup: share of the run.
        power: of the fall; 1 is a line.
    """
    if progress < warmup:
        return peak * max(progress / warmup, 1e-3)
    return float(peak * max(0.0, 1 - (progress - warmup) / max(1 - warmup, 1e-12)) ** power)


def linear_then_flat(start: float, end: float, progress: float, over: float) -> float:
    """Linear from ``start`` to ``end`` over the first ``over`` of the run, then ``end``."""
    return end if progress >= over else start + (end - start) * progress / over
