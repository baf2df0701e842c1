"""All that goes over the network: waiting, asking again, signing, counting, and when to stop.

Archives are slow, busy, and sometimes cut an answer short. Nobody else in this package has to know: what a `Session`
returns is whole, and what it raises says what to do (`skysense.curate.faults`). Addresses in messages are without
their query: that is where access tokens are.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from skysense.curate.faults import BudgetSpent, Gone, Unavailable
from skysense.errors import need

TRIES = 8
"""Times a request is sent before its archive counts as unavailable: about a minute of waiting in all."""
LONGEST_WAIT = 300.0
"""Seconds; an archive that asks for more patience counts as unavailable at once."""
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_NOT_ALLOWED = (401, 403)
_MISSING = (404, 410)
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two packets
_PIECE = 256 * 1024  # bytes read at a time: of an answer that breaks off, those are counted that came
_TOKEN_MARGIN = 120.0  # seconds before its end from which a token is not used any more

_Whatever = TypeVar("_Whatever")


@dataclass(frozen=True)
class Traffic:
    """What went over the network.

    Attributes:
        requests: sent, whether they were answered or not.
        retries: those of them that were sent again.
        bytes: received in bodies, of broken answers too.
        tokens: access tokens that were fetched.
    """

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Signing:
    """How files of a store are made readable: a token per container, appended to the address.

    Attributes:
        files: what addresses of the store begin with, with names in braces for what differs, e.g.
            ``"https://{account}.blob.core.windows.net/{container}/"``.
        token_url: where the token is, with the same names. It answers with ``token`` and ``msft:expiry``.
    """

    files: str
    token_url: str

    def where(self, url: str) -> str | None:
        """Where the token for an address is; None if it is not of this store or bears a signature already."""
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/.?]+)", re.escape(self.files))
        match = re.match(pattern, url)
        return self.token_url.format(**match.groupdict()) if match and "sig=" not in url else None


@dataclass(frozen=True)
class Part:
    """A range of the bytes of a file.

    Attributes:
        data: the bytes; fewer than were asked for only where the file ends.
        size: of the whole file.
    """

    data: bytes
    size: int


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _NotNow(Exception):
    """An answer that may well be better the next time.

    Args:
        what: is the matter.
        wait: seconds that the archive asks us to wait, if it does.
    """

    def __init__(self, what: str, wait: float | None = None) -> None:
        self.wait = wait
        super().__init__(what)


class Session:
    """Connections to archives, to be shared by all threads of a run.

    Args:
        signings: stores whose files need a token.
        budget: bytes that may be received in all; None for no limit.
        connections: to one host that are kept open; as many as there are threads.
        sleep: waits for a number of seconds.
        now: seconds since the epoch.

    Raises:
        MissingExtra: ``requests`` is not installed.
    """

    def __init__(
        self,
        signings: Sequence[Signing] = (),
        *,
        budget: int | None = None,
        connections: int = 32,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        requests = need("requests", "curate")
        adapter = requests.adapters.HTTPAdapter(pool_connections=16, pool_maxsize=connections, max_retries=0)
        self._requests = requests.Session()
        self._requests.trust_env = False  # else the environment is searched anew for every request, half of its cost
        self._requests.verify = next((os.environ[name] for name in _CERTIFICATES if os.environ.get(name)), True)
        self._environment_proxies = requests.utils.get_environ_proxies
        self._proxies: dict[str, dict[str, str]] = {}
        for scheme in ("http://", "https://"):
            self._requests.mount(scheme, adapter)
        self._broken = (requests.exceptions.RequestException, need("urllib3", "curate").exceptions.HTTPError)
        addresses = requests.exceptions
        self._no_address = (addresses.MissingSchema, addresses.InvalidSchema, addresses.InvalidURL)
        self._signings = tuple(signings)
        self._tokens: dict[str, _Token] = {}
        self._budget, self._promised = budget, 0
        self._sleep, self._now = sleep, now
        self._traffic = Traffic()
        self._whole = self
        self._lock = threading.Lock()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.close()

    @property
    def traffic(self) -> Traffic:
        """What went over the network so far."""
        return self._traffic

    def counting(self) -> Session:
        """The same connections, tokens and budget, whose `traffic` is what went over the network through it alone."""
        view = copy.copy(self)
        view._traffic = Traffic()
        return view

    def read_range(self, url: str, start: int, length: int) -> Part:
        """Some bytes of a file.

        Args:
            url: of the file.
            start: first byte.
            length: how many.

        Raises:
            Gone: the file is not there, not for us, or its server does not serve ranges.
            Unavailable: the archive does not answer, or not with all the bytes.
            BudgetSpent: so many bytes are not left.
        """
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}

        def ask() -> Part:
            answer = self._signed("GET", url, headers, None, length)
            if answer.status == 416:
                return Part(b"", _size(answer, url))
            if answer.status == 200:  # the whole file, which was asked for if it is as short as that
                return Part(answer.body[start : start + length], len(answer.body))
            size = _size(answer, url)
            if len(answer.body) != min(length, size - start):
                raise _NotNow(f"the answer holds {len(answer.body)} bytes of {min(length, size - start)}")
            return Part(answer.body, size)

        return self._until_it_works(ask, url)

    def read_text(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        document: Any = None,
        accept: Callable[[str], bool] = lambda _: True,
    ) -> str:
        """A document.

        Args:
            url: of the document.
            method: ``"GET"`` or ``"POST"``.
            headers: to be sent along.
            document: to be sent as JSON in the body.
            accept: whether a text is what was asked for. Gateways of archives in trouble answer with pages that say so,
                and with status 200; that is asked again as any other failure.

        Raises:
            Gone, Unavailable, BudgetSpent: as `read_range`.
        """

        def ask() -> str:
            text = self._signed(method, url, headers or {}, document, None).body.decode("utf-8", errors="replace")
            if not accept(text):
                raise _NotNow("answered something else than was asked for")
            return text

        return self._until_it_works(ask, url)

    def _until_it_works(self, ask: Callable[[], _Whatever], url: str) -> _Whatever:
        """Ask again with growing pauses, of random length so that many threads do not come back all at once."""
        for attempt in range(1, TRIES + 1):
            try:
                return ask()
            except _NotNow as problem:
                wait = max(problem.wait or 0, 0.5 * 2 ** (attempt - 1) * random.uniform(0.5, 1))
                if attempt == TRIES or wait > LONGEST_WAIT:
                    told = f"asks to wait {wait:.0f} s" if wait > LONGEST_WAIT else f"{problem}, {TRIES} times over"
                    raise Unavailable(
                        f"{public(url)}: {told}. Finished work stays; go on when the archive answers again"
                    ) from problem
            self._count(retries=1)
            self._sleep(wait)
        raise AssertionError("the last try either returns or raises")

    def _signed(self, method: str, url: str, headers: Mapping[str, str], document: Any, length: int | None) -> _Answer:
        """Send with a token where one is needed; if that is refused, once more with a new one."""
        where = next((found for signing in self._signings if (found := signing.where(url))), None)
        if where is None:
            answer = self._send(method, url, headers, document, length)
        else:
            token = self._token(where)
            answer = self._send(method, _with(url, token), headers, document, length)
            if answer.status in _NOT_ALLOWED:
                answer = self._send(method, _with(url, self._token(where, refused=token)), headers, document, length)
                if answer.status in _NOT_ALLOWED:  # the store is at fault, not the file
                    raise _NotNow(f"HTTP {answer.status}, with a new access token too")
        if answer.status in _MISSING:
            raise Gone("missing", f"{public(url)}: is not there (HTTP {answer.status})")
        if answer.status >= 400 and answer.status != 416:
            raise Gone("refused", f"{public(url)}: the server refuses it (HTTP {answer.status})")
        return answer

    def _token(self, where: str, refused: str | None = None) -> str:
        """The token of a container, fetched by one thread while the others wait for it."""
        with self._lock:
            token = self._tokens.setdefault(where, _Token())
        with token.lock:
            if token.text is None or token.text == refused or self._now() > token.expires - _TOKEN_MARGIN:
                token.text, token.expires = self._until_it_works(lambda: self._fetch_token(where), where)
                self._count(tokens=1)
            return token.text

    def _fetch_token(self, where: str) -> tuple[str, float]:
        answer = self._send("GET", where, {}, None, None)
        if answer.status >= 400:
            raise Unavailable(
                f"{public(where)}: gives no access token (HTTP {answer.status}). Does the container exist?"
            )
        try:
            said = json.loads(answer.body)
            return str(said["token"]), datetime.fromisoformat(said["msft:expiry"]).timestamp()
        except (ValueError, KeyError, TypeError) as error:
            raise _NotNow("answered something else than a token") from error

    def _send(self, method: str, url: str, headers: Mapping[str, str], document: Any, length: int | None) -> _Answer:
        """One request and its whole answer.

        Raises:
            _NotNow: no answer, a broken one, or one that says to come again.
            Gone: no address, or a whole file where ``length`` bytes of it were asked for.
        """
        with self._granted(length or 0) as received:
            self._count(requests=1)
            try:
                with self._requests.request(
                    method,
                    url,
                    headers=dict(headers),
                    json=document,
                    stream=True,
                    timeout=_TIMEOUT,
                    proxies=self._proxies_to(url),
                ) as response:
                    if response.status_code in _BUSY:
                        raise _NotNow(f"HTTP {response.status_code}", _seconds(response.headers.get("Retry-After")))
                    told = response.headers.get("Content-Length", "")
                    whole = response.status_code == 200 and not (told.isdigit() and int(told) <= (length or 0))
                    if length is not None and whole:
                        raise Gone("refused", f"{public(url)}: the server sends no byte ranges, only the whole file")
                    try:
                        body = b"".join(response.raw.stream(_PIECE, decode_content=True))
                    finally:
                        received.append(response.raw.tell())
                    return _Answer(response.status_code, response.headers, body)
            except self._no_address as error:
                raise Gone("missing", f"{public(url)}: is no address on the web") from error
            except self._broken as error:
                raise _NotNow(_plain(error)) from error

    def _proxies_to(self, url: str) -> dict[str, str]:
        """What the environment says about the way to a host."""
        host = url[: url.find("/", 8)]  # with the scheme
        if host not in self._proxies:
            self._proxies[host] = self._environment_proxies(url)
        return self._proxies[host]

    @contextmanager
    def _granted(self, length: int) -> Iterator[list[int]]:
        """Set bytes aside while they are under way, so that no two threads count on the same ones.

        Yields:
            A list to which the number of bytes that were received is to be appended.
        """
        with self._lock:
            whole, received_so_far = self._whole, self._whole._traffic.bytes
            under_way = received_so_far + whole._promised
            if self._budget is not None and under_way + max(length, 1) > self._budget:
                raise BudgetSpent(
                    f"the budget of {self._budget:,} bytes is spent ({received_so_far:,} received, {length:,} more "
                    "needed). Finished work stays; go on with a larger one"
                )
            whole._promised += length
        received: list[int] = []
        try:
            yield received
        finally:
            with self._lock:
                whole._promised -= length
            self._count(bytes=sum(received))

    def _count(self, **more: int) -> None:
        with self._lock:
            for one in {self, self._whole}:
                was = vars(one._traffic)
                one._traffic = replace(one._traffic, **{name: was[name] + count for name, count in more.items()})


class _Token:
    """A token, and the lock under which it is renewed."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.expires = 0.0
        self.lock = threading.Lock()


def _size(answer: _Answer, url: str) -> int:
    """The size of the whole file, from ``bytes 0-99/1234`` or ``bytes */1234``."""
    match = re.fullmatch(r"bytes .*/(\d+)", answer.headers.get("Content-Range", ""))
    if not match:
        raise Gone("refused", f"{public(url)}: the server sends a range without saying of what (Content-Range)")
    return int(match[1])


def _seconds(retry_after: str | None) -> float | None:
    """Seconds to wait, from a number or a date; None if it is neither."""
    from email.utils import parsedate_to_datetime

    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _with(url: str, token: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{token}"


def public(url: str) -> str:
    """An address without its query, which is where access tokens are."""
    return url.split("?")[0]


def _plain(error: Exception) -> str:
    """What happened, without the address: that may bear a token."""
    name = type(error).__name__
    if "Timeout" in name:
        return "no answer in time"
    if "SSL" in name:
        return "no secure connection (TLS)"
    if "IncompleteRead" in str(error) or "Chunk" in name:
        return "the answer broke off"
    return "the connection failed"
