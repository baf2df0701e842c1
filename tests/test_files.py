"""Atomic writes: the old file or the whole new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skysense.errors import InputError, MissingExtra, OutputError, need
from skysense.files import atomic_folder, atomic_path, flat, read_json, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": [1, 2.5, "é"]})
    assert read_json(path) == {"x": [1, 2.5, "é"]}

    def stop_halfway() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        stop_halfway()
    assert read_json(path) == {"x": [1, 2.5, "é"]}
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"b\.txt: could not be written: no space left.*Free some space"),
        atomic_path(tmp_path / "b.txt"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        write_text(tmp_path / "file" / "c.txt", "text")


def test_a_written_file_can_be_read_by_others(tmp_path: Path) -> None:
    write_text(tmp_path / "d.txt", "text")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "d.txt").stat().st_mode & 0o777 == 0o666 & ~mask


def test_writing_changes_nothing_that_threads_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def umask(mask: int) -> int:
        raise AssertionError("files that other threads make meanwhile could be changed by anybody")

    monkeypatch.setattr(os, "umask", umask)
    write_text(tmp_path / "f.txt", "text")
    assert (tmp_path / "f.txt").read_text() == "text"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "new" / "g") as folder:
        (folder / "one").write_text("1")
        assert not (tmp_path / "new" / "g").exists()

    def half() -> None:
        with atomic_folder(tmp_path / "new" / "g") as folder:
            (folder / "two").write_text("2")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        half()
    assert [path.name for path in (tmp_path / "new" / "g").iterdir()] == ["one"]
    with atomic_folder(tmp_path / "new" / "g") as folder:
        (folder / "three").write_text("3")
    assert [path.name for path in (tmp_path / "new" / "g").iterdir()] == ["three"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["g"]
    with pytest.raises(OutputError, match="could not be written"), atomic_folder(tmp_path / "new/g/three/h"):
        pass


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe\x00", b""])
def test_json_that_is_truncated_or_foreign_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e.json").write_bytes(content)
    with pytest.raises(InputError, match=r"e\.json: is not valid JSON"):
        read_json(tmp_path / "e.json")


def test_missing_json_and_missing_extra_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: could not be read: no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(MissingExtra, match=r"pip install 'skysense\[train\]'"):
        need("a_module_that_is_not_there", "train")


def test_nested_content_becomes_flat() -> None:
    assert flat({"a": 1, "b": {"c": [2], "d": {"e": 3}}, "f": {}}) == {"a": 1, "b.c": [2], "b.d.e": 3}
