"""Who may ask the server, how much, and what a browser may do with the answers.

The server answers on this machine only, unless a token is asked for. Web pages that are open in the same browser reach
this machine too: a name of theirs may point here (DNS rebinding), so the name in the request is looked at, and what
they embed of ours is refused. Nothing that a request says becomes part of a path on the disk.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, RedirectResponse, Response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOCAL = ("127.0.0.1", "localhost", "::1")
ANYWHERE = ("0.0.0.0", "::")
LONGEST_BODY = 1 << 20
"""Bytes of a request; five thousand labelled points are a third of that."""
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; worker-src blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),  # MapLibre starts its worker from a blob, and its style sheet has pictures in it
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Stands before the application.

    Args:
        app: the application.
        host: the address it is bound to.
        token: what every request must bring, as a cookie or as ``?token=``; None on this machine only.
    """

    def __init__(self, app: App, host: str, token: str | None) -> None:
        self._app, self._token = app, token
        self._hosts = None if host in ANYWHERE else {*LOCAL, host}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, refuse, or hand on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close"})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refuse(scope, headers)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refuse(self, scope: Message, headers: dict[str, str]) -> Response | None:
        name, _, port = _split(headers.get("host", ""))
        if self._hosts is not None and name not in self._hosts:
            return _no(403, f"this server is not {name or 'without a name'}: open it by the address it printed")
        if headers.get("sec-fetch-site") == "cross-site" and scope["path"] != "/":
            return _no(403, "another web page asked for this; open the page of the viewer itself")
        if scope["method"] not in ("GET", "HEAD") and not _short(headers.get("content-length")):
            return _no(413, f"the request is longer than {LONGEST_BODY} bytes, or does not say how long it is")
        if self._token is None:
            return None
        cookie = f"skysense_{port}"
        if _same(_cookies(headers.get("cookie", "")).get(cookie, ""), self._token):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not _same(given, self._token):
            return _no(401, "a token is needed: open the address that was printed, with ?token=... at its end")
        if scope["path"] != "/":
            return None
        answer = RedirectResponse("/", 303)  # the token shall not stay in the address bar
        # lax: a link on another page, a chat or a wiki, may lead here; what such a page posts comes without it
        answer.set_cookie(cookie, self._token, httponly=True, samesite="lax")
        return answer


def _no(status: int, words: str) -> Response:
    return JSONResponse({"error": words}, status)


def _split(host: str) -> tuple[str, str, str]:
    """Name, colon and port; brackets of IPv6 addresses are left out."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, ":", rest.removeprefix(":")
    name, colon, port = host.partition(":")
    return name.lower(), colon, port


def _short(length: str | None) -> bool:
    return length is not None and length.isdecimal() and int(length) <= LONGEST_BODY


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _cookies(text: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(text).items()}
    except CookieError:
        return {}
