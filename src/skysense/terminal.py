"""What the commands print to: one console, one kind of progress bar, one way to write quantities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False)


@contextmanager
def bar(title: str, *, late: bool = False) -> Iterator[Callable[..., None]]:
    """A progress bar; yields ``progress(done, in_all, words="")``, and ``words`` alone renames the stage.

    Args:
        title: of the whole.
        late: show it when there is progress for the first time: for work that mostly takes no time, and where what was
            asked for is looked at before the work begins.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    lines = Progress(*columns, console=console)
    task = lines.add_task(title, total=None, words="")

    def progress(done: int, total: int, words: str = "") -> None:
        lines.start()
        lines.update(task, completed=done, total=total, words=escape(words))

    if not late:
        lines.start()
    try:
        yield progress
    finally:
        if lines.live.is_started:
            lines.stop()


def quantity(value: float, unit: str) -> str:
    """Three figures with a decimal prefix."""
    for power, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """Three figures in the largest unit that there are two of."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= 2 * size or unit == "s":
            count = seconds / size
            return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
    return ""
