"""Simple classifiers on frozen features. Everything is fitted, standardised and chosen on the training part alone.

Letters: M examples (places or cells), D features, K classes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, need
from skysense.probes.targets import deal

Head = Literal["linear", "knn", "forest", "majority"]
"""Multinomial (multi-label: one binary per class) logistic regression; k nearest neighbours; random forest; the class
frequencies of the training part."""

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse L2 strengths to choose from, on standardised features (scikit-learn's C)."""

NEIGHBOURS = 10
TREES = 300
_CHUNK = 2048
_TEMPERATURE = 0.07
"""Weight of a neighbour is exp(cosine / temperature), as customary for self-supervised features."""


@dataclass(frozen=True)
class Examples:
    """What a classifier learns from or is tested on.

    Attributes:
        features_MD: float32.
        target: ``(M,)`` class index, or ``(M, K)`` 0/1 if an example may have several.
        place_M: which place an example belongs to; a place is never split.
        classes: K.
    """

    features_MD: NDArray[np.float32]
    target: NDArray[np.int64]
    place_M: NDArray[np.int64]
    classes: int

    @property
    def several(self) -> bool:
        """Whether an example may have several classes."""
        return self.target.ndim == 2

    def take(self, rows: NDArray[Any]) -> Examples:
        """Some of the examples, by index or mask."""
        return Examples(self.features_MD[rows], self.target[rows], self.place_M[rows], self.classes)

    @property
    def hot_MK(self) -> NDArray[np.float64]:
        """0/1 per class."""
        return self.target.astype(float) if self.several else np.eye(self.classes)[self.target]


def predict(head: Head, train: Examples, test_MD: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float64]:
    """Fit a head on the training part and score the test part.

    Args:
        head: which.
        train: examples to learn from.
        test_MD: features to score.
        seed: of the inner folds and the forest.

    Returns:
        ``(M, K)`` probability per class; a class that the training part does not have gets zero.

    Raises:
        InputError: nothing to learn from, or features that are not finite.
        MissingExtra: scikit-learn is not installed (linear, forest).
    """
    if not len(train.target):
        raise InputError("there is no labelled example to learn from")
    if not (np.isfinite(train.features_MD).all() and np.isfinite(test_MD).all()):
        raise InputError("features are not finite")
    if head == "majority":
        return np.tile(train.hot_MK.mean(axis=0), (len(test_MD), 1))
    if head == "knn":
        return _knn(train, test_MD)
    if head == "forest":
        return _forest(train, test_MD, seed)
    return _linear(train, test_MD, seed)


def _knn(train: Examples, test_MD: NDArray[np.float32]) -> NDArray[np.float64]:
    mean = train.features_MD.mean(axis=0)  # what all features share says nothing and makes every cosine nearly one
    known, asked = _unit(train.features_MD - mean), _unit(test_MD - mean)
    hot, k = train.hot_MK, min(NEIGHBOURS, len(known))
    scores = np.empty((len(asked), train.classes))
    for start in range(0, len(asked), _CHUNK):
        cosine = asked[start : start + _CHUNK] @ known.T
        near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(cosine, near, axis=1).astype(float)
        weight = np.exp((best - best.max(axis=1, keepdims=True)) / _TEMPERATURE)
        weight /= weight.sum(axis=1, keepdims=True)
        scores[start : start + _CHUNK] = np.einsum("mk,mkc->mc", weight, hot[near])
    return scores


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _forest(train: Examples, test_MD: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    ensemble = need("sklearn.ensemble", "train")
    forest = ensemble.RandomForestClassifier(TREES, random_state=seed)
    forest.fit(train.features_MD, train.target)
    if not train.several:
        return _all_classes(forest.predict_proba(test_MD), forest.classes_, train.classes)
    answers = forest.predict_proba(test_MD)
    columns = [_all_classes(one, known, 2)[:, 1] for one, known in zip(answers, forest.classes_, strict=True)]
    return np.stack(columns, axis=1)


def _linear(train: Examples, test_MD: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    """Logistic regression whose strength is chosen by log-loss on folds of the training PLACES."""
    strength = choose_strength(train, seed)
    mean, scale = _standard(train.features_MD)
    return _fit_score(train, mean, scale, strength, test_MD)


def choose_strength(train: Examples, seed: int) -> float:
    """The inverse L2 strength with the least log-loss on training places that were held out.

    Four folds where examples are places; one where they are cells, of which there are many.
    """
    first = np.unique(train.place_M, return_index=True)[1]
    per_place = len(first) == len(train.place_M)
    strata = train.target.tolist() if per_place and not train.several else None
    fold_M = deal(train.place_M.tolist(), 4, seed, strata)
    if fold_M.max() == 0:
        return STRENGTHS[len(STRENGTHS) // 2]
    losses = np.zeros(len(STRENGTHS))
    for fold in range(fold_M.max() + 1 if per_place else 1):
        inner, held = train.take(fold_M != fold), train.take(fold_M == fold)
        mean, scale = _standard(inner.features_MD)
        for index, strength in enumerate(STRENGTHS):
            scores = _fit_score(inner, mean, scale, strength, held.features_MD).clip(1e-6, 1 - 1e-6)
            hot = held.hot_MK
            gain = hot * np.log(scores)
            losses[index] -= (gain + (1 - hot) * np.log(1 - scores)).sum() if train.several else gain.sum()
    return STRENGTHS[int(losses.argmin())]


def _standard(features_MD: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    std = features_MD.std(axis=0)
    return features_MD.mean(axis=0), np.where(std > 1e-8, std, 1.0).astype(np.float32)


def _fit_score(
    train: Examples,
    mean_D: NDArray[np.float32],
    scale_D: NDArray[np.float32],
    strength: float,
    test_MD: NDArray[np.float32],
) -> NDArray[np.float64]:
    linear = need("sklearn.linear_model", "train")
    errors = need("sklearn.exceptions", "train")
    known, asked = (train.features_MD - mean_D) / scale_D, (test_MD - mean_D) / scale_D
    columns = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.ConvergenceWarning)  # weakly regularised fits converge slowly and lose
        for target in train.target.T if train.several else [train.target]:
            present = np.unique(target)
            if len(present) == 1:
                columns.append(np.tile(np.eye(2 if train.several else train.classes)[present[0]], (len(asked), 1)))
                continue
            fitted = linear.LogisticRegression(C=strength, max_iter=300).fit(known, target)
            classes = 2 if train.several else train.classes
            columns.append(_all_classes(fitted.predict_proba(asked), fitted.classes_, classes))
    return np.stack([column[:, 1] for column in columns], axis=1) if train.several else columns[0]


def _all_classes(scores: NDArray[np.floating], known: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    full = np.zeros((len(scores), classes))
    full[:, known] = scores
    return full
