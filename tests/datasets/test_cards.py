"""Cards and the scoreboard: whole, consistent, and what the documentation shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from skysense.cli import main
from skysense.datasets.card import card, card_names
from skysense.datasets.catalogue import READERS, asked
from skysense.datasets.scoreboard import CLAIMED, GROUPS, PAPER, SOURCES, margins, page, scores
from skysense.errors import InputError
from skysense.sensors import SENSORS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", card_names())
def test_a_card_is_whole(name: str) -> None:
    about = card(name)
    assert name in READERS
    assert about.what.endswith(".") and about.paper and about.splits.strip() and about.licence.strip() and about.obtain
    assert about.examples > 0 and len(about.classes) >= 2 and about.sources and about.layout.count("\n") >= 2
    assert all(one.read_as.split()[0].rstrip(",:;") in SENSORS for one in about.imagery)


def test_every_reader_has_a_card_and_a_recipe() -> None:
    assert set(card_names()) == set(READERS) == {name for names in GROUPS.values() for name in names}
    recipes = {file.stem for file in (DOCS.parent / "configs" / "adapt").glob("*.yaml")}
    assert recipes == set(READERS)


@pytest.mark.parametrize("name", card_names())
def test_hashes_are_called_as_divisions_are_asked_for(name: str) -> None:
    for how in card(name).hashes:
        options = {} if how == "as published" else dict(one.split(" ", 1) for one in how.split(", "))
        assert asked(name, {key: yaml.safe_load(value) for key, value in options.items()}) == how


def test_a_division_that_was_not_asked_for_is_the_one_that_readers_draw() -> None:
    assert asked("aid", {"share": None, "tile": None}) == asked("aid", {}) == "share 0.2" in card("aid").hashes
    assert asked("potsdam", {"tile": None}) == "tile 512" in card("potsdam").hashes
    assert asked("dynamicearthnet-change", {"tile": 64}) == "sensor sentinel-2-l2a, tile 64"
    assert asked("bigearthnet-s2", {}) == asked("bigearthnet-s2", {"share": 1}) == "share 1"
    assert asked("dior", {}) == "as published"


def test_an_unknown_name() -> None:
    with pytest.raises(InputError, match="no data set is called 'eurosat'; known are aid, "):
        card("eurosat")


def test_numbers_of_the_scoreboard() -> None:
    keys = [(*one.column, one.model) for one in scores()]
    assert len(set(keys)) == len(keys)
    assert all(0 < one.value < 100 and one.source in SOURCES for one in scores())
    assert {one.dataset for one in scores()} == {name for names in GROUPS.values() for name in names}
    best = {one.column: one.value for one in scores() if one.model == PAPER}
    assert best["isaid", "val"] == 70.91 and best["dior", "test"] == 78.73  # the two published recipes
    assert {one.metric for one in scores() if one.dataset == "aid"} == {"OA"}


def test_margins_by_hand() -> None:
    (gfm,) = [one for one in margins() if one.model == "GFM"]
    ahead = [4.29, 2.14, 5.89, 6.60, 4.88, 0.85, 0.24, 2.21, 1.51, 2.12, 1.68, 2.37]
    assert gfm.claimed == CLAIMED["GFM"] and gfm.columns == 12 and gfm.datasets == 10
    assert gfm.by_column == pytest.approx(sum(ahead) / 12)
    sets = [4.29, 2.14, 5.89, 6.60, 4.88, 0.85, 0.24, (2.21 + 1.51) / 2, (2.12 + 1.68) / 2, 2.37]
    assert gfm.by_dataset == pytest.approx(sum(sets) / 10)


def test_the_scoreboard_of_the_documentation_is_the_one_that_is_written(tmp_path: Path) -> None:
    assert main(["datasets", "scoreboard", "--out", str(tmp_path / "scoreboard.md")]) == 0
    assert (tmp_path / "scoreboard.md").read_text() == page() == (DOCS / "scoreboard.md").read_text()


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list"]) == 0 and "aid" in capsys.readouterr().out
    assert main(["datasets", "show", "aid"]) == 0
    assert "Airport/airport_1.jpg" in capsys.readouterr().out
    assert main(["datasets", "check", "aid", str(tmp_path)]) == 1
    assert "it is empty" in " ".join(capsys.readouterr().out.split())
    assert main(["datasets", "show", "nothing"]) == 2
