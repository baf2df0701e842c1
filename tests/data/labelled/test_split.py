"""Splits: blocks of ground, groups, chance; what is given is kept, what leaks is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.data.labelled.dataset import Item, ItemTable, LabelledData
from skysense.data.labelled.split import By, assign_splits, check_groups
from skysense.errors import InputError


def data_of(items: list[Item]) -> LabelledData:
    return LabelledData("tiles", "classification", ("a",), tuple(items), read_item=None)  # type: ignore[arg-type]


def grid(rows: int, cols: int, step: float = 0.01) -> list[Item]:
    return [
        Item(f"{row},{col}", f"{row},{col}", lon=11 + step * col, lat=48 + step * row)
        for row in range(rows)
        for col in range(cols)
    ]


def test_by_location_in_blocks() -> None:
    data = assign_splits(data_of(grid(20, 20)))
    counts = Counter(item.split for item in data.items)
    assert counts["train"] == pytest.approx(280, abs=40) and min(counts["val"], counts["test"]) >= 30
    at = {item.name: item.split for item in data.items}
    alike = [at[f"{row},{col}"] == at[f"{row},{col + 1}"] for row in range(20) for col in range(19)]
    assert np.mean(alike) > 0.8  # at random it would be 0.7 ** 2 + 2 * 0.15 ** 2 = 0.535
    assert data.notes[-1].startswith("divided by location, in ")


def test_the_same_seed_gives_the_same() -> None:
    splits = [[item.split for item in assign_splits(data_of(grid(6, 6)), seed=seed).items] for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_items_of_one_group_stay_together_even_far_apart() -> None:
    items = [Item(f"{n}", f"g{n % 10}", lon=11 + n, lat=48) for n in range(40)]
    for seed in range(5):
        data = assign_splits(data_of(items), seed=seed)
        check_groups(data)
        assert {item.split for item in data.items} == {"train", "val", "test"}


def parts(places: list[tuple[int, int, int]]) -> int:
    """How many sets of items there are that share neither position nor group."""
    sets: list[set[object]] = []
    for lon, lat, group in places:
        keys = {(lon, lat), group}
        touched = [one for one in sets if one & keys]
        sets = [one for one in sets if not one & keys] + [keys.union(*touched)]
    return len(sets)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-179, 179), st.integers(-80, 80), st.integers(0, 9)), min_size=1, max_size=30),
    st.integers(0, 9),
)
def test_any_positions(places: list[tuple[int, int, int]], seed: int) -> None:
    items = [Item(f"{n}", f"g{group}", lon=lon, lat=lat) for n, (lon, lat, group) in enumerate(places)]
    if parts(places) < 3:
        with pytest.raises(InputError, match="there are only"):
            assign_splits(data_of(items), seed=seed)
        return
    data = assign_splits(data_of(items), seed=seed)
    check_groups(data)
    assert {item.split for item in data.items} == {"train", "val", "test"}
    at: dict[tuple[int, int], set[str | None]] = {}
    for item, (lon, lat, _) in zip(data.items, places, strict=True):
        at.setdefault((lon, lat), set()).add(item.split)
    assert all(len(splits) == 1 for splits in at.values())


def test_by_group_without_positions() -> None:
    data = assign_splits(data_of([Item(f"{n}", f"scene {n // 10}") for n in range(100)]))
    check_groups(data)
    assert Counter(item.split for item in data.items) == {"train": 70, "val": 20, "test": 10} or Counter(
        item.split for item in data.items
    ) == {"train": 70, "val": 10, "test": 20}
    assert data.notes[-1] == "divided by group, of which there are 10"


def test_at_random_with_a_warning() -> None:
    data = assign_splits(data_of([Item(f"{n}", f"{n}") for n in range(100)]))
    assert Counter(item.split for item in data.items) == {"train": 70, "val": 15, "test": 15}
    assert data.notes[-1] == "divided at random: neighbouring images may lie in different splits"


def test_too_few_to_divide() -> None:
    with pytest.raises(InputError, match="by group, of which there are 2: there are only 2"):
        assign_splits(data_of([Item(f"{n}", f"{n % 2}") for n in range(10)]))
    data = assign_splits(data_of([Item(f"{n}", f"{n % 2}") for n in range(10)]), by="random")
    assert {item.split for item in data.items} == {"train", "val", "test"}
    with pytest.raises(InputError, match="no item has a position"):
        assign_splits(data_of([Item(f"{n}", f"{n}") for n in range(10)]), by="location")


def test_given_splits_are_kept() -> None:
    items = [Item("a", "a", "train"), Item("b", "b", "val"), Item("c", "c", "test"), Item("d", "d")]
    data = assign_splits(data_of(items))
    assert [item.split for item in data.items] == ["train", "val", "test", None]
    assert "1 items have no split and are not used" in data.notes


def test_validation_is_taken_from_training_if_there_is_none() -> None:
    items = [Item(f"{n}", f"{n // 4}", "test" if n >= 80 else "train") for n in range(100)]
    data = assign_splits(data_of(items))
    assert Counter(item.split for item in data.items) == {"train": 68, "val": 12, "test": 20}
    check_groups(data)
    assert data.notes[-1].startswith("no validation was given: it is taken from training, by group")


def test_without_validation_all_that_is_not_for_testing_is_learned_from() -> None:
    items = [Item(str(n), str(n), split) for n, split in enumerate(("train", "val", "test", None))]
    found = assign_splits(data_of(items), validate=False)  # type: ignore[list-item]
    assert [item.split for item in found.items] == ["train", "train", "test", None]
    assert found.notes[-1] == "nothing is kept for validation: the last epoch counts"
    counts = Counter(item.split for item in assign_splits(data_of(grid(10, 10)), validate=False).items)
    assert set(counts) == {"train", "test"} and counts["train"] > 70


def test_a_group_in_two_splits_is_refused() -> None:
    items = [Item("a1", "a", "train"), Item("b", "b", "val"), Item("a2", "a", "test")]
    with pytest.raises(InputError, match=r"a1 \(train\) and a2 \(test\) are of the same group 'a'"):
        assign_splits(data_of(items))


@st.composite
def tables(draw: st.DrawFn) -> ItemTable:
    """Items of any names, groups, positions and splits; those of a group have one split, mostly."""
    names = sorted(draw(st.sets(st.from_regex(r"[ab]{1,2}/[ab]{0,3}", fullmatch=True), min_size=1, max_size=25)))
    count = len(names)
    letters = draw(st.none() | st.lists(st.integers(1, 6), min_size=count, max_size=count))
    places = st.tuples(st.integers(-3, 3), st.integers(-3, 3) | st.floats(-80, 80))
    lonlat = draw(st.none() | st.lists(places, min_size=count, max_size=count))
    table = ItemTable(
        np.array(names, "S"),
        np.full(count, -1, np.int8),
        None
        if letters is None
        else np.array([min(one, len(name)) for one, name in zip(letters, names, strict=True)], np.uint8),
        None if lonlat is None else np.array(lonlat, np.float64),
    )
    codes = st.sampled_from(draw(st.sampled_from([[-1], [0, 1, 2], [0, 2], [-1, 0, 2]])))
    of_group = {item.group: draw(codes) for item in table}
    split_N = np.array([of_group[item.group] for item in table], np.int8)
    if draw(st.integers(0, 3)) == 0:
        split_N[0] = draw(codes)
    return replace(table, split_N=split_N)


@settings(max_examples=150, deadline=None)
@given(tables(), st.sampled_from([None, "location", "group", "random"]), st.booleans(), st.integers(0, 9))
def test_columns_are_divided_as_their_items_are(table: ItemTable, by: By | None, validate: bool, seed: int) -> None:
    columns = replace(data_of([]), items=table)

    def divided(data: LabelledData) -> tuple[object, ...]:
        try:
            found = assign_splits(data, by=by, validate=validate, seed=seed)
        except InputError as error:
            return (str(error),)
        assert type(found.items) is type(data.items)
        return tuple(found.items), found.notes

    assert divided(columns) == divided(replace(columns, items=tuple(table)))


def test_a_division_stays_what_it_was() -> None:
    """Runs that were begun must find their examples where they left them."""
    data = assign_splits(data_of(grid(5, 6)), seed=3)
    assert "".join((item.split or "-")[1] for item in data.items) == "rrrarrrrrarraaarrrrreerrrreerr"
    ends = assign_splits(data_of([Item(f"{n}", f"scene {n // 3}") for n in range(30)]), seed=3)
    assert "".join((item.split or "-")[1] for item in ends.items) == "rrrrrrrrrrrrrrreeerrraaaaaarrr"
