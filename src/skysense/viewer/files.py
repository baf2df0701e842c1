"""The files the browser gets: the page itself, and MapLibre GL JS from where its package is installed."""

from __future__ import annotations

import importlib.util
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from skysense.errors import MissingExtra

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MAPLIBRE = ("maplibre-gl.js", "maplibre-gl.css")


def page() -> dict[str, tuple[Traversable, str]]:
    """File and media type by address; nothing else is ever served from the disk.

    Raises:
        MissingExtra: MapLibre is not installed.
    """
    found: dict[str, tuple[Traversable, str]] = {}
    for file in files("skysense.viewer").joinpath("page").iterdir():
        kind = _KINDS.get(Path(file.name).suffix)
        if kind is not None:
            found["/" if file.name == "index.html" else f"/page/{file.name}"] = (file, kind)
    for name in _MAPLIBRE:
        found[f"/maplibre/{name}"] = (_maplibre() / name, _KINDS[Path(name).suffix])
    return found


def _maplibre() -> Path:
    """Where the package keeps the library; the package is not imported, which takes a second and prints warnings."""
    spec = importlib.util.find_spec("maplibre")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    folder = Path(folders[0]) / "srcjs" if folders else None
    if folder is None or not all((folder / name).is_file() for name in _MAPLIBRE):
        raise MissingExtra("the page needs MapLibre GL JS: pip install 'skysense[viewer]'")
    return folder
