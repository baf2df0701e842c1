"""One page about a data set before anything is learned from it: do labels lie where they should, is it what it seems?

Letters: K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.draw import draw_boxes, enlarge, overlay_mask, palette, picture
from skysense.data.labelled.example import UNLABELLED, Boxes, Change, Example, OrientedBoxes, Task
from skysense.data.labelled.survey import Progress, Survey, survey
from skysense.errors import need
from skysense.report import Report
from skysense.sensors import SENSORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 12
"""How many examples the sheet shows."""
_SIDE = 320  # pictures are at least so many pixels high or wide
_LISTED = 20
_UNDRAWN = ("background", "unchanged")  # classes that would cover most of an image
_COUNTED: dict[Task, str] = {
    "classification": "images", "multilabel": "images", "segmentation": "pixels", "detection": "boxes",
    "oriented-detection": "boxes", "change": "pixels", "semantic-change": "pixels",
}  # fmt: skip


def dry_run(data: LabelledData, progress: Progress | None = None) -> Report:
    """Read every example once and report what there is.

    Args:
        data: the data set; its splits are shown as they are.
        progress: called after every item.

    Returns:
        Examples with their labels drawn on them, classes by split, bands beside what the sensor expects, sizes, and
        everything that looks wrong.

    Raises:
        InputError: not one example can be read.
        MissingExtra: matplotlib is not installed.
    """
    seen = survey(data, progress)
    report = Report(f"{data.title}: {data.task}", simulated=data.simulated)
    warnings = seen.warnings()
    splits = ", ".join(f"{seen.items[split]} {split}" for split in _splits(seen))
    report.facts(
        {
            "task": data.task,
            "examples": f"{sum(seen.items.values())} ({splits})",
            "classes": len(data.classes),
            "sensors": ", ".join(seen.bands),
            "size": _sizes(seen),
            "not readable": len(seen.failures),
        }
    )
    for text in warnings:
        report.note(text)
    if seen.failures:
        report.note(f"{len(seen.failures)} of {len(data)} examples cannot be read; the list is below")
    report.heading("Examples")
    chosen = pick(seen)
    report.figure(
        sheet(seen.data, chosen),
        alt=f"{len(chosen)} images with their labels",
        caption="Labels as they are read. Dashed boxes are neither to be found nor counted; areas without colour are "
        "background or have no label; grey was not observed.",
    )
    _classes(report, seen)
    _bands(report, seen)
    _remarks(report, seen)
    return report


def _splits(seen: Survey) -> list[str]:
    return [split for split in ("train", "val", "test", "no split") if split in seen.items]


def _sizes(seen: Survey) -> str:
    common = [f"{height} x {width} px ({count})" for (height, width), count in seen.sizes.most_common(4)]
    return ", ".join(common) + (", ..." if len(seen.sizes) > 4 else "")


def _classes(report: Report, seen: Survey) -> None:
    report.heading("Classes")
    splits = _splits(seen)
    unit = _COUNTED[seen.data.task]
    header = ["class"]
    rows: list[list[Any]] = []
    for split in splits:
        header += [f"{split}: images"] + ([] if unit == "images" else [f"{split}: {unit}", "share"])
    for index, name in enumerate(seen.data.classes):
        row: list[Any] = [name]
        for split in splits:
            amount, whole = int(seen.amount_K[split][index]), int(seen.amount_K[split].sum())
            row.append(int(seen.items_K[split][index]))
            row += [] if unit == "images" else [amount, f"{100 * amount / max(whole, 1):.1f} %"]
        rows.append(row)
    more = "" if unit == "images" else f", and how many {unit} it has"
    report.table(header, rows, caption=f"In how many images each class occurs{more}")


def _bands(report: Report, seen: Survey) -> None:
    report.heading("Imagery")
    rows: list[list[Any]] = []
    for statistics in seen.bands.values():
        sensor = statistics.sensor
        for index, band in enumerate(sensor.bands):
            away = (statistics.mean_C[index] - sensor.mean[index]) / sensor.std[index]
            seen_here = (statistics.low_C, statistics.high_C, statistics.mean_C, statistics.std_C)
            numbers = [*(float(values[index]) for values in seen_here), sensor.mean[index], sensor.std[index]]
            rows.append([f"{sensor.name} {band}", *map(_plain, numbers), f"{away:+.2f}"])
    units = ", ".join(f"{name} in {SENSORS[name].unit}" for name in seen.bands if name in SENSORS)
    report.table(
        ["band", "lowest", "highest", "mean", "std", "sensor's mean", "sensor's std", "difference / std"],
        rows,
        caption=f"Observed pixels beside what the sensor's encoder was made for; {units}",
    )


def _plain(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def _remarks(report: Report, seen: Survey) -> None:
    if seen.data.notes:
        report.heading("How the data were understood")
        for text in seen.data.notes:
            report.paragraph(text)
    if seen.failures:
        report.heading("Not readable")
        listed = [[failure.item, failure.message] for failure in seen.failures[:_LISTED]]
        more = len(seen.failures) - len(listed)
        report.table(["example", "why"], listed, caption=f"and {more} more" if more else "")


def pick(seen: Survey, count: int = EXAMPLES) -> list[Item]:
    """Items to show: rare classes first, so that each is seen, then others evenly; in the order of the data set."""
    order_N = np.random.default_rng(0).permutation(len(seen.data))
    total_K = sum(seen.items_K.values(), np.zeros(len(seen.data.classes), np.int64))
    chosen: dict[int, None] = {}
    while len(chosen) < min(count, len(order_N)):
        before = len(chosen)
        for index in np.argsort(total_K, kind="stable"):
            having = order_N[seen.has(int(index))[order_N]].tolist()
            fresh = next((row for row in having if row not in chosen), None)
            if fresh is not None and len(chosen) < count:
                chosen[fresh] = None
        if len(chosen) == before:  # the others have no label at all
            rest = [row for row in order_N.tolist() if row not in chosen]
            chosen |= dict.fromkeys(rest[: count - len(chosen)])
    return [seen.data.items[row] for row in sorted(chosen)]


def labelled_pictures(
    example: Example, colours_K3: NDArray[np.uint8], classes: Sequence[str]
) -> list[NDArray[np.uint8]]:
    """An example as pictures with its labels drawn on them, without padding.

    Args:
        example: of any task.
        colours_K3: by class; of change without classes, of unchanged and changed.
        classes: their names; background and what did not change are left without colour.

    Returns:
        One picture ``(H, W, 3)``; of change one of either date and, with classes, their masks drawn on them.
    """
    images = [example.sample] if example.after is None else [example.sample, example.after]
    plain = [_cropped(picture(sample), example) for sample in images]
    target = example.target
    if isinstance(target, Change):
        masks = [target.before_HW, target.after_HW] if target.before_HW is not None else [None, target.changed_HW]
        return [
            one if mask is None else overlay_mask(one, _drawable(mask, example, classes), colours_K3)
            for one, mask in zip(plain, masks, strict=True)
        ]
    if isinstance(target, np.ndarray) and target.ndim == 2:
        return [overlay_mask(plain[0], _drawable(target, example, classes), colours_K3)]
    if isinstance(target, Boxes | OrientedBoxes):
        corners = target.corners_N4 if isinstance(target, Boxes) else target.corners_N42
        scale = len(plain[0]) / example.size[0]
        width = 1 + max(plain[0].shape) // 500
        return [
            draw_boxes(
                plain[0], corners, target.label_N, colours_K3, dashed_N=target.ignore_N, scale=scale, width=width
            )
        ]
    return plain


def _drawable(mask_HW: NDArray, example: Example, classes: Sequence[str]) -> NDArray[np.uint8]:
    """A mask without padding and without the classes that are not to be drawn."""
    hidden = [index for index, name in enumerate(classes) if name in _UNDRAWN]
    inside_HW = mask_HW[: example.size[0], : example.size[1]]
    return np.where(np.isin(inside_HW, hidden), UNLABELLED, inside_HW)


def _cropped(picture_HW3: NDArray[np.uint8], example: Example) -> NDArray[np.uint8]:
    """A picture without padding, enlarged until lines can be drawn on it."""
    share = len(picture_HW3) / example.grid[0]
    rows, cols = (round(side * share) for side in example.size)
    cut = picture_HW3[: max(rows, 1), : max(cols, 1)]
    return enlarge(cut, max(1, -(-_SIDE // max(cut.shape[:2]))))


def sheet(data: LabelledData, items: Sequence[Item], columns: int = 4) -> Figure:
    """Pictures of some examples with their labels, and a legend.

    Args:
        data: of the items.
        items: to show.
        columns: pictures in a row.

    Raises:
        InputError: an item that cannot be read.
        MissingExtra: matplotlib is not installed.
    """
    colours_K3 = palette(len(data.classes))
    pictures = []
    for item in items:
        example = data.read_item(item)
        drawn = labelled_pictures(example, colours_K3, data.classes)
        ends = ("", "") if len(drawn) == 1 else (" before", " after")
        words = _words(example, data)
        pictures += [(one, f"{shorten_name(item.name)}{end}\n{words}") for one, end in zip(drawn, ends, strict=False)]
    figures = need("matplotlib.figure", "train")
    patches = need("matplotlib.patches", "train")
    rows = -(-len(pictures) // columns)
    figure = figures.Figure(figsize=(columns * 2.6, rows * 2.9 + 0.5), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, (one, title) in zip(axes, pictures, strict=False):
        axis.imshow(one, interpolation="nearest")
        axis.set_title(title, fontsize=7)
    for axis in axes:
        axis.set_axis_off()
    if data.task not in ("classification", "multilabel"):
        handles = [
            patches.Patch(color=colour / 255, label=shorten(name, 28, placeholder="..."))
            for colour, name in zip(colours_K3, data.classes, strict=True)
            if name not in _UNDRAWN
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(max(len(handles), 1), 6), fontsize=7, frameon=False
        )
    return figure


def _words(example: Example, data: LabelledData) -> str:
    """What a title says of the label: classes of an image, how many boxes it has."""
    target = example.target
    if isinstance(target, Boxes | OrientedBoxes):
        return f"{len(target)} boxes"
    if isinstance(target, int):
        return data.classes[target]
    if isinstance(target, np.ndarray) and target.ndim == 1:
        return (
            shorten(", ".join(data.classes[index] for index in np.flatnonzero(target)), 40, placeholder="...") or "none"
        )
    return ""


def shorten_name(name: str) -> str:
    """The end of a long name, which tells tiles apart."""
    return name if len(name) <= 34 else f"...{name[-31:]}"
