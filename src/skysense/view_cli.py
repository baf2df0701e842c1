"""The verb ``skysense view``: parse, call, print."""

from __future__ import annotations

import secrets
import socket
import threading
import warnings
import webbrowser
from contextlib import suppress
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape

from skysense.errors import ConfigError, need
from skysense.terminal import bar, console

_OPENS_AFTER = 0.8  # seconds in which the server has started


def parser() -> ArgumentParser:
    """look at maps in the browser: similarity at a click, few-shot maps, series, swipe"""
    parser = ArgumentParser(
        description="Serve a page on this machine: maps of features and classes, images, series; offline."
    )
    parser.add_argument(
        "products", nargs="*", type=Path, help="maps (.tif, .zarr), GeoTIFF images, folders of GeoTIFFs of a series"
    )
    parser.add_argument("--image", nargs="+", type=Path, default=[], help="images below the maps, or a series of them")
    parser.add_argument("--port", type=int, default=8756, help="of the page")
    parser.add_argument("--host", type=str, default="127.0.0.1", help="another address needs a token")
    parser.add_argument("--token", type=str, default=None, help="what every visitor must bring; auto makes one")
    parser.add_argument("--no_browser", type=bool, default=False, help="do not open a browser")
    parser.add_argument("--save_html", type=Path, default=None, help="write a page that needs no server, and end")
    return parser


def run(options: Namespace) -> int:
    """Serve the page until it is interrupted, or write it as a file."""
    for module in ("fastapi", "uvicorn", "rio_tiler"):
        need(module, "viewer")
    from skysense.viewer.shown import open_all

    if options.save_html is not None:
        from skysense.viewer.saved import save_html

        with bar("drawing", late=True) as progress:
            save_html(open_all(options.products, options.image), options.save_html, progress=progress)
        console.print(f"open {escape(str(options.save_html))}", soft_wrap=True)
        return 0
    import uvicorn
    from rasterio.errors import NotGeoreferencedWarning

    from skysense.viewer.server import create_app

    token = _token(options.host, options.token)
    app = create_app(open_all(options.products, options.image), host=options.host, token=token)
    listening = listen(options.host, options.port)
    name = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{name}:{listening.getsockname()[1]}/" + (f"?token={token}" if token else "")
    console.print(f"open {escape(address)} (Ctrl+C ends it)", soft_wrap=True)
    if not options.no_browser:
        threading.Timer(_OPENS_AFTER, webbrowser.open, [address]).start()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # pictures of tiles have no place on Earth
    with suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False)).run([listening])
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket of our own, so that a port in use is told in words and port 0 takes any that is free.

    Raises:
        ConfigError: there is no such address on this machine, or the port is taken.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host} port {port} ({error}): choose another one with --port") from error


def _token(host: str, wanted: str | None) -> str | None:
    from skysense.viewer.guard import LOCAL

    token = secrets.token_urlsafe(24) if wanted == "auto" else wanted
    if host not in LOCAL and not token:
        raise ConfigError(f"on {host} everybody who reaches this machine could look: add --token auto")
    if token is not None and len(token) < 16:
        raise ConfigError("a token of fewer than 16 characters can be guessed: use --token auto")
    return token
