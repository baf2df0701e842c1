"""Finding the folders of a published layout, and saying plainly what is not as it should be."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from skysense.data.labelled.imagery import SUFFIXES
from skysense.errors import InputError

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".tzst", ".zst", ".rar", ".7z", ".001")
_UNFINISHED = (".part", ".crdownload", ".aria2", ".tmp")


def find_root(source: Path, marks: Sequence[str], name: str) -> Path:
    """The folder that holds some files or folders: the one given, or the only one below it that does.

    Archives often unpack into a folder of their own name, so one level is looked through.

    Args:
        source: that a person gave.
        marks: paths that must be in the folder.
        name: of the data set, as `skysense.datasets.card.card` knows it.

    Raises:
        InputError: no such folder, or several; the message says what is missing and what is there.
    """
    if not source.is_dir():
        raise InputError("is not a folder", file=source, fix=see(name))
    inside = sorted(entry for entry in source.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    holding = [folder for folder in (source, *inside) if all((folder / mark).exists() for mark in marks)]
    if source in holding or len(holding) == 1:
        return holding[0]
    if holding:
        found = ", ".join(folder.name for folder in holding)
        raise InputError(f"holds several copies of {name}: {found}", file=source, fix="Name one of them")
    missing = ", ".join(mark for mark in marks if not (source / mark).exists())
    raise InputError(f"is no copy of {name}: {missing} missing; {there(source)}", file=source, fix=see(name))


def need_files(files: Collection[Path], what: str, root: Path, name: str) -> None:
    """Refuse a copy of which files are missing: numbers of a part cannot be compared.

    Args:
        files: that must be there.
        what: words for them.
        root: of the copy, for the message.
        name: of the data set.

    Raises:
        InputError: the message counts them and names the first.
    """
    listed = {folder: _entries(folder) for folder in {file.parent for file in files}}  # quicker than asking for each
    missing = [file for file in files if file.name not in listed[file.parent]]
    if missing:
        first = missing[0].relative_to(root).as_posix() if missing[0].is_relative_to(root) else missing[0]
        raise InputError(
            f"{len(missing)} of {len(files)} {what} are missing, first {first}; {there(root)}",
            file=root,
            fix=f"Unpack all archives of it. {see(name)}",
        )


def images_below(folder: Path, levels: int) -> dict[str, Path]:
    """Image files in a folder and in those below it, by their name without ending.

    Archives of one data set are unpacked into one place or each into its own, and copies of images may have another
    ending; stems do not change. Where several files share one, the first in the order of their paths counts.

    Args:
        folder: where to begin.
        levels: of folders below it that are looked through.
    """
    found: dict[str, Path] = {}
    for here, inside, names in os.walk(folder, followlinks=True):
        deep = len(Path(here).relative_to(folder).parts) >= levels
        inside[:] = [] if deep else sorted(name for name in inside if not name.startswith("."))
        for name in sorted(names):
            file = Path(here, name)
            if file.suffix.lower() in SUFFIXES and not name.startswith("."):
                found.setdefault(file.stem, file)
    return found


def read_list(file: Path) -> list[str]:
    """The lines of a list of names, without blanks and empty ones.

    Raises:
        InputError: it is missing or no text.
    """
    try:
        return [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise InputError("is missing: it says which images are for what", file=file) from error
    except UnicodeDecodeError as error:
        raise InputError("is not a list of names in UTF-8", file=file) from error


def _entries(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def there(folder: Path) -> str:
    """What a folder holds, in few words, with a hint at archives that were not unpacked."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if not names:
        return "it is empty"
    unfinished = [name for name in names if name.endswith(_UNFINISHED)]
    if unfinished:
        return f"{unfinished[0]} was not downloaded whole"
    packed = [name for name in names if name.lower().endswith(_ARCHIVES)]
    if packed:
        return f"it holds {', '.join(packed[:3])}, still to be unpacked"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"it holds {', '.join(names[:5])}{more}"


def see(name: str) -> str:
    """Where to look how a copy should lie."""
    return f"See the layout with: skysense datasets show {name}"
