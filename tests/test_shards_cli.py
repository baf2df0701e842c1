"""``skysense shards``: from folders of places to a corpus that is shown and checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from skysense.cli import main
from skysense.data.shards.read import Shards
from tests.data.places_samples import write_folder
from tests.data.shards.corpora import cut, flip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("folder") / "farms", "p0", "p1", "p2")


def test_places_become_a_corpus_that_is_shown_and_checked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "corpus")
    assert main(["shards", "make", str(folder), "--out", out, "--places_per_shard", "2", "--title", "Farms"]) == 0
    said = capsys.readouterr().out
    assert "3 places in 2 shards" in said and "labels of 3 places were left out" in said
    assert [place.name for place in Shards(out)] == ["p0", "p1", "p2"]
    assert main(["shards", "make", str(folder), "--out", out, "--places_per_shard", "2", "--title", "Farms"]) == 0
    assert "3 of them before" in capsys.readouterr().out
    assert main(["shards", "show", out]) == 0
    said = capsys.readouterr().out
    for text in (
        "Farms",
        "CC0",
        "simulated",
        "3: train 2, val 1",
        "frames 5 to 5",
        "4 x 8 cells 3",
        "2 shards",
        "2020",
    ):
        assert text in said
    assert (tmp_path / "corpus.png").stat().st_size > 10_000
    assert main(["shards", "check", out]) == 0
    assert "3 of 3 places are good" in capsys.readouterr().out


def test_the_card_of_a_corpus_is_written_beside_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "corpus"
    main(["shards", "make", str(folder), "--out", str(out), "--title", "Farms"])
    assert main(["shards", "card", str(out)]) == 0
    assert "Farms" in (tmp_path / "corpus.html").read_text()
    assert main(["shards", "card", str(out), "--out", str(tmp_path / "other.html")]) == 0
    assert f"written: {tmp_path}/other.html" in capsys.readouterr().out


def test_what_was_left_out_is_listed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    farms = write_folder(tmp_path / "farms", "p0", "p1")
    cut(farms / "p1" / "place.json")
    assert main(["shards", "make", str(farms), "--out", str(tmp_path / "corpus")]) == 1
    said = capsys.readouterr().out
    assert "left out p1: place.json: is not valid JSON" in said and "1 places in 1 shards" in said


def test_a_tar_file_that_breaks_off_is_no_success(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "dataset.json", tmp_path)
    (tmp_path / "a.tar").write_bytes(b"x" * 5000)
    assert main(["shards", "make", str(tmp_path / "a.tar"), "--out", str(tmp_path / "corpus")]) != 0
    assert "a.tar is truncated or no tar file" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "corpus" / "shards.json").exists()


def test_one_problem_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus"
    main(["shards", "make", str(folder), "--out", str(out)])
    flip(out / "000000.zarr" / "s1" / "c" / "0" / "0" / "0" / "0", 30)
    capsys.readouterr()
    assert main(["shards", "check", str(out), "--deep", "false"]) == 0
    assert main(["shards", "check", str(out)]) == 1
    said = capsys.readouterr().out
    assert "\n000000: p0: s1/c/0/0/0/0: is damaged: its checksum does not agree\n" in said
    assert "2 of 3 places are good" in said


def test_a_picture_that_was_asked_for_must_be_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "corpus"
    main(["shards", "make", str(folder), "--out", str(out)])
    (tmp_path / "file").write_text("")
    assert main(["shards", "show", str(out), "--picture", str(tmp_path / "file" / "a.png")]) == 2
    (tmp_path / "corpus.png").mkdir()
    assert main(["shards", "show", str(out)]) == 0
    assert "no picture" in capsys.readouterr().out


def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shards", "show", str(tmp_path)]) == 2
    assert "is no corpus of shards" in capsys.readouterr().err
