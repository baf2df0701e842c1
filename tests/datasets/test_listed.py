"""Lists beside folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skysense.datasets.listed import absent


def test_each_folder_is_listed_once_and_files_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).mkdir(parents=True)
    listings: list[str] = []
    listing = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listings.append(folder) or listing(folder))
    monkeypatch.setattr(os, "stat", None)
    paths = [f"{tmp_path}/{name}" for name in ("a/1", "c/1", "a/3", "b/1", "a/2")]
    assert absent(paths) == (2, f"{tmp_path}/a/3")
    assert sorted(listings) == [f"{tmp_path}/a", f"{tmp_path}/b", f"{tmp_path}/c"]
    assert absent(paths[:1]) == (0, None)
