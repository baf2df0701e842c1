"""A report as one HTML file that needs nothing else: no script, no external resource, pictures inside.

report = Report("Pre-training", simulated=True)
report.heading("Losses")
report.figure(curves(rows, {"loss": {"loss": "loss"}}), alt="It falls", caption="The loss by step")
report.write("report.html")
"""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from collections.abc import Collection, Mapping, Sequence
from html import escape
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, need
from skysense.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | int | float | None

_LINES = ("#1f4e8c", "#c05a00", "#2a8a57", "#9a3d8c", "#7a6a10")
"""Colours of the lines of a panel, the first for one that is alone."""

_BLOCKS = 500
"""Points of a smoothed line of a long log; a panel is some 250 pixels wide."""

_NUMBER = re.compile(r"^[+\-−]?[\d.,]+(\s*%)?(\s*\[.*\])?$")

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #55607a; --paper: #fff; --line: #d8dde6; --band: #f4f6fa;
  --note: #8a4b00; --note-paper: #fff4e0; --note-line: #e0a030; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf2; --soft: #a3aec4; --paper: #12161e; --line: #333c4d;
  --band: #1a202c; --note: #ffd591; --note-paper: #33260d; --note-line: #a8741a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 0.5rem; padding-bottom: 0.25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 0.25rem; }
p { max-width: 46rem; margin: 0.5rem 0; overflow-wrap: anywhere; }
.note { border: 1px solid var(--note-line); border-left-width: 0.4rem; border-radius: 0.3rem; padding: 0.6rem 0.9rem;
  background: var(--note-paper); color: var(--note); margin: 1rem 0; max-width: none; }
.wide { overflow-x: auto; margin: 0.3rem 0; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.75rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { background: var(--band); vertical-align: bottom; }
tbody th { font-weight: inherit; min-width: 10rem; }
.number { text-align: right; white-space: nowrap; }
thead th.number { white-space: normal; }
.best { font-weight: 700; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: 0.2rem 1rem; margin: 0.75rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1rem 0 1.5rem; }
figure img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 0.3rem; }
@media (prefers-color-scheme: dark) { figure img.drawn { filter: invert(0.92) hue-rotate(180deg); --line: #d8dde6; } }
figure img.pixels { image-rendering: pixelated; }
figcaption { color: var(--soft); font-size: 0.9rem; max-width: 46rem; }
pre { background: var(--band); border: 1px solid var(--line); border-radius: 0.3rem; padding: 0.6rem 0.9rem;
  overflow-x: auto; font-size: 0.88rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.5rem; }
  figure img.plot { max-width: none; width: 38rem; } }
@media print { .wide { overflow: visible; } }
"""


class Report:
    """Collects parts in order; everything given as text is escaped.

    Args:
        title: of the page.
        simulated: whether any pixel behind it was made up; then the page begins by saying so.
        language: of the text, as an HTML language code.
    """

    def __init__(self, title: str, *, simulated: bool, language: str = "en") -> None:
        self.title, self.simulated, self.language = title, simulated, language
        self._parts: list[str] = []

    def heading(self, text: str, level: Literal[2, 3] = 2) -> None:
        """A heading of a section (2) or part of one (3)."""
        self._parts.append(f"<h{level}>{escape(text)}</h{level}>")

    def paragraph(self, text: str) -> None:
        """A paragraph of plain text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def note(self, text: str) -> None:
        """A paragraph that must not be overlooked."""
        self._parts.append(f'<p class="note" role="note">{escape(text)}</p>')

    def commands(self, text: str) -> None:
        """Lines to type."""
        self._parts.append(f"<pre><code>{escape(text)}</code></pre>")

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Names and values of a run."""
        items = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(_text(value))}</dd>" for key, value in facts.items())
        self._parts.append(f"<dl>{items}</dl>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Cell]], *, caption: str = "") -> None:
        """A table. Columns of numbers (also with an interval, ``61.2 [55.0, 67.1]``) are right aligned.

        Args:
            header: names of the columns; the first column names the rows.
            rows: cells; text between ``**`` is the best of its column and shown bold.
            caption: what is shown.

        Raises:
            InputError: a row of another length than the header.
        """
        texts = [[_text(cell) for cell in row] for row in rows]
        if any(len(row) != len(header) for row in texts):
            raise InputError(f"every row of a table needs {len(header)} cells")
        numeric = [column > 0 and _is_numeric([row[column] for row in texts]) for column in range(len(header))]
        head = "".join(
            f'<th scope="col"{_classes(number=number)}>{escape(name)}</th>'
            for name, number in zip(header, numeric, strict=True)
        )
        body = "".join(f"<tr>{_row(row, numeric)}</tr>" for row in texts)
        title = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        label = escape(caption or "table", quote=True)
        self._parts.append(
            f'<figure>{title}<div class="wide" tabindex="0" role="region" aria-label="{label}"><table>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
        )

    def figure(self, picture: NDArray[np.uint8] | Figure, *, alt: str, caption: str = "") -> None:
        """A picture.

        Args:
            picture: ``(H, W)`` or ``(H, W, 3)`` uint8, or a matplotlib figure, which is closed.
            alt: what a person who cannot see it should know.
            caption: shown below.

        Raises:
            InputError: no alt text, or an array of another shape or type.
        """
        if not alt.strip():
            raise InputError("a figure needs a text for those who cannot see it (alt)")
        if isinstance(picture, np.ndarray):
            data, shape = png(picture), picture.shape
            kind = ' class="pixels"' if max(shape[:2]) < 128 else ""
            size = f' width="{shape[1] * (4 if kind else 1)}"'
        else:
            photos = any(axis.images for axis in picture.axes)
            data, kind, size = _render(picture), f' class="plot{"" if photos else " drawn"}"', ""
        encoded = base64.b64encode(data).decode("ascii")
        text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(
            f'<figure><div class="wide"><img{kind}{size} alt="{escape(alt, quote=True)}" '
            f'src="data:image/png;base64,{encoded}"></div>{text}</figure>'
        )

    def html(self) -> str:
        """The whole page."""
        warning = (  # pages may also hold a section on real imagery, which then says so
            '<p class="note" role="note"><strong>Simulated data.</strong> Unless a section says otherwise, every '
            "picture and number on this page comes from made-up imagery. It shows that the method works as intended, "
            "not how well it does on Earth.</p>"
        )
        title = escape(self.title)
        return (
            f'<!DOCTYPE html>\n<html lang="{escape(self.language, quote=True)}">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}{' (simulated data)' if self.simulated else ''}</title>\n<style>{_STYLE}</style>\n</head>\n"
            f"<body>\n<main>\n<h1>{title}</h1>\n{warning if self.simulated else ''}\n"
            + "\n".join(self._parts)
            + "\n</main>\n</body>\n</html>\n"
        )

    def write(self, path: str | Path) -> None:
        """Write the page, atomically.

        Raises:
            OutputError: if it cannot be written.
        """
        write_text(path, self.html())


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of 8-bit pixels.

    Args:
        pixels: ``(H, W)`` grey or ``(H, W, 3)`` colour.

    Raises:
        InputError: another shape or type.
    """
    colour = pixels.ndim == 3
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (colour and pixels.shape[2] != 3) or not pixels.size:
        raise InputError(f"a picture is (H, W) or (H, W, 3) uint8; got {pixels.shape} {pixels.dtype}")
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # each line begins with its filter: none

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2 if colour else 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def curves(
    rows: Sequence[Mapping[str, float]],
    panels: Mapping[str, Mapping[str, str]],
    *,
    exact: Collection[str] = (),
    from_zero: bool = False,
    mark: float | None = None,
) -> Figure:
    """Logged values over the steps in small panels: pale as logged, dark smoothed.

    The smoothed line is an exponential mean over about five values, or a fiftieth of all if that is more; fewer than
    ten values are joined as they are. Of a long log the pale line shows the lowest and highest of neighbouring values.

    Args:
        rows: one mapping per step with "step", ascending, and any values; a value may be missing in some rows.
        panels: by title, the names of the values to draw by what the legend shall call them. What was never logged is
            left out.
        exact: names of values that are not to be smoothed.
        from_zero: whether panels begin at zero, for values that are never negative.
        mark: a step to draw a dashed line at.

    Raises:
        InputError: nothing of this was logged.
        MissingExtra: matplotlib is not installed.
    """
    logged = {name for row in rows for name in row}
    shown = [
        (title, {label: name for label, name in lines.items() if name in logged}) for title, lines in panels.items()
    ]
    shown = [(title, lines) for title, lines in shown if lines]
    if not shown:
        raise InputError("the log holds no values")
    columns = min(3, len(shown))
    figure, axes = _figure(columns, -(-len(shown) // columns), 3.0, 1.9)
    margin = 0.04 * (rows[-1]["step"] - rows[0]["step"]) or 0.5
    for axis, (title, lines) in zip(axes, shown, strict=False):
        for (label, name), colour in zip(lines.items(), cycle(_LINES), strict=False):
            steps, values = np.array([(row["step"], row[name]) for row in rows if name in row], float).T
            few = len(values) < (30 if name in exact else 10)
            if not few and name not in exact:
                axis.plot(*_pale(steps, values), color=colour, linewidth=0.7, alpha=0.35)
                steps, values = _smoothed(steps, values)
            axis.plot(steps, values, color=colour, linewidth=1.4, marker="." if few else None, label=label)
        if from_zero:
            axis.set_ylim(0, 1.05 * max(line.get_ydata().max() for line in axis.lines) or 1)
        axis.set_xlim(rows[0]["step"] - margin, rows[-1]["step"] + margin)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if mark is not None:
            axis.axvline(mark, color="#6b7280", linestyle="--", linewidth=1)
        axis.set_title(title, fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        if len(lines) > 1:
            axis.legend(fontsize=7, frameon=False, handlelength=1.2, labelspacing=0.2)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    return figure


def _pale(steps: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """All points of a line; of many, the lowest and the highest of each of `_BLOCKS` blocks."""
    if len(values) <= 2 * _BLOCKS:
        return steps, values
    starts = np.arange(0, len(values), -(-len(values) // _BLOCKS))
    both = np.stack([np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)], axis=1)
    return steps[starts].repeat(2), both.ravel()


def _smoothed(steps: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Exponential mean of a line; many values are averaged in `_BLOCKS` blocks first."""
    if len(values) > 2 * _BLOCKS:
        starts = np.arange(0, len(values), -(-len(values) // _BLOCKS))
        ends = np.append(starts[1:], len(values))
        steps, values = steps[ends - 1], np.add.reduceat(values, starts) / (ends - starts)
    weight = 1 / max(5, len(values) / 50)
    smooth, past, share = np.empty(len(values)), 0.0, 0.0
    for index, value in enumerate(values):
        past += weight * (value - past)
        share += weight * (1 - share)  # of the weights that sum to one after many values: the first would lag otherwise
        smooth[index] = past / share
    return steps, smooth


def prototypes_in_use(
    counts: Sequence[float] | NDArray[np.integer], *, xlabel: str = "prototype, most used first"
) -> Figure:
    """Bars of how often each prototype is chosen, sorted; a dashed line marks equal use.

    Args:
        counts: uses per prototype.
        xlabel: of the axis.

    Raises:
        InputError: no use at all.
        MissingExtra: matplotlib is not installed.
    """
    shares = np.sort(np.asarray(counts, float))[::-1]
    if not shares.size or shares.sum() <= 0:
        raise InputError("no prototype was used")
    shares = shares / shares.sum()
    figure, (axis,) = _figure(1, 1, 6.4, 2.6)
    axis.bar(np.arange(1, len(shares) + 1), 100 * shares, color="#1f4e8c", width=0.8 if len(shares) < 100 else 1.0)
    axis.axhline(100 / len(shares), color="#c05a00", linestyle="--", linewidth=1)
    used = int((shares > 0).sum())
    axis.set_title(f"{used} of {len(shares)} in use; dashed: equal use", fontsize=9, loc="left")
    axis.set_xlabel(xlabel, fontsize=8)
    axis.set_ylabel("share of cells, %", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def picture_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]], titles: Sequence[str], names: Sequence[str] = (), *, side: float = 1.7
) -> Figure:
    """Pictures in rows, for instance an image, its embedding and the images nearest to it.

    Args:
        rows: each ``len(titles)`` pictures ``(H, W)`` or ``(H, W, 3)`` uint8 of any size.
        titles: of the columns.
        names: of the rows, written at their left; none by default.
        side: of a picture in inches; a page is nine inches wide.

    Raises:
        InputError: a row of another length than the titles, or no row.
        MissingExtra: matplotlib is not installed.
    """
    if not rows or any(len(row) != len(titles) for row in rows):
        raise InputError(f"every row of a picture sheet needs {len(titles)} pictures")
    figure, axes = _figure(len(titles), len(rows), side, side)
    for index, (axis, picture) in enumerate(zip(axes, (one for row in rows for one in row), strict=True)):
        axis.imshow(
            picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if max(picture.shape) < 64 else None
        )
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        line, column = divmod(index, len(titles))
        if line == 0:
            axis.set_title(titles[column], fontsize=9)
        if column == 0 and names:
            axis.set_ylabel(names[line], fontsize=8)
    return figure


def pca_colours(
    cells_Dhw: Sequence[NDArray[np.floating]], occupied_hw: Sequence[NDArray[np.bool_]]
) -> list[NDArray[np.uint8]]:
    """Colour features by their first three principal components, the same for all pictures.

    Args:
        cells_Dhw: per picture ``(D, h, w)``, D at least 3.
        occupied_hw: per picture, cells that have a feature; the others become mid-grey.

    Returns:
        Per picture ``(h, w, 3)`` uint8, each component stretched between its 2nd and 98th percentile.

    Raises:
        InputError: fewer than three feature channels, or no occupied cell.
    """
    seen = [cells[:, mask].T for cells, mask in zip(cells_Dhw, occupied_hw, strict=True)]
    stacked = np.concatenate(seen) if seen else np.empty((0, 0))
    if not stacked.size or stacked.shape[1] < 3:
        raise InputError("colours need at least three feature channels and an occupied cell")
    mean = stacked.mean(axis=0)
    _, axes_DD = np.linalg.eigh(np.cov(stacked.T.astype(float)))
    axes_D3 = axes_DD[:, :-4:-1]
    axes_D3 = axes_D3 * np.where(axes_D3.sum(axis=0) < 0, -1, 1)  # the sign of an axis is arbitrary: fix it
    projected = (stacked - mean) @ axes_D3
    low, high = np.percentile(projected, (2, 98), axis=0)
    pictures = []
    for values, mask in zip(seen, occupied_hw, strict=True):
        picture = np.full((*mask.shape, 3), 128, np.uint8)
        scaled = ((values - mean) @ axes_D3 - low) / np.maximum(high - low, 1e-12)
        picture[mask] = (255 * scaled.clip(0, 1)).round().astype(np.uint8)
        pictures.append(picture)
    return pictures


def _figure(columns: int, rows: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure that belongs to no window system, and its panels in reading order."""
    figures = need("matplotlib.figure", "train")
    figure = figures.Figure(figsize=(columns * width, rows * height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _render(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    figure.clear()
    return buffer.getvalue()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_numeric(texts: Sequence[str]) -> bool:
    plain = [text.strip("*") for text in texts if text]
    return bool(plain) and all(_NUMBER.match(text) for text in plain)


def _row(texts: Sequence[str], numeric: Sequence[bool]) -> str:
    cells = []
    for column, (text, number) in enumerate(zip(texts, numeric, strict=True)):
        best = len(text) > 4 and text.startswith("**") and text.endswith("**")
        content = escape(text[2:-2] if best else text)
        tag, scope = ("th", ' scope="row"') if column == 0 else ("td", "")
        cells.append(f"<{tag}{scope}{_classes(number=number, best=best)}>{content}</{tag}>")
    return "".join(cells)


def _classes(**names: bool) -> str:
    chosen = " ".join(name for name, wanted in names.items() if wanted)
    return f' class="{chosen}"' if chosen else ""
