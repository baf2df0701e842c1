"""Atomic writes: a reader finds the old file or the whole new one, never a half."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skysense.errors import InputError, OutputError

_FIXES = {
    errno.ENOSPC: "Free some space or choose another folder; what was finished before is still there",
    errno.EDQUOT: "Free some space or choose another folder; what was finished before is still there",
    errno.EACCES: "Choose a folder you may write to",
    errno.EPERM: "Choose a folder you may write to",
    errno.EROFS: "Choose a folder you may write to",
    errno.ENOTDIR: "A file stands where a folder is needed; choose another place",
    errno.EEXIST: "A file stands where a folder is needed; choose another place",
}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()  # once: between these two calls other threads would make files that anybody may change


def output_error(error: OSError, path: str | Path) -> OutputError:
    """Say in words why ``path`` could not be written."""
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return OutputError(f"could not be written: {reason}", file=path, fix=_FIXES.get(error.errno or 0))


def make_folder(path: str | Path) -> Path:
    """Create a folder and its parents.

    Raises:
        OutputError: if that is not possible.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, path) from error
    return Path(path)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that becomes ``path`` when the block ends well.

    On any error the temporary file is removed and an existing ``path`` is left as it was. The suffix is kept, since
    several writers choose their format by it.

    Raises:
        OutputError: no space, no permission, or a missing parent that cannot be made.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        raise output_error(error, path) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes files only their owner can read
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise output_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` that becomes ``path`` when the block ends well.

    On any error the temporary folder is removed and an existing ``path`` is left as it was; otherwise it is replaced,
    with all that it holds.

    Raises:
        OutputError: no space, no permission, or a missing parent that cannot be made.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as held:
            new, old = Path(held) / "new", Path(held) / "old"
            new.mkdir()
            yield new
            if path.exists():
                path.replace(old)
            try:
                new.replace(path)
            except OSError:
                if old.exists():
                    old.replace(path)
                raise
    except OSError as error:
        raise output_error(error, path) from error


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically, indented, with a final newline; NaN is refused since no JSON reader must accept it."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def plain(content: Any) -> Any:
    """Content as it comes back from a JSON file, e.g. with lists for tuples: to be compared with one."""
    return json.loads(json.dumps(content))


def flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one, with dotted names: ``{"a": {"b": 1}}`` is ``{"a.b": 1}``."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        inner = flat(value) if isinstance(value, dict) else None
        found |= {name: value} if inner is None else {f"{name}.{rest}": one for rest, one in inner.items()}
    return found


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: if it is missing, truncated or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"could not be read: {os.strerror(error.errno or 0).lower()}", file=path) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError("is not valid JSON (truncated or foreign)", file=path) from error
