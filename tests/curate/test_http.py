import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from skysense.curate.faults import BudgetSpent, Gone, Unavailable
from skysense.curate.http import LONGEST_WAIT, TRIES, Part, Session, Signing, Traffic
from tests.curate.archive import Archive, Asked, Fault

pytest.importorskip("requests")

DATA = bytes(range(256)) * 40


@pytest.fixture
def archive():
    with Archive() as archive:
        archive.files["/a.bin"] = DATA
        yield archive


@pytest.fixture
def waits():
    return []


@pytest.fixture
def session(waits):
    with Session(sleep=waits.append) as session:
        yield session


def test_a_range_is_as_asked_and_counted(archive, session):
    assert session.read_range(archive.url("/a.bin"), 100, 50) == Part(DATA[100:150], len(DATA))
    assert session.read_range(archive.url("/a.bin"), len(DATA) - 10, 50) == Part(DATA[-10:], len(DATA))
    assert session.read_range(archive.url("/a.bin"), len(DATA) + 10, 50) == Part(b"", len(DATA))
    assert [one.range for one in archive.asked] == ["bytes=100-149", "bytes=10230-10279", "bytes=10250-10299"]
    assert session.traffic == Traffic(requests=3, bytes=60)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=500),
        Fault(status=429),
        Fault(reset=True),
        Fault(cut=0),
        Fault(cut=30),
        Fault(short=1),
    ],
    ids=["503", "500", "429", "reset", "cut at once", "cut", "short"],
)
def test_what_passes_is_asked_again(archive, session, waits, fault):
    archive.faults["/a.bin"] = [fault, fault]
    assert session.read_range(archive.url("/a.bin"), 100, 50).data == DATA[100:150]
    assert (session.traffic.requests, session.traffic.retries) == (3, 2)
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1


def test_bytes_of_broken_answers_count(archive, session):
    archive.faults["/a.bin"] = [Fault(short=10), Fault(cut=30)]
    session.read_range(archive.url("/a.bin"), 0, 50)
    assert session.traffic.bytes == 40 + 30 + 50


def test_pauses_are_those_the_archive_asks_for(archive, session, waits):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    archive.faults["/a.bin"] = [
        Fault(status=429, headers={"Retry-After": "7"}),
        Fault(status=503, headers={"Retry-After": later}),
        Fault(status=503, headers={"Retry-After": "soon"}),
    ]
    session.read_range(archive.url("/a.bin"), 0, 1)
    assert waits[0] == 7 and 30 < waits[1] <= 40 and waits[2] <= 2


def test_an_archive_that_does_not_recover_is_unavailable(archive, session, waits):
    archive.faults["/a.bin"] = [Fault(status=503)] * 20
    with pytest.raises(Unavailable, match=rf"a.bin: HTTP 503, {TRIES} times over. Finished work stays"):
        session.read_range(archive.url("/a.bin?secret=1"), 0, 1)
    assert archive.times("/a.bin") == TRIES == len(waits) + 1
    assert 30 < sum(waits) < 70


def test_an_archive_that_asks_for_too_much_patience_is_unavailable_at_once(archive, session, waits):
    archive.faults["/a.bin"] = [Fault(status=429, headers={"Retry-After": str(int(LONGEST_WAIT) + 1)})]
    with pytest.raises(Unavailable, match="asks to wait 301 s"):
        session.read_range(archive.url("/a.bin"), 0, 1)
    assert waits == []


def test_no_server_at_all(session):
    with Archive() as gone:
        url = gone.url("/a.bin?sig=secret")
    with pytest.raises(Unavailable, match="the connection failed") as raised:
        session.read_range(url, 0, 1)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(("status", "reason"), [(404, "missing"), (410, "missing"), (403, "refused"), (400, "refused")])
def test_what_stays_is_not_asked_again(archive, session, status, reason):
    archive.faults["/a.bin"] = [Fault(status=status)]
    with pytest.raises(Gone, match=f"HTTP {status}") as raised:
        session.read_range(archive.url("/a.bin"), 0, 1)
    assert raised.value.reason == reason
    assert session.traffic == Traffic(requests=1)


def test_a_server_without_ranges_is_refused_before_the_whole_file_comes(archive, session):
    archive.ranges = False
    with pytest.raises(Gone, match="no byte ranges"):
        session.read_range(archive.url("/a.bin"), 0, 50)
    assert session.traffic.bytes == 0
    assert session.read_range(archive.url("/a.bin"), 2, len(DATA)) == Part(DATA[2:], len(DATA))


def test_what_is_no_address(session):
    with pytest.raises(Gone, match="no address on the web"):
        session.read_range("s3://bucket/key", 0, 1)


def test_documents_are_sent_and_read(archive, session):
    archive.answers["/search"] = lambda asked: {"method": asked.method, "got": asked.document}
    assert (
        session.read_text(archive.url("/search"), method="POST", document={"a": 1})
        == '{"method": "POST", "got": {"a": 1}}'
    )
    archive.faults["/search"] = [Fault(cut=5)]
    assert session.read_text(archive.url("/search")) == '{"method": "GET", "got": null}'
    assert session.traffic.retries == 1


class Tokens:
    """Gives out token after token; those before ``good`` are refused by the store."""

    def __init__(self, archive: Archive, good: int = 1, lasting: float = 3600) -> None:
        self.given = 0
        self.good, self.lasting, self.archive = good, lasting, archive
        self.clock = datetime(2024, 1, 1, tzinfo=UTC)
        archive.token = f"sig={good}"
        archive.files["/store/box/a.bin"] = DATA
        archive.answers["/token/store/box"] = self.give
        self.signing = Signing(archive.url("/{account}/{container}/"), archive.url("/token/{account}/{container}"))

    def give(self, asked: Asked) -> dict[str, str]:
        self.given += 1
        end = self.clock + timedelta(seconds=self.lasting)
        return {"token": f"sig={self.given}", "msft:expiry": end.isoformat().replace("+00:00", "Z")}

    def session(self, waits: list[float]) -> Session:
        return Session([self.signing], sleep=waits.append, now=lambda: self.clock.timestamp())


def test_a_token_is_fetched_once_and_renewed_before_it_ends(archive, waits):
    tokens = Tokens(archive)
    url = archive.url("/store/box/a.bin")
    with tokens.session(waits) as session:
        for _ in range(3):
            assert session.read_range(url, 0, 4).data == DATA[:4]
        assert tokens.given == 1
        tokens.clock += timedelta(seconds=3600 - 60)  # a minute is left: too little to begin with
        archive.token = "sig=2"
        assert session.read_range(url, 0, 4).data == DATA[:4]
    assert tokens.given == 2
    assert session.traffic == Traffic(requests=6, bytes=session.traffic.bytes, tokens=2)


def test_a_token_that_is_refused_is_renewed_once(archive, waits):
    tokens = Tokens(archive, good=2)
    with tokens.session(waits) as session:
        assert session.read_range(archive.url("/store/box/a.bin"), 0, 4).data == DATA[:4]
        assert (tokens.given, session.traffic.retries, waits) == (2, 0, [])
        archive.token = "sig=99"
        archive.faults["/store/box/a.bin"] = [Fault(status=404)]
        with pytest.raises(Gone, match="HTTP 404"):
            session.read_range(archive.url("/store/box/a.bin"), 0, 4)
        with pytest.raises(Unavailable, match=r"box/a\.bin: HTTP 403, with a new access token too, 8 times over"):
            session.read_range(archive.url("/store/box/a.bin"), 0, 4)
    assert tokens.given == 2 + TRIES


@pytest.mark.parametrize("status", [401, 403])
def test_a_store_that_refuses_every_token_for_a_while_is_asked_again(archive, waits, status):
    tokens = Tokens(archive, good=3)
    archive.faults["/store/box/a.bin"] = [Fault(status=status)] * 2
    with tokens.session(waits) as session:
        assert session.read_range(archive.url("/store/box/a.bin"), 0, 4).data == DATA[:4]
    assert (session.traffic.retries, tokens.given) == (1, 3)


def test_many_threads_fetch_one_token(archive, waits):
    tokens = Tokens(archive, good=2)
    with tokens.session(waits) as session, ThreadPoolExecutor(16) as threads:
        ready = threading.Barrier(16)

        def read(start: int) -> bytes:
            ready.wait()
            return session.read_range(archive.url("/store/box/a.bin"), start, 4).data

        assert list(threads.map(read, range(16))) == [DATA[start : start + 4] for start in range(16)]
    assert tokens.given == 2


def test_the_token_service_may_be_busy_or_broken(archive, waits):
    tokens = Tokens(archive)
    archive.faults["/token/store/box"] = [Fault(status=429, headers={"Retry-After": "3"}), Fault(body=b"<html>")]
    with tokens.session(waits) as session:
        assert session.read_range(archive.url("/store/box/a.bin"), 0, 4).data == DATA[:4]
        assert waits[0] == 3 and len(waits) == 2
        with pytest.raises(Unavailable, match="gives no access token"):
            session.read_range(archive.url("/store/other/a.bin"), 0, 4)
    secret = Signing(archive.url("/{account}/{container}/"), archive.url("/token/{account}/{container}?key=secret"))
    with Session([secret], sleep=waits.append) as session, pytest.raises(Unavailable, match="no access token") as told:
        session.read_range(archive.url("/store/other/a.bin"), 0, 4)
    assert "secret" not in str(told.value)


def test_only_addresses_of_the_store_are_signed_and_only_once():
    signing = Signing("https://{account}.blob.core.windows.net/{container}/", "https://t/{account}/{container}")
    assert signing.where("https://one.blob.core.windows.net/box/x/y.tif") == "https://t/one/box"
    assert signing.where("https://one.blob.core.windows.net/box/x/y.tif?st=1&sig=2") is None
    assert signing.where("https://bucket.s3.amazonaws.com/box/x/y.tif") is None
    assert signing.where("https://evil.net/https://one.blob.core.windows.net/box/") is None


def test_a_budget_is_never_exceeded(archive):
    with Session(budget=1050) as session, ThreadPoolExecutor(8) as threads:
        url = archive.url("/a.bin")

        def read(start: int) -> int:
            try:
                return len(session.read_range(url, start, 100).data)
            except BudgetSpent:
                return 0

        assert sum(threads.map(read, range(40))) == session.traffic.bytes == 1000
        assert read(0) == 0
        session.read_range(url, 0, 50)
        with pytest.raises(BudgetSpent, match=r"budget of 1,050 bytes is spent \(1,050 received, 1 more needed\)"):
            session.read_range(url, 0, 1)
        with pytest.raises(BudgetSpent):
            session.read_text(url)


def test_counts_do_not_depend_on_threads(archive, session):
    archive.faults["/a.bin"] = [Fault(status=503)] * 5
    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(lambda start: session.read_range(archive.url("/a.bin"), start, 10), range(50)))
    assert session.traffic == Traffic(requests=55, retries=5, bytes=500)
