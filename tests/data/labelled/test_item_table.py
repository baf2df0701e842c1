"""Columns of items behave as a tuple of them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from skysense.data.labelled.dataset import Item, ItemTable, LabelledData, split_codes
from skysense.errors import InputError


def table() -> ItemTable:
    return ItemTable(
        np.array(["a/1", "a/22", "b/3", "b/4"], "S"),
        np.array([0, 2, -1, 0], np.int8),
        np.array([1, 1, 1, 3], np.uint8),
        np.array([[1.5, 2], [3, 4], [5, 6], [7, 8]]),
    )


ITEMS = (
    Item("a/1", "a", "train", 1.5, 2.0),
    Item("a/22", "a", "test", 3.0, 4.0),
    Item("b/3", "b", None, 5.0, 6.0),
    Item("b/4", "b/4", "train", 7.0, 8.0),
)


def test_items() -> None:
    made = pickle.loads(pickle.dumps(table()))
    assert tuple(made) == ITEMS and len(made) == 4 and made[-1] == ITEMS[-1] and tuple(made[1:3]) == ITEMS[1:3]
    assert tuple(made.of("train")) == (ITEMS[0], ITEMS[3]) and len(made.of("val")) == 0
    assert made.amounts() == {"train": 2, "test": 1, None: 1}
    plain = ItemTable(made.name_N, made.split_N)
    assert plain[1] == Item("a/22", "a/22", "test")
    with pytest.raises(IndexError):
        made[4]


def test_rows_by_name() -> None:
    made = table()
    assert [made.row(item.name) for item in ITEMS] == [0, 1, 2, 3]
    for name in ("", "a/2", "a/222", "z", "a much longer name than any"):
        with pytest.raises(KeyError):
            made.row(name)


def test_data_of_a_table() -> None:
    data = LabelledData("made up", "classification", ("x",), table(), lambda item: pytest.fail(item.name))
    assert len(data) == 4 and tuple(data.select("train").items) == (ITEMS[0], ITEMS[3])
    assert isinstance(data.select("train").items, ItemTable)
    with pytest.raises(InputError, match="no example for 'val'"):
        data.select("val")
    split = data.split_as({item.name: "val" for item in ITEMS})
    assert tuple(split.items) == tuple(replace(item, split="val") for item in ITEMS)


def test_a_table_stays_one() -> None:
    columns = LabelledData("made up", "classification", ("x",), table(), lambda item: pytest.fail(item.name))
    single = replace(columns, items=ITEMS)
    new_N = np.array([1, -1, 0, 2], np.int8)
    for data, kind in ((columns, ItemTable), (single, tuple)):
        assert split_codes(data.items).tolist() == [0, 2, -1, 0]
        named_N = data.named({"b/3", "a/1", "nowhere to be found"})
        assert named_N.tolist() == [True, False, True, False] and not data.named(()).any()
        for found in (data.take(named_N), data.with_splits(new_N)):
            assert isinstance(found.items, kind)
        assert tuple(data.take(named_N).items) == (ITEMS[0], ITEMS[2])
        assert [item.split for item in data.with_splits(new_N).items] == ["val", None, "train", "test"]
