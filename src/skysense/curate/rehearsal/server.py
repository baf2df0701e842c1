"""The archive on the loopback interface: two STAC APIs, a blob store with tokens, a public bucket, and the faults."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from skysense.curate.rehearsal.earth_search import EARTH_SEARCH
from skysense.curate.rehearsal.faults import Fate, Faults, Trouble, matches
from skysense.curate.rehearsal.planetary import CONTAINERS, PLANETARY, STORE
from skysense.curate.rehearsal.query import Refused
from skysense.curate.rehearsal.scenes import read_archive
from skysense.curate.rehearsal.service import Service
from skysense.curate.rehearsal.tokens import Tokens
from skysense.curate.rehearsal.traffic import CHUNK, Bandwidth, Counts, Unsatisfiable, byte_range

SAS = "/planetary/api/sas/v1"
COUNTS = "/counts"
INTACT = 4096
"""Bytes at the begin of a corrupt file that are left as they are: its header."""


class Rehearsal:
    """An archive that is served while a ``with`` block runs.

    It answers from threads of this process, so who asks must not hold Python's lock meanwhile: GDAL's own
    ``/vsicurl`` does while rasterio opens a file, and waits for ever. Use `Apart` for that.

    Args:
        folder: of an archive, see `skysense.curate.rehearsal.simulated_archive`.
        faults: what goes wrong.
        bandwidth: bytes per second of all connections together; None is as fast as the machine.
        latency: seconds before each answer begins.
        token_seconds: how long tokens of the blob store hold.
        largest_page: items on a page of a search at most; None for the catalogues' own limits.
        port: of 127.0.0.1; 0 is any that is free.

    Attributes:
        counts: requests and bytes by kind.

    Raises:
        InputError: the folder holds no archive.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        faults: Faults | None = None,
        bandwidth: float | None = None,
        latency: float = 0.0,
        token_seconds: float = 2700,
        largest_page: int | None = None,
        port: int = 0,
    ) -> None:
        self.counts = Counts()
        self.faults = faults or Faults()
        self.folder, self.latency = Path(folder), latency
        self.bandwidth = Bandwidth(bandwidth)
        self.fate = Fate(self.faults)
        self.tokens = Tokens(token_seconds, self.faults.stale_tokens)
        scenes = read_archive(folder)
        self._server = _Server(("127.0.0.1", port), self)
        self.services = {
            one.path: Service(one, scenes, self.host, self.faults, largest_page) for one in (EARTH_SEARCH, PLANETARY)
        }
        self.files = {path: file for service in self.services.values() for path, file in service.files.items()}
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def host(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def url(self, catalogue: str) -> str:
        """Root of a catalogue, "earth-search" or "planetary"; "sas" is what signs for the latter."""
        paths = {"earth-search": EARTH_SEARCH.path, "planetary": PLANETARY.path, "sas": SAS}
        return self.host + paths[catalogue]

    def __enter__(self) -> Rehearsal:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_all()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # connections that are kept alive would hold up the end
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], archive: Rehearsal) -> None:
        self.archive = archive
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """Close what is still open."""
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of our errors; anything else is shown."""
        import sys

        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "rehearsal"
    disable_nagle_algorithm = True

    @property
    def archive(self) -> Rehearsal:
        return cast(_Server, self.server).archive

    def log_message(self, *args: Any) -> None:
        """Counts take the place of a log."""

    def do_GET(self) -> None:
        """Answer."""
        self._handle()

    do_HEAD = do_POST = do_DELETE = do_GET

    def _handle(self) -> None:
        told = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path, self._trouble = unquote(parts.path), cast(Trouble | None, None)
        if path == COUNTS:
            self._tell_counts()
            return
        self._kind = self._kind_of(path)
        self._trouble = self.archive.fate.of(path)
        time.sleep(self.archive.latency)
        match self._trouble:
            case "reset":
                self.archive.counts.request(self._kind, 0)
                self._cut()
                return
            case "too_many":
                retry = {"Retry-After": f"{self.archive.faults.retry_after:g}"}
                self._send(429, b"slow down", "text/plain", retry)
                return
            case "unavailable":
                self._send(503, b"not now", "text/plain")
                return
            case "slow":
                time.sleep(self.archive.faults.slow_seconds)
        try:
            self._route(path, parts.query, told)
        except Refused as error:
            self._json(400, {"code": "BadRequest", "description": str(error)})

    def _kind_of(self, path: str) -> str:
        if path in self.archive.files:
            return "file"
        if path.startswith(SAS):
            return "sign" if path.startswith(f"{SAS}/sign") else "token"
        for root, service in self.archive.services.items():
            if path == root or path.startswith(f"{root}/"):
                return service.kind(_parts(path, root))
        return "other"

    def _route(self, path: str, query: str, told: bytes) -> None:
        asked = dict(parse_qsl(query))
        if path.startswith(f"{SAS}/"):
            self._sign(_parts(path, SAS), asked)
            return
        for root, service in self.archive.services.items():
            if path == root or path.startswith(f"{root}/"):
                self._catalogue(service, _parts(path, root), asked, told)
                return
        self._file(path, query)

    def _catalogue(self, service: Service, parts: list[str], asked: Mapping[str, str], told: bytes) -> None:
        if self.command == "POST":
            if parts != ["search"]:
                self._json(405, {"code": "MethodNotAllowed", "description": "only searches are posted"})
                return
            try:
                body = json.loads(told or b"{}")
            except ValueError as error:
                raise Refused(f"the body is not JSON: {error}") from error
            self._json(200, service.page(body, f"{service.root}/search", method="POST"), "application/geo+json")
            return
        answer = service.get(parts, asked)
        if answer is None:
            self._json(404, {"code": "NotFoundError", "description": "there is no such thing"})
        else:
            self._json(200, *answer)

    def _sign(self, parts: list[str], asked: Mapping[str, str]) -> None:
        """``token/COLLECTION``, ``token/ACCOUNT/CONTAINER``, ``sign?href=URL``."""
        known = {"/".join(container): "/".join(container) for container in CONTAINERS.values()}
        known |= {name: "/".join(container) for name, container in CONTAINERS.items()}
        if parts[:1] == ["sign"]:
            href = asked.get("href", "")
            container = _container(urlsplit(href).path)
            if container not in known.values():
                raise Refused("href is none of the blob store")
            token, end = self.archive.tokens.give(container)
            self._json(200, {"msft:expiry": end, "href": f"{href}?{token}"})
        elif parts[:1] == ["token"] and "/".join(parts[1:]) in known:
            token, end = self.archive.tokens.give(known["/".join(parts[1:])])
            self._json(200, {"msft:expiry": end, "token": token})
        else:
            self._json(404, {"code": "NotFound", "description": "there is no such collection or container"})

    def _file(self, path: str, query: str) -> None:
        name = self.archive.files.get(path)
        blob = path.startswith(f"{STORE}/")
        if blob:
            match self.archive.tokens.judge(_container(path), query):
                case "unsigned":
                    self._xml(
                        409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account."
                    )
                    return
                case "refused":
                    self._xml(403, "AuthenticationFailed", "Server failed to authenticate the request.")
                    return
        if name is None or matches(self.archive.faults.gone, path):
            missing = ("BlobNotFound", "The specified blob does not exist.")
            self._xml(404, *(missing if blob else ("NoSuchKey", "The specified key does not exist.")))
            return
        file = self.archive.folder / name
        about = file.stat()
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{about.st_mtime_ns:x}"',
            "Last-Modified": formatdate(about.st_mtime, usegmt=True),
        }
        try:
            window = byte_range(self.headers.get("Range"), about.st_size)
        except Unsatisfiable:
            self._send(416, b"", "application/xml", {"Content-Range": f"bytes */{about.st_size}"})
            return
        first, last = window or (0, about.st_size - 1)
        if window:
            headers["Content-Range"] = f"bytes {first}-{last}/{about.st_size}"
        corrupt = matches(self.archive.faults.corrupt, path)
        body = _pieces(file, first, last, min(INTACT, about.st_size // 2) if corrupt else None)
        self._send(206 if window else 200, body, "image/tiff", headers, length=last - first + 1)

    def _tell_counts(self) -> None:
        """Not part of the archive: read the counts, or DELETE them."""
        self._kind = ""
        if self.command == "DELETE":
            self.archive.counts.reset()
        body = json.dumps(self.archive.counts.plain()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, status: int, content: Any, kind: str = "application/json") -> None:
        self._send(status, json.dumps(content).encode(), kind)

    def _xml(self, status: int, code: str, message: str) -> None:
        text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        self._send(status, text.encode(), "application/xml", {"x-ms-error-code": code})

    def _send(
        self,
        status: int,
        body: bytes | Iterator[bytes],
        kind: str,
        headers: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        """Send an answer through the shared bandwidth; half of it where it is to be truncated."""
        total = len(body) if isinstance(body, bytes) else length or 0
        self.archive.counts.request(self._kind, status)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(total))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        truncated = self._trouble == "truncated"
        left = total // 2 if truncated else total
        for piece in [body] if isinstance(body, bytes) else body:
            for begin in range(0, min(len(piece), left), CHUNK):
                part = piece[begin : begin + min(CHUNK, left)]
                self.archive.bandwidth.wait(len(part))
                self.wfile.write(part)
                self.archive.counts.sent(self._kind, len(part))
                left -= len(part)
        if truncated:
            self.close_connection = True

    def _cut(self) -> None:
        """Close the connection so that the other side sees a reset, not an end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())


def _parts(path: str, root: str) -> list[str]:
    return [part for part in path[len(root) :].split("/") if part]


def _container(path: str) -> str:
    """``account/container`` of a path of the blob store."""
    return "/".join(path.removeprefix(f"{STORE}/").split("/")[:2])


def _pieces(file: Path, first: int, last: int, intact: int | None) -> Iterator[bytes]:
    """Bytes of a file; from ``intact`` on they are not what they were."""
    with file.open("rb") as opened:
        opened.seek(first)
        at = first
        while at <= last:
            piece = opened.read(min(CHUNK, last + 1 - at))
            if intact is not None:
                whole = max(0, min(len(piece), intact - at))
                piece = piece[:whole] + bytes(byte ^ 0x5A for byte in piece[whole:])
            yield piece
            at += len(piece)
