"""From a handful of labelled places to a classifier of every cell of a map.

Letters: N labelled vectors, K their numbers (bands of a map), C classes, R independent directions of the labelled
vectors, H W cells, n cells of a run that fits the cache.

A cell is brought to ``z = (x - mean) / spread`` with one spread for all bands, since the bands of features are of one
unit and differ in how much they say. The scores ``W z + b`` are linear, so that a map costs one product with a matrix.
Two numbers tell what an answer is worth:

* the probability of a class, the softmax of the scores over a temperature that was fitted to labels left out;
* the novelty ``v / (1 + v)`` with ``v = z' A^-1 z``, ``A = sum_i w_i z_i z_i' + strength`` of the ridge regression: the
  variance that a Bayesian linear regression gives the scores of the cell, in units of the noise (Bishop 2006, 3.59), as
  the weight that the cell would have in its own answer if it were labelled too. 0: the labels determine it; towards 1:
  it is unlike all of them, and the probability means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.maps.fewshot_fit import Examples, logistic, ridge, temperature
from skysense.maps.similarity import product, runs

Method = Literal["ridge", "logistic"]


@dataclass(frozen=True)
class Answers:
    """What a classifier says of a block of cells; NaN where there is no data.

    Attributes:
        probability_CHW: of each class, adding up to one.
        novelty_HW: 0 .. 1, how little the labels say about a cell.
    """

    probability_CHW: NDArray[np.float32]
    novelty_HW: NDArray[np.float32]

    @property
    def classes_HW(self) -> NDArray[np.float32]:
        """Index of the most probable class."""
        best_HW = self.probability_CHW.argmax(axis=0).astype(np.float32)
        best_HW[np.isnan(self.novelty_HW)] = np.nan
        return best_HW

    @property
    def uncertainty_HW(self) -> NDArray[np.float32]:
        """One minus the probability of the most probable class."""
        return 1 - self.probability_CHW.max(axis=0)


@dataclass(frozen=True)
class FewShot:
    """A linear classifier of the cells of a map, on their stored numbers.

    Attributes:
        weight_CK, bias_C: of the scores.
        temperature: that the scores are divided by.
        centre_K, per_K: a cell is standardised as ``(x - centre) * per``.
        span_RK: directions of the labelled vectors, after standardising.
        gain_R, rest: ``v = gain . (span z)^2 + rest |z|^2``.
        method: how it was fitted.
        strength: of the penalty on its weights.
        left_out_NC: scores of the labelled vectors, each by a fit to the others.
    """

    weight_CK: NDArray[np.float32]
    bias_C: NDArray[np.float32]
    temperature: float
    centre_K: NDArray[np.float32]
    per_K: NDArray[np.float32]
    span_RK: NDArray[np.float32]
    gain_R: NDArray[np.float32]
    rest: float
    method: Method
    strength: float
    left_out_NC: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        vectors_NK: NDArray,
        labels_N: NDArray[np.integer],
        *,
        method: Method = "ridge",
        strength: float | None = None,
    ) -> FewShot:
        """Learn from labelled vectors.

        Args:
            vectors_NK: in their own unit (decoded).
            labels_N: class index of each, 0 .. C - 1, every class at least once.
            method: see `skysense.maps.fewshot_fit.ridge` and `skysense.maps.fewshot_fit.logistic`.
            strength: of the penalty; chosen by leaving one out if None.

        Raises:
            InputError: nothing labelled, a class without a label, fewer than two classes, numbers that are not finite,
                or vectors that are all the same.
            ConfigError: see `skysense.maps.fewshot_fit.logistic`.
        """
        values_NK = np.asarray(vectors_NK, np.float64)
        label_N = np.asarray(labels_N, np.int64)
        _check(values_NK, label_N)
        examples = Examples.of(values_NK, label_N)
        if not len(examples.singular_R):
            raise InputError("all labelled vectors are the same: there is nothing to tell the classes apart by")
        regression = ridge(examples, strength if method == "ridge" else None)
        chosen = regression if method == "ridge" else logistic(examples, strength)
        variance_R = 1 / (examples.singular_R**2 + regression.strength)
        rest = 1 / regression.strength if len(examples.singular_R) < values_NK.shape[1] else 0.0
        weight_CK = chosen.weight_CD / examples.spread
        return cls(
            weight_CK=weight_CK.astype(np.float32),
            bias_C=(chosen.bias_C - weight_CK @ examples.mean_D).astype(np.float32),
            temperature=temperature(chosen, examples),
            centre_K=examples.mean_D.astype(np.float32),
            per_K=np.full(values_NK.shape[1], 1 / examples.spread, np.float32),
            span_RK=examples.right_RD.astype(np.float32),
            gain_R=(variance_R - rest).astype(np.float32),
            rest=rest,
            method=method,
            strength=chosen.strength,
            left_out_NC=chosen.left_out_NC,
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from skysense.maps.draw import html_table

        classes, bands = self.weight_CK.shape
        facts = {"classifier": self.method, "classes": classes, "bands": bands, "labels": len(self.left_out_NC)}
        return html_table(facts | {"strength": f"{self.strength:.3g}", "temperature": f"{self.temperature:.3g}"})

    def stored_with(self, scale: Sequence[float] | None, offset: Sequence[float] | None = None) -> FewShot:
        """The same classifier for numbers that are stored with a scale and an offset per band."""
        if scale is None:
            return self
        scale_K = np.asarray(scale, np.float32)
        offset_K = np.zeros_like(scale_K) if offset is None else np.asarray(offset, np.float32)
        return replace(
            self,
            weight_CK=self.weight_CK * scale_K,
            bias_C=self.bias_C + self.weight_CK @ offset_K,
            centre_K=(self.centre_K - offset_K) / scale_K,
            per_K=self.per_K * scale_K,
        )

    def scores(self, block_KHW: NDArray) -> NDArray[np.float32]:
        """Scores ``(C, H, W)`` of a block of stored numbers (int8, float16, float32); NaN where there is no data."""
        scores_CN = np.empty((len(self.bias_C), block_KHW[0].size), np.float32)
        for some, values_Kn in runs(block_KHW):
            scores_CN[:, some] = product(self.weight_CK, values_Kn) + self.bias_C[:, None]
        return scores_CN.reshape(-1, *block_KHW.shape[1:])

    def answer(self, block_KHW: NDArray) -> Answers:
        """Probabilities and novelty of a block of stored numbers (int8, float16, float32)."""
        return Answers(self.probability(block_KHW), self.novelty(block_KHW))

    def novelty(self, block_KHW: NDArray) -> NDArray[np.float32]:
        """How little the labels say about each cell ``(H, W)``, 0 .. 1; NaN where there is no data."""
        novelty_N = np.empty(block_KHW[0].size, np.float32)
        for some, values_Kn in runs(block_KHW):
            novelty_N[some] = self._novelty(values_Kn)
        return novelty_N.reshape(block_KHW.shape[1:])

    def probability(self, block_KHW: NDArray) -> NDArray[np.float32]:
        """Probability of each class ``(C, H, W)``; NaN where there is no data."""
        probability_CN = np.empty((len(self.bias_C), block_KHW[0].size), np.float32)
        for some, values_Kn in runs(block_KHW):
            probability_CN[:, some] = self._probability(values_Kn)
        return probability_CN.reshape(-1, *block_KHW.shape[1:])

    def _probability(self, values_Kn: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities ``(C, n)``: they depend on how far the scores are from that of the first class, no more."""
        farther_CK = (self.weight_CK[1:] - self.weight_CK[0]) / np.float32(self.temperature)
        bias_C = (self.bias_C[1:] - self.bias_C[0]) / np.float32(self.temperature)
        made_Cn = np.zeros((len(self.bias_C), values_Kn.shape[1]), np.float32)
        np.add(product(farther_CK, values_Kn), bias_C[:, None], out=made_Cn[1:])
        made_Cn -= made_Cn.max(axis=0)
        np.exp(made_Cn, out=made_Cn)
        made_Cn /= made_Cn.sum(axis=0)
        return made_Cn

    def _novelty(self, values_Kn: NDArray[np.float32]) -> NDArray[np.float32]:
        along_Rn = product(self.span_RK * self.per_K, values_Kn)
        along_Rn -= (self.span_RK @ (self.centre_K * self.per_K))[:, None]
        variance_n = self.gain_R @ np.square(along_Rn)
        if self.rest:
            standard_Kn = (values_Kn - self.centre_K[:, None]) * self.per_K[:, None]
            variance_n += np.float32(self.rest) * np.square(standard_Kn).sum(axis=0)
        np.maximum(variance_n, 0, out=variance_n)
        return (variance_n / (1 + variance_n)).astype(np.float32, copy=False)


def right_when_left_out(left_out_NC: NDArray[np.float64], label_N: NDArray[np.integer]) -> float | None:
    """Share of labelled vectors that a fit to the others classifies rightly, each class counting the same.

    A class with a single label is left out of the figure: without that label nothing is known of it.

    Args:
        left_out_NC: see `FewShot`.
        label_N: class of each.

    Returns:
        0 .. 1; None where every class has a single label.
    """
    hit_N = left_out_NC.argmax(axis=1) == label_N
    several = np.flatnonzero(np.bincount(label_N) > 1)
    return float(np.mean([hit_N[label_N == index].mean() for index in several])) if len(several) else None


def _check(values_NK: NDArray, label_N: NDArray[np.int64]) -> None:
    if not len(values_NK) or len(values_NK) != len(label_N):
        raise InputError(f"{len(values_NK)} vectors and {len(label_N)} labels: there must be one label for each vector")
    if not np.isfinite(values_NK).all():
        raise InputError("labelled vectors hold numbers that are not finite")
    counts_C = np.bincount(label_N) if label_N.min() >= 0 else np.zeros(1)
    if not counts_C.all():
        raise InputError("class indices run from 0 without a gap: every class needs a label")
    if len(counts_C) < 2:
        raise InputError(
            "all labels are of one class", fix="Label at least two classes, e.g. the one looked for and other"
        )
