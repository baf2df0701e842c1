"""``skysense plan-data``: tables that fit a terminal, numbers for programs, and errors that say what to do."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from skysense import data_plan_cli
from skysense.cli import main

WHOLE = ["plan-data", "--places", "21500000"]


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, *more: str) -> str:
    monkeypatch.setattr(data_plan_cli, "console", Console(highlight=False, width=width))
    assert main([*WHOLE, *more]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 110])
@pytest.mark.parametrize("more", [(), ("--hr", "0"), ("--days", "0.5", "--km2", "8780000")])
def test_tables_are_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, more: tuple[str, ...]
) -> None:
    text = printed(monkeypatch, capsys, width, *more)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    for words in ("21,500,000 places", "searches of the catalogue", "1,000,000", "said to have 300 TB"):
        assert words in " ".join(text.split())
    assert ("high-resolution" in text) == ("--hr" not in more)


def test_what_decides_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = " ".join(printed(monkeypatch, capsys, 110).split())
    assert "do their part in 30 days: run the blocks with Ray" in words
    assert "The archive and its catalogue alone take 145 days" in words
    fast = ("--archive_rate", "1e6", "--search_rate", "1e6", "--days", "1e5")
    words = " ".join(printed(monkeypatch, capsys, 110, *fast).split())
    assert "One machine is enough" in words and "alone take" not in words


def test_numbers_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WHOLE, "--json", "true"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main(["plan-data", "--places", "1000", "--json", "true"]) == 0
    few = json.loads(capsys.readouterr().out)
    assert whole["received"]["value"] == pytest.approx(21_500 * few["received"]["value"])
    assert (few["engine"], few["machines"]["value"], whole["engine"]) == ("one machine", 1, "Ray")
    assert few["bytes_of_a_place"]["s2"]["received"] > 100 * few["bytes_of_a_place"]["s2"]["wanted"]
    assert whole["bytes_of_a_place"]["s2"]["shared"] < few["bytes_of_a_place"]["s2"]["shared"]


def test_errors_say_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    for more, words in (
        (["--places", "0"], "places and days must be more than 0; got 0"),
        (["--places", "9", "--cores", "0"], "cores must be more than 0; got 0"),
        (["--places", "9", "--measured", str(tmp_path)], "holds no accounts of a curation"),
    ):
        assert main(["plan-data", *more]) == 2
        assert words in capsys.readouterr().err.replace("\n", "")
