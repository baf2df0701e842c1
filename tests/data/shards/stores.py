"""Object stores on this machine: as much of the protocols of Amazon S3 and of Google as a corpus needs."""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from skysense.data.shards import store as kvstores


class ObjectStore:
    """Objects by bucket and key, and what was asked for.

    Attributes:
        objects: their content.
        requests: method, key and range of every request, in order.
        broken: status that answers every request, 0 for none.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.broken = 0
        self.url = ""

    def read(self) -> int:
        """Bytes that reads have answered with so far."""
        total = 0
        for method, key, part in self.requests:
            if method == "GET" and key in self.objects:
                total += len(_part(self.objects[key], part)[1])
        return total


def _part(content: bytes, wanted: str) -> tuple[int, bytes, str]:
    """Status, bytes and Content-Range of what a Range header asks for."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if not found:
        return 200, content, ""
    first, last = found.groups()
    if not first:
        start, stop = max(len(content) - int(last), 0), len(content)
    else:
        start, stop = int(first), min(int(last) + 1 if last else len(content), len(content))
    if start >= len(content):
        return 416, b"", f"bytes */{len(content)}"
    return 206, content[start:stop], f"bytes {start}-{stop - 1}/{len(content)}"


def _generation(content: bytes) -> str:
    return str(zlib.crc32(content) + 1)


class _Handler(BaseHTTPRequestHandler):
    """Paths are ``/BUCKET/KEY`` in S3, and those of Google's JSON API otherwise."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    store: ObjectStore

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if found := re.fullmatch(r"/storage/v1/b/([^/]+)/o/(.+)", url.path):
            key = f"{found[1]}/{unquote(found[2])}"
        elif found := re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", url.path):
            key = f"{found[1]}/{query['name']}"
        else:
            key = unquote(url.path).strip("/")
        self.store.requests.append((self.command, key, self.headers.get("Range") or ""))
        if self.store.broken:
            self._answer(self.store.broken)
        elif self.command in ("PUT", "POST"):
            self.store.objects[key] = body
            about = {"generation": _generation(body), "name": key, "size": str(len(body))}
            answer = json.dumps(about).encode() if self.command == "POST" else b""
            self._answer(200, answer, ETag=f'"{_generation(body)}"')
        elif key in self.store.objects:
            content = self.store.objects[key]
            generation = _generation(content)
            known = {self.headers.get("If-None-Match", "").strip('"'), query.get("ifGenerationNotMatch")}
            status, part, where = _part(content, self.headers.get("Range") or "")
            if generation in known:
                status, part = 304, b""
            headers = {"Content_Range": where} if where else {}
            self._answer(status, part, ETag=f'"{generation}"', x_goog_generation=generation, **headers)
        else:
            self._answer(200 if "/" not in key else 404)

    do_GET = do_PUT = do_HEAD = do_POST = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve() -> Iterator[ObjectStore]:
    """A store at ``url`` while the block lasts."""
    store = ObjectStore()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def quick_tries() -> Iterator[None]:
    """A store that does not answer is asked three times within a moment while the block lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kvstores, "_RETRIES", {"max_retries": 2, "initial_delay": "10ms", "max_delay": "20ms"})
        kvstores.context.cache_clear()
        yield
    kvstores.context.cache_clear()
