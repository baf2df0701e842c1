"""Folders of places as one corpus: every place once, under a name that tells its folder, with a common region table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.data.joined import JoinedPlaces
from skysense.data.places import Places, write_dataset, write_place
from skysense.errors import InputError
from skysense.geo import RegionTable, mercator_tile, region_cell
from tests.data.places_samples import LABELS, LEGENDS, make_masks, make_sample


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of other legends that hold a place of the same name; one place has no position."""
    root = tmp_path_factory.mktemp("folders")
    common = {"simulated": False, "source": "", "licence": ""}
    write_dataset(root / "south", title="south", legends=LEGENDS, **common)
    write_dataset(root / "north", title="north", legends={}, **common)
    write_place(root / "south", make_sample("a", lon=11.6, lat=-48.0), labels=LABELS, masks=make_masks())
    write_place(root / "south", make_sample("b", seed=1, lon=None, lat=None))
    write_place(root / "north", make_sample("a", seed=2, height=8, lon=11.6, lat=48.0))
    return root


@pytest.fixture
def joined(root: Path) -> JoinedPlaces:
    return JoinedPlaces([Places(root / "north"), Places(root / "south")])


def test_every_place_is_there_once_under_a_name_of_its_own(joined: JoinedPlaces) -> None:
    assert [place.name for place in joined] == ["north/a", "south/a", "south/b"]
    assert len(joined) == 3 and joined[2] == list(joined)[2]
    assert not joined.simulated


def test_a_place_is_read_from_its_folder_with_the_slot_of_the_common_table(joined: JoinedPlaces, root: Path) -> None:
    assert joined.regions.cells == tuple(sorted([region_cell(11.6, 48.0), region_cell(11.6, -48.0)]))
    samples = [joined.read_sample(place) for place in joined]
    assert [sample.name for sample in samples] == ["north/a", "south/a", "south/b"]
    north = joined.regions.slot(11.6, 48.0)
    assert [sample.region for sample in samples] == [north, 1 - (north or 0), None]
    for sample, (folder, index) in zip(samples, (("north", 0), ("south", 0), ("south", 1)), strict=True):
        places = Places(root / folder)
        alone = places.read_sample(places[index])
        assert np.array_equal(sample.series["s2"].values, alone.series["s2"].values)
        assert sample.grid == alone.grid and sample.footprint == alone.footprint


def test_a_part_of_a_folder_can_be_joined(root: Path) -> None:
    part = Places(root / "south").select(where=lambda place: place.name == "b")
    assert [place.name for place in JoinedPlaces([part])] == ["south/b"]


def test_tables_of_one_rule_are_joined_and_of_two_refused(root: Path) -> None:
    tiles = {name: Places(root / name, regions=RegionTable([5], mercator_tile)) for name in ("north", "south")}
    joined = JoinedPlaces(list(tiles.values()))
    assert joined.regions.cells == (5,)
    assert joined.regions.rule is mercator_tile
    with pytest.raises(InputError, match="the regions of all follow one rule"):
        JoinedPlaces([tiles["north"], Places(root / "south")])


def test_folders_need_names_of_their_own(root: Path) -> None:
    with pytest.raises(InputError, match="a name of its own; got north, north"):
        JoinedPlaces([Places(root / "north"), Places(root / "north")])
    with pytest.raises(InputError, match="got none"):
        JoinedPlaces([])
