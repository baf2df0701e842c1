"""What is read of a pass, and what is not."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from skysense.curate.acquisition import Acquisition
from skysense.curate.faults import Gone, Unavailable
from skysense.curate.frame import Reading
from skysense.curate.gather import see_images, see_pass
from skysense.curate.merge import Pass
from skysense.curate.refusal import Reason
from skysense.errors import InputError
from tests.curate.makers import NOON, acquire, flat, read


class Archive:
    """Flat pixels by item; a number of columns on the left, or a fault."""

    def __init__(self, **items: int | Exception) -> None:
        self.items, self.asked = items, []

    def __call__(self, acquisition: Acquisition) -> Reading:
        self.asked.append(acquisition.item)
        columns = self.items[acquisition.item]
        if isinstance(columns, Exception):
            raise columns
        hidden = np.zeros((4, 4), bool)
        hidden[:, abs(columns) :] = True
        hidden = hidden if columns >= 0 else hidden[:, ::-1]
        value = {"s2": 1200 + len(self.asked), "s1": 0.1, "hr": 90}[acquisition.modality]
        return read(acquisition, flat(acquisition, value), hidden)


def test_reading_stops_when_the_place_is_seen() -> None:
    archive = Archive(a=3, b=-2, c=4)
    seen = see_pass(Pass((acquire("a"), acquire("b"), acquire("c"))), archive)
    assert archive.asked == ["a", "b"]
    assert seen.frame is not None
    assert seen.frame.valid.all()
    assert seen.frame.values[0, 0].tolist() == [201, 201, 202, 202]  # whole pixels of 20 m
    assert [source["item"] for source in seen.frame.sources] == ["a", "b"]
    assert (seen.unread, seen.dropped) == (1, ())


def test_a_hundredth_is_not_worth_another_product() -> None:
    def unread(blocks: int) -> int:
        hidden = (np.arange(250).reshape(10, 25) < blocks).repeat(2, axis=0).repeat(2, axis=1)
        both = Pass((acquire("a"), acquire("b")))
        return see_pass(both, lambda one: read(one, flat(one, 1200, (20, 50)), hidden)).unread

    assert (unread(2), unread(3)) == (1, 0)  # 8 and 12 of 1000 pixels


def test_faults_and_refusals_are_counted() -> None:
    archive = Archive(a=Gone("unreadable", "the file is cut off"), b=0, c=2)
    amplitudes = acquire("d", "s1", unit="amplitude-dn")
    seen = see_pass(Pass((acquire("a"), acquire("b"), acquire("c"))), archive)
    assert seen.dropped == (("a", "unreadable"), ("b", Reason.NOTHING_OBSERVED))
    assert seen.frame is not None
    assert seen.frame.share == 0.5
    seen = see_pass(Pass((amplitudes,)), Archive(d=4))
    assert (seen.frame, seen.dropped) == (None, (("d", Reason.NOT_CALIBRATED),))


def test_an_archive_that_is_down_stops_everything() -> None:
    with pytest.raises(Unavailable):
        see_pass(Pass((acquire("a"), acquire("b"))), Archive(a=Unavailable("no answer"), b=4))


def test_images_are_read_until_one_is_whole() -> None:
    passes = [Pass((acquire(item, "hr", time=NOON + timedelta(days=400 * at)),)) for at, item in enumerate("abcd")]
    archive = Archive(a=4, b=4, c=2, d=4)
    seen = see_images(passes, archive, NOON + timedelta(days=790))
    assert archive.asked == ["c", "b"]
    assert [one.frame.share for one in seen if one.frame] == [0.5, 1.0]
    archive = Archive(a=4, b=4, c=4, d=4)
    see_images(passes, archive, None)
    assert archive.asked == ["d"]


def test_layers_of_different_grids_are_refused() -> None:
    pixels = {"VV": np.ones((4, 4)), "VH": np.ones((2, 2))}
    with pytest.raises(InputError, match=r"VV \(4, 4\), VH \(2, 2\)"):
        Reading(acquire(modality="s1"), pixels, {band: np.ones(layer.shape, bool) for band, layer in pixels.items()})
    with pytest.raises(InputError, match="without VH"):
        read(acquire(modality="s1"), {"VV": np.ones((4, 4))}).stack(("VV", "VH"))
