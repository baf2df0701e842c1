"""A small archive on this computer that fails on demand."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Fault:
    """What happens instead of an answer.

    Attributes:
        status: answered, with ``headers``.
        cut: the body ends after so many bytes, and the connection with it.
        short: so many bytes fewer are sent, and the length is told accordingly.
        reset: the connection is reset.
        body: sent instead of the document.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    short: int = 0
    reset: bool = False
    body: bytes | None = None


@dataclass
class Asked:
    """A request that came in."""

    method: str
    path: str
    query: str
    range: str | None
    document: Any


class Archive:
    """Serves files, byte ranges of them, and answers of functions.

    Attributes:
        files: bytes by path.
        answers: functions from a request to a document, by path.
        faults: what goes wrong with the next requests for a path, in order.
        asked: requests so far.
        token: what the query of a request for a path below ``/store/`` has to be.
        ranges: whether byte ranges are served.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[Asked], Any]] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[Asked] = []
        self.token: str | None = None
        self.ranges = True
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Archive:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def times(self, path: str) -> int:
        return sum(one.path == path for one in self.asked)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: Any, address: Any) -> None:
        """Clients that go away are no news."""


def _handler(archive: Archive) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16

        def log_message(self, *words: Any) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            document = json.loads(self.rfile.read(length)) if length else None
            asked = Asked(self.command, parts.path, parts.query, self.headers.get("Range"), document)
            archive.asked.append(asked)
            faults = archive.faults.get(asked.path)
            self._answer(asked, faults.pop(0) if faults else Fault())

        do_POST = do_GET

        def _answer(self, asked: Asked, fault: Fault) -> None:
            if fault.reset:  # a close that does not linger is a reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            elif fault.status is not None:
                self._send(fault.status, fault.body or b"", fault.headers)
            elif asked.path.startswith("/store/") and archive.token is not None and asked.query != archive.token:
                self._send(403, b"", {})
            elif asked.path in archive.answers:
                body = fault.body or json.dumps(archive.answers[asked.path](asked)).encode()
                self._send(200, body, {}, fault)
            elif asked.path in archive.files:
                self._file(archive.files[asked.path], asked, fault)
            else:
                self._send(404, b"", {})

        def _file(self, data: bytes, asked: Asked, fault: Fault) -> None:
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.range or "")
            if not match or not archive.ranges:
                self._send(200, data, {}, fault)
                return
            first, last = int(match[1]), min(int(match[2]), len(data) - 1)
            if first >= len(data):
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            last -= fault.short
            self._send(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"}, fault)

        def _send(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            cut = fault.cut if fault else None
            self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

    return Handler
