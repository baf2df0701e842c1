"""Costs from accounts that were written for it."""

import json

import numpy as np
import pytest

from skysense.curate.account import SETTINGS_FILE, Account, write_account
from skysense.curate.cost_figures import DRAWS, draw_all
from skysense.curate.cost_measured import measured
from skysense.curate.http import Traffic
from skysense.curate.outcome import AVOIDED, STORED, Outcome
from skysense.curate.position import Position
from skysense.data.shards.layout import ShardInfo
from skysense.errors import InputError

USUAL = Traffic(100, 4, 10_000_000)
COUNTS = {"s2": {"found": 9, "repeated": 1, "merged": 2, "thinned": 1, "unread": 1}, "hr": {"found": 3, "unread": 2}}


def place(number, reason=STORED, traffic=USUAL, counts=COUNTS):
    where = Position(number, f"p{number}", 10.0, 50.0, 7, None)
    return Outcome(where, reason, traffic=traffic, counts=counts, seconds=2.0)


def write(root, *blocks):
    for block, outcomes in enumerate(blocks):
        stored = sum(one.reason == STORED for one in outcomes)
        shard = ShardInfo(f"{block:06d}", stored, stored * 1_000_000, "") if stored else None
        write_account(root, block, Account(outcomes, shard))


@pytest.fixture
def corpus(tmp_path):
    """Eight places alike, two that were refused after two searches, one that nobody looked at."""
    refused = [place(at, "too few", Traffic(2, 0, 5000)) for at in (8, 9)]
    avoided = place(10, AVOIDED, Traffic(), {})
    write(tmp_path, [place(at) for at in range(5)], [place(5), place(6), place(7), *refused, avoided])
    return tmp_path


def test_what_was_spent_on_refused_places_is_shared_by_those_that_are_stored(corpus):
    told = measured(corpus, draw_all())
    assert (told.drawn, told.stored, told.simulated) == (10, 8, False)
    each = told.each
    assert each.searches[0] == 10 * 2 / 8
    assert each.requests["all"][0] == (8 * 100 + 2 * 2) / 8 - 10 * 2 / 8
    assert each.received["all"][0] == (8 * 10_000_000 + 2 * 5000) / 8
    assert each.stored["all"][0] == 1_000_000
    assert each.kept[0] == 0.8
    assert each.retries[0] == pytest.approx(32 / 804)


def test_processors_are_reckoned_from_the_frames(corpus):
    drawn = {name: np.zeros(DRAWS + 1) for name in draw_all()}
    for name, value in (("made_frame", 1.0), ("read_s2_10m", 100.0), ("read_hr", 10_000.0), ("made_image", 1e6)):
        drawn[name] = np.full(DRAWS + 1, value)
    each = measured(corpus, drawn).each
    # nine found, one twice, one thinned: seven, of which two are parts of others' frames and one was not needed
    assert each.processor[0] == pytest.approx(5 * 1 + 6 * 4 * 100 + 10_000 + 1e6)


def test_the_spread_between_places_becomes_an_interval(tmp_path):
    """Half of the places receive 10 and half 30: the mean of 16 of them has a standard error of 2.5."""
    write(tmp_path, [place(at, traffic=Traffic(10, 0, 10 + 20 * (at % 2))) for at in range(16)])
    drawn = measured(tmp_path, draw_all()).each.received["all"]
    assert drawn[0] == 20
    assert drawn[1:].std() == pytest.approx(2.5, rel=0.1)
    again = measured(tmp_path, draw_all()).each.received["all"]
    assert np.array_equal(drawn, again)


def test_all_that_were_kept_leaves_a_doubt(tmp_path):
    write(tmp_path, [place(at) for at in range(10)])
    kept = measured(tmp_path, draw_all()).each.kept
    assert kept[0] == 1 and 0.7 < np.quantile(kept[1:], 0.025) < 0.9


def test_made_up_scenes_are_told_apart(corpus):
    catalogues = {"a": {"simulated": False}, "b": {"simulated": True}}
    (corpus / SETTINGS_FILE).write_text(json.dumps({"catalogues": catalogues}))
    assert measured(corpus, draw_all()).simulated


def test_no_accounts_and_too_few_places(tmp_path):
    with pytest.raises(InputError, match=r"holds no accounts of a curation\. Give the folder that `skysense curate`"):
        measured(tmp_path, draw_all())
    write(tmp_path, [place(at) for at in range(7)])
    with pytest.raises(InputError, match="holds 7 stored places; 8 are needed"):
        measured(tmp_path, draw_all())
