"""What methods answered on test places, kept with the truth so that any metric and any pairing can follow later.

Letters: M examples, P test places, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.files import atomic_path


@dataclass(frozen=True)
class Outcome:
    """What a method answered on test places.

    Attributes:
        places: P names, the unit that intervals resample.
        place_M: index into ``places`` of each example.
        truth: ``(M,)`` class index, or ``(M, K)`` 0/1.
        scores_MK: higher is likelier.
    """

    places: tuple[str, ...]
    place_M: NDArray[np.int64]
    truth: NDArray[np.int64]
    scores_MK: NDArray[np.float64]

    @property
    def answer_M(self) -> NDArray[np.int64]:
        """The likeliest class."""
        return self.scores_MK.argmax(axis=1)

    def take(self, rows: NDArray[np.bool_]) -> Outcome:
        """Some of the examples; places without any are left out."""
        kept, place_M = np.unique(self.place_M[rows], return_inverse=True)
        names = tuple(self.places[at] for at in kept)
        return Outcome(names, place_M.astype(np.int64), self.truth[rows], self.scores_MK[rows])


def join(parts: Sequence[Outcome]) -> Outcome:
    """Outcomes on disjoint test places (folds) as one.

    Raises:
        InputError: if a place is in two of them.
    """
    names = [name for part in parts for name in part.places]
    if len(set(names)) != len(names):
        raise InputError("a place was tested in two folds")
    offsets = np.cumsum([0, *(len(part.places) for part in parts)])[:-1]
    return Outcome(
        tuple(names),
        np.concatenate([part.place_M + offset for part, offset in zip(parts, offsets, strict=True)]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.scores_MK for part in parts]),
    )


def save_outcomes(path: str | Path, outcomes: Mapping[tuple[str, str], Outcome]) -> None:
    """Write outcomes by (task, method) to a ``.npz`` file, atomically; scores are kept in single precision.

    Raises:
        OutputError: if it cannot be written.
    """
    arrays: dict[str, NDArray] = {"keys": np.array(list(outcomes)).reshape(-1, 2)}
    for index, outcome in enumerate(outcomes.values()):
        arrays[f"places{index}"] = np.array(outcome.places)
        arrays[f"place{index}"], arrays[f"truth{index}"] = outcome.place_M, outcome.truth
        arrays[f"scores{index}"] = outcome.scores_MK.astype(np.float32)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_outcomes(path: str | Path) -> dict[tuple[str, str], Outcome]:
    """Read what `save_outcomes` wrote, in its order.

    Raises:
        InputError: missing, truncated or foreign.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {
                (str(task), str(method)): Outcome(
                    tuple(map(str, file[f"places{index}"])),
                    file[f"place{index}"],
                    file[f"truth{index}"],
                    file[f"scores{index}"].astype(float),
                )
                for index, (task, method) in enumerate(file["keys"])
            }
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError("is not a file of outcomes (missing, truncated or foreign)", file=path) from error
