"""A viewer on a port of its own, and a real browser in front of it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from skysense.view_cli import listen
from skysense.viewer.server import create_app
from skysense.viewer.shown import open_all
from tests.viewer.farm import pixels_of

_GIVEN_UP = "net::ERR_ABORTED"  # by the page itself: the pointer or the map has moved on
SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@contextmanager
def serving(products: Sequence[Path], images: Sequence[Path] = (), token: str | None = None) -> Iterator[str]:
    """The address of a viewer in a thread of this process."""
    listening = listen("127.0.0.1", 0)
    app = create_app(open_all(products, images), token=token)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, or a reason to skip."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--headless=new", *SOFTWARE_GL])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, address: str, side: int = 1024, **context: Any) -> Iterator[Any]:
    """A page that has started; everything its console said is an error of the test."""
    page = browser.new_context(viewport={"width": side, "height": side}, accept_downloads=True, **context).new_page()
    said: list[str] = []
    strangers, own = list[str](), (address, "blob:", "data:")
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("requestfailed", lambda one: said.append(f"failed: {one.url}") if one.failure != _GIVEN_UP else None)
    page.on("request", lambda asked: None if asked.url.startswith(own) else strangers.append(asked.url))
    page.goto(address)
    page.wait_for_selector("body.ready", timeout=60_000)
    until(page, "skysense.map.areTilesLoaded()")
    yield page
    assert said == []
    assert strangers == []
    page.context.close()


def until(page: Any, expression: str, argument: Any = None, seconds: float = 20) -> None:
    """Wait for an expression of the page to become true; playwright's own waiting is what the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression, argument):
        assert time.monotonic() < end, f"never became true: {expression}"
        page.wait_for_timeout(30)


def place(page: Any, lon: float, lat: float) -> tuple[float, float]:
    """Where a position lies on the screen, by that of its longitudes that is nearest to the middle."""
    at = page.evaluate(
        """([lon, lat]) => skysense.map.project(
        [lon + 360 * Math.round((skysense.map.getCenter().lng - lon) / 360), lat])""",
        [lon, lat],
    )
    return at["x"], at["y"]


def click(page: Any, lon: float, lat: float, answer: str | None) -> None:
    """Click a position, and wait until the answer is drawn."""
    if answer is None:
        page.mouse.click(*place(page, lon, lat))
        return
    page.evaluate(
        """name => { window.drawn = new Promise((done) => skysense.map.getContainer().addEventListener("answered",
        (event) => event.detail === name && skysense.map.once("idle", done), { once: true })); }""",
        answer,
    )
    page.mouse.click(*place(page, lon, lat))
    page.evaluate("window.drawn.then(() => true)")


def colour(page: Any, lon: float, lat: float) -> tuple[int, int, int]:
    """What the screen shows at a position, red, green and blue."""
    x, y = place(page, lon, lat)
    shot = page.screenshot(clip={"x": int(x), "y": int(y), "width": 1, "height": 1})
    red, green, blue = pixels_of(shot)[:3, 0, 0].tolist()
    return red, green, blue
