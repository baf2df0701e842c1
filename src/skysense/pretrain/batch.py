"""From places to what one step needs: global and local views side by side, and who corresponds to whom.

Rows of the global batch: both views of the first place, both of the second, ...: the batch of several ranks is theirs
one after the other. Row i of the student is compared with row ``other(i)`` of the teacher: the other view of the same
place.

Letters: B places, P pairs, S cells, T time, h w cells of a view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from skysense.data.outline import Outline
from skysense.observation import Batch, Sample, collate
from skysense.pretrain.augment import augment
from skysense.pretrain.config import ObjectiveConfig, ViewConfig
from skysense.pretrain.views import Look, View, common_cells, cut, draw_views, pair_frames, shown, within
from skysense.sensors import MODALITIES, Modality


@dataclass
class FramePairs:
    """Frames to be compared, as (row, time) in a student's and a teacher's batch; each ``(P,)`` int64."""

    student_row: Tensor
    student_time: Tensor
    teacher_row: Tensor
    teacher_time: Tensor

    def to(self, device: torch.device | str) -> FramePairs:
        """The same on another device."""
        return FramePairs(*(tensor.to(device) for tensor in vars(self).values()))


@dataclass
class ViewBatch:
    """All views of one step.

    Attributes:
        globals: 2B rows.
        locals: local crops, all of a place side by side, or None.
        student_cells, teacher_cells: ``(2B, S)`` index of common cells in either map, in random order.
        common: ``(2B, S)`` bool, entries that exist.
        global_pairs, local_pairs: per modality; local crops pair with both global views.
        places: B.
        hidden: ``(2B, h, w)`` bool, cells of the image that the student does not see; None without the masked term.
    """

    globals: Batch
    locals: Batch | None
    student_cells: Tensor
    teacher_cells: Tensor
    common: Tensor
    global_pairs: dict[Modality, FramePairs]
    local_pairs: dict[Modality, FramePairs]
    looks: list[list[Look]]
    places: int
    hidden: Tensor | None

    def other(self) -> Tensor:
        """``(2B,)`` the teacher's row for each row of the student."""
        return torch.arange(2 * self.places, device=self.common.device) ^ 1

    def pairs_of(self, key: Modality) -> FramePairs:
        """Pairs of frames of the global views; none of a modality that both views do not have."""
        nothing = torch.zeros(0, dtype=torch.int64, device=self.common.device)
        return self.global_pairs.get(key, FramePairs(nothing, nothing, nothing, nothing))

    def to(self, device: torch.device | str) -> ViewBatch:
        """Move everything and apply the colour augmentation there."""
        moved = ViewBatch(
            globals=self.globals.to(device),
            locals=None if self.locals is None else self.locals.to(device),
            student_cells=self.student_cells.to(device),
            teacher_cells=self.teacher_cells.to(device),
            common=self.common.to(device),
            global_pairs={key: pairs.to(device) for key, pairs in self.global_pairs.items()},
            local_pairs={key: pairs.to(device) for key, pairs in self.local_pairs.items()},
            looks=self.looks,
            places=self.places,
            hidden=None if self.hidden is None else self.hidden.to(device),
        )
        for batch, looks in zip((moved.globals, moved.locals), self.looks, strict=True):
            if batch is not None and "hr" in batch.frames:
                frames = batch.frames["hr"]
                frames.values_BTCHW = augment(frames.values_BTCHW[:, 0], looks)[:, None]
        return moved


@dataclass(frozen=True)
class Drawn:
    """A place, or the part of it that its views show; the views, and the generator that drew them."""

    sample: Sample
    views: list[View]
    rng: Generator


def draw(place: Sample | Outline, rng: Generator, config: ViewConfig) -> Drawn:
    """Draw the views of a place. Of an outline only what they show is read; the views are the same.

    Raises:
        InputError: as `draw_views`; or what they show cannot be read.
    """
    if isinstance(place, Sample):
        return Drawn(place, draw_views(rng, place, config), rng)
    views = draw_views(rng, place.sample, config)
    window, frames = shown(views)
    return Drawn(place.fetch(window, frames), [within(view, window, frames) for view in views], rng)


def make_batch(
    samples: Sequence[Sample], rngs: Sequence[Generator], config: ViewConfig, objective: ObjectiveConfig | None = None
) -> ViewBatch:
    """Draw and cut the views of each place and work out the correspondences.

    Args:
        samples: whole places, at least one.
        rngs: one generator per place, so that a place's views do not depend on its neighbours in the batch.
        config: of the views.
        objective: says what is hidden for the masked term; nothing if None.

    Raises:
        InputError: as `draw_views`.
    """
    return assemble([draw(sample, rng, config) for sample, rng in zip(samples, rngs, strict=True)], config, objective)


def assemble(drawn: Sequence[Drawn], config: ViewConfig, objective: ObjectiveConfig | None = None) -> ViewBatch:
    """Cut the views of some places, at least one, and work out the correspondences; arguments as in `make_batch`."""
    rngs = [one.rng for one in drawn]
    rows = [(one.sample, view) for one in drawn for view in one.views[:2]]
    local_rows = [(one.sample, view) for one in drawn for view in one.views[2:]]
    cells = [common_cells(rows[i][1], rows[i ^ 1][1]) for i in range(len(rows))]
    orders = [rng.permutation(len(cells[2 * i][0])) for i, rng in enumerate(rngs)]  # both directions share one order
    both = [(i, i ^ 1) for i in range(len(rows))]
    crops = len(local_rows) // len(drawn)
    locally = [(i, i // crops * 2 + view) for i in range(len(local_rows)) for view in range(2)]
    hidden = _hidden_cells(rngs, config.global_cells, objective) if objective and objective.masked else None
    global_batch = _with_words(collate([cut(*row) for row in rows]), rngs)
    local_batch = _with_words(collate([cut(*row) for row in local_rows]), rngs) if local_rows else None
    student, common = _pad_cells([cells[i][0][orders[i // 2]] for i in range(len(rows))])
    teacher, _ = _pad_cells([cells[i][1][orders[i // 2]] for i in range(len(rows))])
    return ViewBatch(
        globals=global_batch,
        locals=local_batch,
        student_cells=student,
        teacher_cells=teacher,
        common=common,
        global_pairs=_frame_pairs(rows, rows, both, config.pair_days),
        local_pairs=_frame_pairs(local_rows, rows, locally, config.pair_days),
        looks=[[view.look for _, view in rows], [view.look for _, view in local_rows]],
        places=len(drawn),
        hidden=hidden,
    )


def _with_words(batch: Batch, rngs: Sequence[Generator]) -> Batch:
    """Random words for drop-path, drawn by each place; drawn last, so that all else is the same with and without."""
    words = np.stack([rng.integers(2**32, size=batch.size // len(rngs)) for rng in rngs])
    batch.words_B = torch.from_numpy(words).flatten()
    return batch


def _hidden_cells(rngs: Sequence[Generator], size: int, config: ObjectiveConfig) -> Tensor:
    """``(2B, h, w)`` bool; drawn after the views, so that these are the same with and without it."""
    count = max(1, round(config.masked_share * size**2))
    hidden = np.zeros((2 * len(rngs), size**2), bool)
    for row in range(len(hidden)):
        rng = rngs[row // 2]
        if rng.random() < config.masked_views:
            hidden[row, rng.choice(size**2, count, replace=False)] = True
    return torch.from_numpy(hidden).view(-1, size, size)


def _pad_cells(cells: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    length = max(1, *(len(one) for one in cells))
    padded, exists = np.zeros((len(cells), length), np.int64), np.zeros((len(cells), length), bool)
    for row, one in enumerate(cells):
        padded[row, : len(one)], exists[row, : len(one)] = one, True
    return torch.from_numpy(padded), torch.from_numpy(exists)


Row = tuple[Sample, View]


def _frame_pairs(
    students: Sequence[Row], teachers: Sequence[Row], both: Sequence[tuple[int, int]], days: int
) -> dict[Modality, FramePairs]:
    pairs: dict[Modality, FramePairs] = {}
    for key in MODALITIES:
        found: list[np.ndarray] = []
        for student, teacher in both:
            dates = [_true_dates(row, key) for row in (students[student], teachers[teacher])]
            if dates[0] is not None and dates[1] is not None:
                first, second = pair_frames(dates[0], dates[1], days)
                found.append(np.stack([np.full_like(first, student), first, np.full_like(second, teacher), second]))
        if found:
            pairs[key] = FramePairs(*torch.from_numpy(np.concatenate(found, axis=1).astype(np.int64)))
    return pairs


def _true_dates(row: Row, key: Modality) -> np.ndarray | None:
    sample, view = row
    frames: Mapping[Modality, np.ndarray] = view.frames
    return sample.series[key].dates[frames[key]] if key in frames else None
