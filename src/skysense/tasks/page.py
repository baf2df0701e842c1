"""What the page of an evaluation shows of single images, and the page itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.draw import CHANGE, draw_boxes, enlarge, overlay_mask, palette, picture
from skysense.data.labelled.example import UNLABELLED, Boxes, Change, Example, OrientedBoxes, Task, masks_of
from skysense.data.labelled.pairs import CHANGE_CLASSES
from skysense.errors import need
from skysense.report import Report, curves
from skysense.tasks.adapted import Adapted
from skysense.tasks.metrics.results import Results
from skysense.tasks.predictions import ChangeMap, ClassMap, ClassScores, Detections, Prediction
from skysense.tasks.report import evaluation_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = NDArray[np.uint8]

_SHOWN_SCORE = 0.3
"""Detections below are not drawn: there are always many that nobody would believe."""
_FEW = 20
"""As many of the likeliest are drawn, or twice as many as there are true boxes: more would hide the image."""
_SIDE = 256
"""Boxes are drawn on pictures of at least so many pixels."""
_KEPT = " The weights with the best validation score were kept."
_COLUMNS = {
    "segmentation": ("image", "truth", "answer"),
    "detection": ("truth", "found"),
    "oriented-detection": ("truth", "found"),
    "change": ("before", "after", "truth", "answer"),
    "semantic-change": (
        "before", "after", "truth before", "truth after", "truth change",
        "answer before", "answer after", "answer change",
    ),
}  # fmt: skip


def write_page(
    path: Path,
    adapted: Adapted,
    data: LabelledData,
    results: Results,
    seen: Mapping[str, tuple[Example, Prediction]],
    *,
    history: Sequence[Mapping[str, float]] = (),
    skipped: Mapping[str, str] | None = None,
) -> None:
    """Write the page of an evaluation.

    Args:
        path: the file.
        adapted: the model.
        data: what it was judged by.
        results: how it did.
        seen: images to show, with what was answered.
        history: of the learning, for its curves.
        skipped: per example that could not be read, why.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: no space, no permission.
    """
    config, encoder = adapted.config, adapted.encoder
    splits = sorted({item.split for item in data.items if item.split})
    facts = {
        "data": data.title,
        "split": ", ".join(splits) or "all",
        "task": adapted.task,
        "sensors": ", ".join(sensor.name for sensor in encoder.sensors.values()),
        "way": config.way,
        "decoder": config.decoder_for(adapted.task),
        "parameters": f"{_million(encoder)} in the encoder, {_million(adapted.head)} in the head",
    }
    report = evaluation_report(
        f"{data.title}: {adapted.task}",
        results,
        facts=facts,
        simulated=data.simulated,
        pictures={name: pictures_of(*pair, classes=len(adapted.classes)) for name, pair in seen.items()},
        columns=_COLUMNS.get(adapted.task, ("image",)),
        notes={name: note for name, pair in seen.items() if (note := note_of(*pair, adapted.classes))},
    )
    if adapted.task not in ("classification", "multilabel"):
        report.figure(_key(adapted.task, adapted.classes), alt="Colours of the classes", caption=_caption(adapted.task))
    if len(history) > 1:
        report.heading("Learning")
        panels = {"loss": {"loss": "loss"}, f"validation: {results.headline}": {"score": "score"}}
        report.figure(
            curves(history, panels, exact=("loss", "score")),
            alt="Loss and validation score by epoch",
            caption="By epoch."
            + (
                " The weights with the best validation score were kept."
                if any("score" in row for row in history)
                else ""
            ),
        )
    _skipped(report, skipped or {})
    report.write(path)


def _million(module: nn.Module) -> str:
    count = sum(one.numel() for one in module.parameters())
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count:,}"


def pictures_of(example: Example, prediction: Prediction, *, classes: int) -> list[Picture]:
    """An image, its label and the answer as pictures, cut to what is no padding; see the columns of the page.

    Args:
        example: the image.
        prediction: the answer.
        classes: K.
    """
    colours, image, target = palette(max(classes, 2)), picture(example.sample), example.target
    if isinstance(prediction, ClassScores):
        return [_cut(image, example)]
    if isinstance(prediction, ClassMap):
        masks = [*masks_of(target), prediction.answer_HW]
        shown = [image, *(overlay_mask(image, mask, colours, opacity=0.55) for mask in masks)]
    elif isinstance(prediction, Detections):
        assert isinstance(target, Boxes | OrientedBoxes)
        shown = _boxes(enlarge(image, max(1, _SIDE // max(image.shape))), example.grid, target, prediction, colours)
    else:
        assert isinstance(target, Change) and example.after is not None
        shown = _change(image, picture(example.after), target, prediction, colours)
    return [_cut(one, example) for one in shown]


def note_of(example: Example, prediction: Prediction, classes: Sequence[str]) -> str:
    """What is written beside the pictures: of classification, what is true and what was answered."""
    if not isinstance(prediction, ClassScores):
        return ""
    scores_K, target = prediction.scores_K, example.target
    if isinstance(target, int):
        answer = int(scores_K.argmax())
        said = f"{classes[answer]} ({100 * scores_K[answer]:.0f} %)"
        return f"{said}, right" if answer == target else f"{said}, but it is {classes[target]}"
    assert isinstance(target, np.ndarray)
    true = ", ".join(name for name, applies in zip(classes, target, strict=True) if applies) or "nothing"
    answered = ", ".join(name for name, score in zip(classes, scores_K, strict=True) if score >= 0.5) or "nothing"
    return f"true: {true}\nanswered: {answered}"


def _boxes(
    image: Picture, grid: tuple[int, int], target: Boxes | OrientedBoxes, found: Detections, colours: Picture
) -> list[Picture]:
    corners = target.corners_N4 if isinstance(target, Boxes) else target.corners_N42
    likeliest = np.argsort(-found.scores_N, kind="stable")[: max(_FEW, 2 * len(target))]
    likeliest = likeliest[found.scores_N[likeliest] >= _SHOWN_SCORE]
    scale, width = image.shape[0] / grid[0], 2 + max(image.shape) // 500
    return [
        draw_boxes(image, corners, target.label_N, colours, dashed_N=target.ignore_N, scale=scale, width=width),
        draw_boxes(
            image, _corners(found.boxes_N[likeliest]), found.label_N[likeliest], colours, scale=scale, width=width
        ),
    ]


def _change(before: Picture, after: Picture, target: Change, prediction: ChangeMap, colours: Picture) -> list[Picture]:
    changed = (prediction.changed_HW >= 0.5).astype(np.uint8)
    truth = (target.before_HW, target.after_HW, target.changed_HW)
    shown = [before, after]
    for first, second, change in (truth, (prediction.before_HW, prediction.after_HW, changed)):
        named = [(image, mask) for image, mask in ((before, first), (after, second)) if mask is not None]
        shown += [overlay_mask(image, mask, colours, opacity=0.55) for image, mask in named]
        only = np.where(change == 0, UNLABELLED, change).astype(np.uint8)  # what did not change stays to be seen
        shown.append(overlay_mask(after, only, CHANGE, opacity=0.7))
    return shown


def _key(task: Task, classes: Sequence[str]) -> Figure:
    """What the colours of the pictures stand for."""
    named = [] if task == "change" else list(zip(classes, palette(max(len(classes), 2)), strict=False))
    if task in ("change", "semantic-change"):
        named.append((CHANGE_CLASSES[1], CHANGE[1]))
    patches = need("matplotlib.patches", "train")
    columns = min(len(named), 6)
    figure = need("matplotlib.figure", "train").Figure(figsize=(1.4 * columns, 0.25 * -(-len(named) // columns) + 0.1))
    handles = [patches.Patch(color=colour / 255, label=shorten(name, 18, placeholder="...")) for name, colour in named]
    figure.legend(handles=handles, loc="center", ncols=columns, fontsize=8, frameon=False)
    return figure


def _caption(task: Task) -> str:
    if task not in ("detection", "oriented-detection"):
        return "Colours; pixels without label have none."
    return (
        "Colours. Dashed boxes are neither to be found nor counted. Of what was found the likeliest are drawn, with "
        f"scores of at least {_SHOWN_SCORE:g}: {_FEW} at most, or twice as many as there are true boxes."
    )


def _corners(boxes_N: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes as they are drawn: oriented ones as four corners."""
    if boxes_N.shape[1] == 4:
        return boxes_N
    x, y, w, h, angle = boxes_N.T
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1) * w[:, None] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * h[:, None] / 2
    centre, turns = np.stack([x, y], axis=1), ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.stack([centre + one * along + other * across for one, other in turns], axis=1)


def _cut(shown: Picture, example: Example) -> Picture:
    """A picture without the padding."""
    height, width = (
        -(-length * side // whole)
        for length, side, whole in zip(example.size, shown.shape[:2], example.grid, strict=True)
    )
    return np.ascontiguousarray(shown[:height, :width])


def _skipped(report: Report, skipped: Mapping[str, str]) -> None:
    if skipped:
        report.heading("Left out")
        report.table(["example", "why"], list(skipped.items()), caption="Examples that could not be read")
