"""An evaluation as a page for people: how well a model does, beside what needs no model, and where it fails.

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, need
from skysense.probes.intervals import Interval
from skysense.report import Cell, Report, picture_sheet
from skysense.tasks.metrics.calibration import BINS
from skysense.tasks.metrics.results import ImageScore, Reliability, Results, difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pictures = Mapping[str, Sequence[NDArray[np.uint8]]]
"""By name of the image: ``(H, W)`` or ``(H, W, 3)`` uint8, one for each column of the sheet."""

_MEANING = {
    "OA": "share of labels answered rightly",
    "top-5": "share of images whose class is among the five likeliest",
    "macro F1": "F1 of each class, averaged",
    "micro F1": "F1 of all classes counted together",
    "mean F1": "F1 of each class, averaged",
    "micro mAP": "average precision over all pairs of image and class",
    "mIoU": "intersection over union of each class, averaged",
    "F1": "harmonic mean of precision and recall of change",
    "F1 of change": "harmonic mean of precision and recall of change",
    "precision": "share of what is answered as change that is change",
    "recall": "share of change that is found",
    "IoU": "intersection over union of change",
    "SCS": "mean of BC and SC",
    "BC": "intersection over union of change",
    "SC": "mIoU where something truly changed",
    "mAP75": "average precision at an overlap of 0.75, averaged over classes",
    "mAP50 (area)": "the same as area under the curve of precision and recall",
    "mAP50 (VOC area)": "by the rules of Pascal VOC, area under the curve",
    "mAP50 (VOC 11 points)": "by the rules of Pascal VOC 2007",
    "ECE": "expected calibration error: how far confidence is from the share of right answers; lower is better",
}
_MEANING_OF_MAP = {
    "multilabel": {"mAP": "average precision of each class, averaged"},
    "detection": {
        "mAP50": "average precision at an overlap of 0.5 (COCO), averaged over classes",
        "mAP": "the same, averaged over overlaps from 0.5 to 0.95",
    },
    "oriented-detection": {"mAP50": "average precision at an overlap of 0.5 and 11 points of recall (DOTA)"},
}
_AVERAGE_PRECISION = (
    "average precision at an overlap of 0.5, and of an image without objects what the surest detection lacks to 100 %"
)
_OWN = {
    "classification": "probability of the true class",
    "multilabel": "mean probability of what is so, over classes",
    "segmentation": "mIoU of the image",
    "detection": _AVERAGE_PRECISION,
    "oriented-detection": _AVERAGE_PRECISION,
    "change": "intersection over union of change",
    "semantic-change": "intersection over union of change",
}
"""What the score of a single image is."""

_WHOLE = ("images", "boxes", "detections")
"""Columns of the table of classes that are counts; the others are shares."""

_PICTURE, _LINE, _WIDTH = 2.15, 0.13, 34
"""Inches of a picture in a grid and of a line of the text above it, and letters in that line."""

_NUMBERED = 15
"""Most classes of a confusion matrix whose cells have room for numbers."""


def evaluation_report(
    title: str,
    results: Results,
    *,
    facts: Mapping[str, Any],
    simulated: bool,
    pictures: Pictures | None = None,
    columns: Sequence[str] = ("image", "truth", "answer"),
    notes: Mapping[str, str] | None = None,
    models: Mapping[str, Results] | None = None,
) -> Report:
    """The page of one evaluated model.

    Args:
        title: of the page.
        results: of the model.
        facts: what was evaluated: model, way of adapting, data, split.
        simulated: whether any pixel was made up.
        pictures: of some of the images in ``results.worst`` and ``results.best``; no sheet without.
        columns: what the pictures of an image show. With one column the sheet is a grid.
        notes: by name of an image, a line of text beside its pictures, such as true and answered class.
        models: results of several models on the same images by name, to be compared with the first.

    Raises:
        InputError: pictures do not fit the columns, or models were evaluated on different images.
        MissingExtra: matplotlib is not installed.
    """
    report = Report(title, simulated=simulated)
    report.facts(dict(facts) | {name: f"{count:,}" for name, count in results.counts.items()})
    report.heading("How well it does")
    _add_metrics(report, results)
    if models:
        add_differences(report, models)
    report.heading("By class")
    _add_classes(report, results)
    if results.confusion_KK is not None:
        _add_confusion(report, results.confusion_KK, results.classes)
    if results.reliability is not None and results.reliability.count_Q.any():
        report.heading("Is its confidence to be trusted?")
        report.figure(
            reliability_diagram(results.reliability),
            alt="Share of right answers by confidence, beside the diagonal of perfect calibration",
            caption="Left: among answers of like confidence, the share that is right; on the dashed line confidence "
            "means what it says, below it the model is too sure. Right: how many answers have that confidence.",
        )
    if pictures:
        _add_pictures(report, results, pictures, columns, notes or {})
    return report


def add_differences(report: Report, models: Mapping[str, Results]) -> None:
    """Add a table of how models differ from the first of them, each resample of images drawn for both alike.

    Args:
        report: to add to.
        models: results by name, on the same images.

    Raises:
        InputError: evaluated on different images, or fewer than two models.
    """
    if len(models) < 2:
        raise InputError("a comparison needs two models at least")
    (first, base), *others = models.items()
    header, rows = ["metric", first], [[name, _cell(value)] for name, value in base.metrics.items()]
    for model, results in others:
        header += [model, f"{model} – {first}"]
        for row, metric in zip(rows, base.metrics, strict=True):
            found = difference(results, base, metric)
            mark = "**" if found.excludes_zero else ""
            row += [_percent(results.metrics[metric].value), f"{mark}{_cell(found, sign='+')}{mark}"]
    report.heading("Beside other models")
    report.table(
        header,
        rows,
        caption="In percent and points, with 95 % intervals; those of differences draw the same images for both models "
        "(bold where zero lies outside). Of ECE less is better.",
    )


def confusion_picture(confusion_KK: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """A confusion matrix, each row (a true class) as shares of the class.

    Args:
        confusion_KK: counts, rows are the truth.
        classes: names.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    count = len(classes)
    side, size = float(np.clip(2.2 + 0.42 * count, 3.4, 8.8)), float(np.clip(9.5 - 0.09 * count, 5, 8))
    figure = need("matplotlib.figure", "train").Figure(figsize=(side + 0.4, side), layout="constrained")
    axis = figure.subplots()
    share_KK = 100 * confusion_KK / np.maximum(confusion_KK.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(share_KK, cmap="Blues", vmin=0, vmax=100)
    names = [name if len(name) <= 26 else f"{name[:25]}…" for name in classes]
    axis.set_xticks(range(count), names, rotation=90 if count > 4 else 0, fontsize=size)
    axis.set_yticks(range(count), names, fontsize=size)
    axis.set_xlabel("answer", fontsize=9)
    axis.set_ylabel("truth", fontsize=9)
    if count <= _NUMBERED:
        for (row, column), share in np.ndenumerate(share_KK):
            if not confusion_KK[row].any():
                continue  # shares of nothing
            colour = "white" if share > 60 else "black"
            text = f"{share:.0f}" if share >= 0.5 or not confusion_KK[row, column] else "<1"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    bar = figure.colorbar(image, ax=axis, shrink=0.6)
    bar.set_label("% of the true class", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def reliability_diagram(reliability: Reliability) -> Figure:
    """Share of right answers by confidence, and how often each confidence is given.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "train").Figure(figsize=(7.2, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    centre_Q, width = (np.arange(BINS) + 0.5) / BINS, 0.92 / BINS
    left.bar(centre_Q, np.nan_to_num(reliability.right_Q), width, color="#1f4e8c")
    left.plot([0, 1], [0, 1], color="#c05a00", linestyle="--", linewidth=1)
    left.set_ylabel("share that is right", fontsize=8)
    right.bar(centre_Q, 100 * reliability.count_Q / reliability.count_Q.sum(), width, color="#6b7280")
    right.set_ylabel("% of all answers", fontsize=8)
    left.set_ylim(0, 1)
    for axis in (left, right):
        axis.set_xlim(0, 1)
        axis.set_xlabel("confidence", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _add_metrics(report: Report, results: Results) -> None:
    lead, meaning = results.metrics[results.headline], _MEANING | _MEANING_OF_MAP.get(results.task, {})
    groups, images = lead.n_places, results.counts["images"]
    drawn = f"{images:,} images" if groups == images else f"{groups:,} groups of images that lie on the same ground"
    report.paragraph(
        f"{results.headline}: {_percent(lead.value)} %, 95 % interval {_percent(lead.lo)} to {_percent(lead.hi)}, "
        f"from resampling {drawn}."
    )
    if groups < 10:
        of = ("image" if groups == images else "group") + ("s" if groups != 1 else "")
        report.note(f"With {groups} {of} an interval says little: it cannot see what other places are like.")
    rows: list[list[Cell]] = []
    for name in sorted(results.metrics, key=lambda name: name != results.headline):
        beside = [_cell(metrics[name]) if name in metrics else "" for metrics in results.baselines.values()]
        mark = "**" if name == results.headline else ""
        rows.append([f"{mark}{name}{mark}", f"{mark}{_cell(results.metrics[name])}{mark}", *beside, meaning[name]])
    report.table(
        ["metric", "this model", *results.baselines, "what it is"],
        rows,
        caption="In percent, with 95 % intervals"
        + ("; beside the model, answers that are given without looking at the image" if results.baselines else ""),
    )


def _add_classes(report: Report, results: Results) -> None:
    rows: list[list[Cell]] = []
    for at, name in enumerate(results.classes):
        values = [(column, values[at]) for column, values in results.per_class.items()]
        rows.append([name, *(f"{value:,.0f}" if column in _WHOLE else _percent(value) for column, value in values)])
    report.table(
        ["class", *results.per_class], rows, caption="Shares in percent; empty where there is nothing to judge"
    )


def _add_confusion(report: Report, confusion_KK: NDArray[np.int64], classes: Sequence[str]) -> None:
    report.heading("What is taken for what", level=3)
    report.figure(
        confusion_picture(confusion_KK, classes),
        alt="Confusion matrix: shares of each true class by answered class",
        caption="Of all labels of a class (a row), the share that was answered as each class (a column)",
    )
    wrong_KK = confusion_KK - np.diag(np.diag(confusion_KK))
    order = np.argsort(-wrong_KK, axis=None, kind="stable")[:10]
    pairs = [divmod(int(at), len(classes)) for at in order if wrong_KK.flat[at]]
    if len(classes) > 2 and pairs:
        total_K = confusion_KK.sum(axis=1)
        report.table(
            ["truth", "answered as", "how often", "% of the true class", "% of all errors"],
            [
                [
                    classes[true],
                    classes[said],
                    f"{wrong_KK[true, said]:,}",
                    _percent(wrong_KK[true, said] / total_K[true]),
                    _percent(wrong_KK[true, said] / wrong_KK.sum()),
                ]
                for true, said in pairs
            ],
            caption="The most frequent errors",
        )


def _add_pictures(
    report: Report, results: Results, pictures: Pictures, columns: Sequence[str], notes: Mapping[str, str]
) -> None:
    worst = [image for image in results.worst if image.name in pictures]
    best = [image for image in results.best if image.name in pictures and image not in worst]
    report.heading("Images")
    report.paragraph(f"The percentage is the {_OWN[results.task]}.")
    for heading, chosen in (("The worst", worst), ("The best", best)):
        if not chosen:
            continue
        report.heading(heading, level=3)
        texts = [_beside(image, notes.get(image.name, "")) for image in chosen]
        rows = [pictures[image.name] for image in chosen]
        if len(columns) == 1:
            sheet = _grid([row[0] for row in rows], texts)
        else:
            sheet = picture_sheet(rows, columns, texts, side=max(1.4, min(2.8, 8.4 / len(columns))))
        report.figure(sheet, alt=f"{heading} images: {', '.join(image.name for image in chosen)}")


def _grid(pictures: Sequence[NDArray[np.uint8]], texts: Sequence[str]) -> Figure:
    """Pictures side by side with a text above each."""
    columns = min(4, len(pictures))
    rows = -(-len(pictures) // columns)
    lines = max(text.count("\n") + 1 for text in texts)
    size = (_PICTURE * columns, (_PICTURE + _LINE * lines) * rows)  # matplotlib cuts off titles that find no room
    figure = need("matplotlib.figure", "train").Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes:
        axis.set_axis_off()
        axis.set_anchor("S")  # what room is left goes to the text
    for axis, picture, text in zip(figure.axes, pictures, texts, strict=False):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.set_title(text, fontsize=7)
    return figure


def _beside(image: ImageScore, note: str) -> str:
    """Name, score and note of an image in short lines."""
    name = wrap(image.name, _WIDTH)[-2:]  # names of tiles differ in their ends
    lines = [line for part in note.splitlines() for line in wrap(part, _WIDTH, max_lines=3, placeholder=" ...")]
    return "\n".join([*name, f"{_percent(image.score)} %", *lines])


def _cell(interval: Interval, sign: str = "") -> str:
    if np.isnan(interval.value):
        return ""
    value, lo, hi = (f"{100 * one:{sign}.2f}" for one in (interval.value, interval.lo, interval.hi))
    return f"{value} [{lo}, {hi}]"


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f}"
