"""Bars and histograms of a card.

Letters: N places, E bins, C bands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.card.numbers import BINS, SensorNumbers
from skysense.errors import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS, _MODEL, _CORPUS, _WARNING = "#0072b2", "#d55e00", "#1c2330", "#a83f00"
_INCHES = 9.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COLUMNS = 5
_UNITS = {"reflectance*1e4": "reflectance × 10,000", "dB": "backscatter, dB", "uint8": "8-bit value"}
FAR = 1.0
"""Standard deviations of the model's statistics: a band whose mean is further off is pointed out."""


def month_bars(frames: Mapping[str, Mapping[str, int]]) -> Figure:
    """Frames per month, a panel per sensor, all over the same months.

    Args:
        frames: by title of the panel, frames by ``2021-06``; at least one.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    found = sorted({month for counts in frames.values() for month in counts})
    months = np.arange(np.datetime64(found[0], "M"), np.datetime64(found[-1], "M") + 1).astype(str).tolist()
    figure, panels = _panels(len(frames), 1, _INCHES, 1.5, sharex=True)
    for axis, (title, counts) in zip(panels, frames.items(), strict=True):
        axis.bar(range(len(months)), [counts.get(month, 0) for month in months], color=_BARS, width=0.85)
        _plain(axis, title, ylabel="frames")
        _whole_numbers(axis.yaxis)
    step = -(-len(months) // 14)
    panels[-1].set_xticks(range(0, len(months), step), months[::step], fontsize=7)
    panels[-1].set_xlim(-0.7, max(len(months), 6) - 0.3)
    return figure


def frames_per_place(frames: Mapping[str, NDArray[np.integer]]) -> Figure:
    """Histograms of the length of series, a panel per sensor.

    Args:
        frames: by title of the panel, frames of every place that has any ``(N,)``.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure, panels = _panels(1, len(frames), min(_INCHES / len(frames), 4.5), 2.0)
    for axis, (title, count_N) in zip(panels, frames.items(), strict=True):
        low, high = int(count_N.min()), int(count_N.max())
        width = -(-(high - low + 1) // 40)
        edges = np.arange(low, high + width + 1, width) - 0.5
        axis.hist(count_N, bins=edges.tolist(), color=_BARS, edgecolor="white", linewidth=0.4)
        axis.set_xlim(min(edges[0], low - 2.5), max(edges[-1], high + 2.5))
        _plain(axis, f"{title}: median {np.median(count_N):g}", xlabel="frames of a place", ylabel="places")
        for scale in (axis.xaxis, axis.yaxis):
            _whole_numbers(scale)
    return figure


def cloud_bars(known_12: NDArray[np.int64], cloudy_12: NDArray[np.int64]) -> Figure:
    """Share of the observed pixels under clouds by month of the year; months without a frame say so.

    Args:
        known_12: observed pixels whose clouds are known, by month.
        cloudy_12: those of them under clouds.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure, (axis,) = _panels(1, 1, 6.0, 2.0)
    there = known_12 > 0
    axis.bar(np.flatnonzero(there), 100 * cloudy_12[there] / known_12[there], color=_BARS, width=0.85)
    for month in np.flatnonzero(~there).tolist():
        axis.text(month, 2, "no\nframe", ha="center", fontsize=7, color="#55607a")
    axis.set_xticks(range(12), _MONTHS)
    axis.set_xlim(-0.6, 11.6)
    axis.set_ylim(0, 100)
    _plain(axis, "", ylabel="% of pixels")
    return figure


def band_histograms(numbers: SensorNumbers) -> Figure:
    """The values of each band beside the statistics that the model subtracts and divides by.

    Args:
        numbers: of a sensor.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    sensor = numbers.sensor
    columns = min(_COLUMNS, len(sensor.bands))
    figure, panels = _panels(-(-len(sensor.bands) // columns), columns, max(_INCHES / _COLUMNS, 6.0 / columns), 1.55)
    for band, axis in zip(range(len(sensor.bands)), panels, strict=False):
        _values(axis, numbers, band)
    for axis in panels[len(sensor.bands) :]:
        axis.set_visible(False)
    drawn, names = panels[0].get_legend_handles_labels()
    figure.legend(drawn, names, loc="outside upper left", ncols=4, fontsize=8, frameon=False)
    figure.supxlabel(_UNITS[sensor.unit], fontsize=8)
    return figure


def _values(axis: Axes, numbers: SensorNumbers, band: int) -> None:
    sensor, bands = numbers.sensor, numbers.bands
    low, high = float(bands.low_C[band]), float(bands.high_C[band])
    mean, std, off = sensor.mean[band], sensor.std[band], float(numbers.off_C[band])
    share_E = 100 * bands.counts_CE[band] / max(bands.pixels, 1)
    axis.stairs(share_E, np.linspace(low, high, BINS + 1), fill=True, color=_BARS, alpha=0.8, label="this corpus")
    axis.axvline(float(bands.mean_C[band]), color=_CORPUS, linewidth=1.2, linestyle="--", label="its mean")
    axis.axvline(mean, color=_MODEL, linewidth=1.4, label="model's mean")
    label = "model's mean ± standard deviation"
    axis.axvspan(
        max(mean - std, low), min(mean + std, high), color=_MODEL, alpha=0.18, linewidth=0, label=label, zorder=0
    )
    _plain(axis, sensor.bands[band])
    if abs(off) > FAR:
        title = f"{sensor.bands[band]}: {off:+.1f} std"
        axis.set_title(title, loc="left", fontsize=9, color=_WARNING, fontweight="bold")
    axis.set_xlim(low, high)
    axis.tick_params(labelsize=6)
    axis.set_yticks([])
    axis.locator_params(axis="x", nbins=4)


def contact_sheet(places: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> Figure:
    """Pictures of places side by side, as many places in a row as fit.

    Args:
        places: at least one; each has its "name", and per title a picture ``(H, W, 3)`` with its date, if there is one.
        titles: of the pictures of a place.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    side_by_side = min(max(6 // len(titles), 1), len(places))
    rows = -(-len(places) // side_by_side)
    figure, panels = _panels(rows, side_by_side * len(titles), 1.55, 1.85)
    for axis in panels:
        axis.set_axis_off()
    for at, place in enumerate(places):
        mine = panels[at * len(titles) : (at + 1) * len(titles)]
        for number, (axis, title) in enumerate(zip(mine, titles, strict=True)):
            pixels, date = place.get(title, (None, "none"))
            head = f"{place['name']}\n" if number == 0 else "\n"
            axis.set_title(f"{head}{title} {date}", fontsize=7, loc="left")
            if pixels is not None:
                axis.imshow(pixels, interpolation="nearest")
    return figure


def _panels(rows: int, columns: int, width: float, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    figures = need("matplotlib.figure", "train")
    figure = figures.Figure(figsize=(columns * width, rows * height + 0.3), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **shared).flat)


def _plain(axis: Axes, title: str, *, xlabel: str = "", ylabel: str = "") -> None:
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_xlabel(xlabel, fontsize=8)
    axis.set_ylabel(ylabel, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _whole_numbers(scale: Any) -> None:
    scale.get_major_locator().set_params(integer=True)
