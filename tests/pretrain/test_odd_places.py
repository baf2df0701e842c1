"""Runs on places that leave little or nothing to compare: they learn what there is, or say what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from skysense.cli import main
from skysense.data.earth import simulate_place
from skysense.data.earth.writing import LEGENDS, TITLE
from skysense.data.places import Places
from skysense.data.places_write import write_dataset, write_place
from skysense.geo import RegionTable
from skysense.model.loading import load
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.journal import read
from skysense.pretrain.loop import pretrain
from skysense.sensors import Modality
from tests.pretrain.test_loop import SMALL

TWO_STEPS = replace(SMALL, steps=2, batch_size=4)


def folder(root: Path, sensors: Sequence[Sequence[Modality]]) -> Places:
    """A place for each entry, seen by these sensors."""
    write_dataset(root, title=TITLE, simulated=True, legends=LEGENDS)
    for index, some in enumerate(sensors):
        write_place(root, simulate_place(0, index, footprint_cells=8).sample.only(some))
    return Places(root)


def learned(places: Places, out: Path, config: PretrainConfig = TWO_STEPS) -> list[Mapping[str, float]]:
    """The log of two steps, whose terms are all finite."""
    outcome = pretrain(config, places, out, device="cpu")
    rows = read(out / "log.jsonl")
    assert len(rows) == 2 and rows[-1]["skipped"] == 0
    assert all(math.isfinite(row["loss"]) and row["gradient_norm"] > 0 for row in rows)
    assert all(bool(parameter.isfinite().all()) for parameter in load(outcome.model).parameters())
    return rows


def test_a_folder_without_a_place_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "empty", [])
    assert main(["pretrain", str(tmp_path / "empty"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "no place" in capsys.readouterr().err


def test_one_place_alone(tmp_path: Path) -> None:
    """Both its views are compared; there is no other place to tell it from."""
    rows = learned(folder(tmp_path / "one", [["hr", "s2", "s1"]]), tmp_path / "run")
    assert all(value == 0 for row in rows for name, value in row.items() if name.startswith("align/"))
    assert all(row["pixel/fused"] > 0 for row in rows)


@pytest.mark.parametrize("only", ["hr", "s2", "s1"])
def test_places_of_one_sensor(tmp_path: Path, only: Modality) -> None:
    rows = learned(folder(tmp_path / "places", [[only]] * 4), tmp_path / "run")
    names = {name for name in rows[0] if name.split("/")[0] in ("pixel", "object", "image", "align")}
    assert names == {f"{term}/{source}" for term in ("pixel", "object", "image") for source in (only, "fused")}


def test_places_of_different_sensors_have_no_pair_to_align(tmp_path: Path) -> None:
    rows = learned(folder(tmp_path / "places", [["hr"], ["s2"], ["s1"], ["hr"]]), tmp_path / "run")
    assert all(value == 0 for row in rows for name, value in row.items() if name.startswith("align/"))
    assert all(row["image/fused"] > 0 for row in rows)


def test_frames_without_a_partner_leave_the_fused_feature(tmp_path: Path) -> None:
    """With one frame a view and no day between partners, most frames of a series have none."""
    views = replace(SMALL.views, s2_frames=1, pair_days=0)
    rows = learned(folder(tmp_path / "places", [["s2"]] * 2), tmp_path / "run", replace(TWO_STEPS, views=views))
    assert any(row["pixel/s2"] == 0 for row in rows)
    assert all(row["pixel/fused"] > 0 for row in rows)


def test_places_whose_region_has_no_room_in_the_table_get_no_context_and_it_is_said(tmp_path: Path) -> None:
    known = folder(tmp_path / "places", [["hr", "s2"]] * 4)
    places = Places(tmp_path / "places", regions=RegionTable([known.regions.cells[0] + 1]))
    outcome = pretrain(TWO_STEPS, places, tmp_path / "run", device="cpu")
    assert any("4 of 4 places lie in no region of the table" in note for note in outcome.notes)
    model = load(outcome.model)
    assert model.geo is not None and not model.geo.initialised.any()
