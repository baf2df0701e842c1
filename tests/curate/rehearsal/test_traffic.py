import pytest
from hypothesis import given
from hypothesis import strategies as st

from skysense.curate.rehearsal import traffic
from skysense.curate.rehearsal.orbits import absolute_orbit, baseline_on
from skysense.curate.rehearsal.scenes import instant
from skysense.curate.rehearsal.tokens import Tokens
from skysense.curate.rehearsal.traffic import Bandwidth, Counts, Unsatisfiable, byte_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 0)),
        ("bytes=10-19", (10, 19)),
        ("bytes = 10 - 19", (10, 19)),
        ("bytes=90-", (90, 99)),
        ("bytes=90-1000", (90, 99)),
        ("bytes=-10", (90, 99)),
        ("bytes=-1000", (0, 99)),
        ("bytes=0-9,20-29", None),
        ("bytes=19-10", None),
        ("bytes=-", None),
        ("pages=1-2", None),
        ("bytes=a-b", None),
    ],
)
def test_byte_range(header, expected):
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_behind_the_end(header):
    with pytest.raises(Unsatisfiable):
        byte_range(header, 100)
    with pytest.raises(Unsatisfiable):
        byte_range("bytes=0-", 0)


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_range_is_the_slice(size, first, last):
    data = bytes(range(size))
    try:
        found = byte_range(f"bytes={first}-{last}", size)
    except Unsatisfiable:
        assert first >= size
        return
    if first <= last:
        assert found is not None and data[found[0] : found[1] + 1] == data[first : last + 1]
    else:
        assert found is None


def test_bandwidth_is_shared(monkeypatch):
    clock, slept = [100.0], []
    monkeypatch.setattr(traffic.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(traffic.time, "sleep", slept.append)
    line = Bandwidth(1000)
    line.wait(500)
    line.wait(250)  # a second connection queues behind the first
    clock[0] = 110.0
    line.wait(100)  # what was not used meanwhile is gone
    assert slept == pytest.approx([0.5, 0.75, 0.1])
    Bandwidth(None).wait(10**12)
    assert len(slept) == 3


def test_counts():
    counts = Counts()
    counts.request("file", 206)
    counts.request("search", 200)
    counts.sent("file", 10)
    counts.sent("file", 5)
    expected = {"requests": {"file": 1, "search": 1}, "bytes": {"file": 15}, "statuses": {"206": 1, "200": 1}}
    assert counts.plain() == expected
    counts.reset()
    assert counts.plain() == {"requests": {}, "bytes": {}, "statuses": {}}


def test_tokens():
    tokens = Tokens(60, 0)
    token, end = tokens.give("account/container")
    assert end.endswith("Z") and len(end) == 20
    assert tokens.judge("account/container", token) == "ok"
    assert tokens.judge("account/other", token) == "refused"
    assert tokens.judge("account/container", token.replace("sig=", "sig=0")) == "refused"
    assert tokens.judge("account/container", token.replace(end[:4], "2999")) == "refused"
    assert tokens.judge("account/container", "") == "unsigned"
    assert Tokens(-2, 0).judge("a/b", Tokens(-2, 0).give("a/b")[0]) == "refused"


def test_first_tokens_may_be_stale():
    tokens = Tokens(60, 2)
    verdicts = [tokens.judge("a/b", tokens.give("a/b")[0]) for _ in range(4)]
    assert verdicts == ["refused", "refused", "ok", "ok"]


def test_orbits_are_those_of_products_that_exist():
    assert absolute_orbit("S2A", instant("2023-06-28T07:06:31Z"), 106) == 41859
    assert absolute_orbit("S2B", instant("2019-06-29T21:25:29Z"), 43) == 12081
    assert absolute_orbit("S1A", instant("2024-04-19T09:51:12Z"), 54) == 53501
    days = ["2021-12-01", "2022-01-24", "2022-01-25", "2023-01-01", "2024-06-02"]
    assert [baseline_on(instant(f"{day}T00:00:00Z")) for day in days] == ["03.01", "03.01", "04.00", "05.09", "05.10"]
