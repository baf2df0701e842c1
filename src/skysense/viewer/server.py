"""What the page may ask: tiles, views, values, classifiers, downloads. Every answer depends on the request alone.

Errors are JSON: ``{"error": "what was wrong"}``.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from importlib.resources.abc import Traversable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException as StarletteError

from skysense.errors import InputError, SkySenseError
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product
from skysense.viewer import download, files
from skysense.viewer.answers import (
    Fits,
    Point,
    Taught,
    similarity_at,
    similarity_picture,
    taught_picture,
    teach,
)
from skysense.viewer.blocks import Blocks
from skysense.viewer.ground import LIMIT, View
from skysense.viewer.guard import App, Guard
from skysense.viewer.imagery import Imagery
from skysense.viewer.pictures import Painter, png
from skysense.viewer.shown import Shown, describe
from skysense.viewer.values import values_at

DEEPEST = 24
"""Largest zoom of a tile: pixels of 9 mm at the equator."""
LARGEST = 2048
"""Largest side of a view, pixels."""
POINTS, CLASSES = 5000, 64
"""Largest numbers of labelled points and of classes."""

Lon = Annotated[float, Query(ge=-180, le=180)]
Lat = Annotated[float, Query(ge=-90, le=90)]
Metres = Annotated[float, Query(ge=-2 * LIMIT, le=2 * LIMIT)]
Side = Annotated[int, Query(ge=1, le=LARGEST)]
FitName = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
_KEPT = {"cache-control": "private, max-age=86400, immutable"}
_log = logging.getLogger(__name__)


def _view(left: Metres, bottom: Metres, right: Metres, top: Metres, width: Side, height: Side) -> View:
    if not (left < right and bottom < top):
        raise HTTPException(422, "left must be less than right, and bottom less than top")
    return View(left, bottom, right, top, height, width)


OnScreen = Annotated[View, Depends(_view)]


class LabelledPoint(BaseModel):
    """A point as the page sends it."""

    lon: float = Field(ge=-180, le=180)
    lat: float = Field(ge=-90, le=90)
    label: int = Field(ge=0, lt=CLASSES)


class Lesson(BaseModel):
    """Labelled points of one map."""

    model_config = ConfigDict(extra="forbid")
    item: int
    points: list[LabelledPoint] = Field(max_length=POINTS)


class Legend(BaseModel):
    """Names and colours of classes, for a download."""

    model_config = ConfigDict(extra="forbid")
    names: list[Annotated[str, Field(max_length=200)]] = Field(max_length=CLASSES)
    colours: list[Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]] = Field(max_length=CLASSES)


def create_app(shown: Sequence[Shown], *, host: str = "127.0.0.1", token: str | None = None) -> App:
    """The whole server as an ASGI application.

    Args:
        shown: what the page shows.
        host: the address it will be bound to.
        token: what every request must bring; None on this machine only.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    blocks = Blocks()
    painter = Painter(blocks)
    _errors(app)
    _page(app, shown, painter)
    _tiles(app, shown, painter)
    _answers(app, shown, blocks)
    return Guard(app, host, token)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(StarletteError)
    def refused(request: Request, error: StarletteError) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{where}: {first['msg'].lower()}"}, 422)

    @app.exception_handler(SkySenseError)
    def impossible(request: Request, error: SkySenseError) -> Response:
        words = str(error)
        if isinstance(error, InputError):  # without the path: it is the server's own business
            words = f"{error.what}. {error.fix}" if error.fix else error.what
        return JSONResponse({"error": words}, 400)

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        _log.error("%s could not be answered", request.url.path, exc_info=error)
        return JSONResponse({"error": "the server could not answer; its terminal says why"}, 500)


def _page(app: FastAPI, shown: Sequence[Shown], painter: Painter) -> None:
    run = secrets.token_hex(4)  # part of the addresses of tiles: browsers must not show those of another run

    for address, (file, kind) in files.page().items():
        app.get(address)(_part(file, kind))

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        return {**describe(shown, painter), "run": run, "most_points": POINTS, "most_classes": CLASSES}

    @app.get("/api/at")
    def at(lon: Lon, lat: Lat, frame: int = 0) -> dict[str, Any]:
        return {"items": [values_at(one, lon, lat, frame) for one in shown]}


def _part(file: Traversable, kind: str) -> Callable[[], Response]:
    def part() -> Response:
        return Response(file.read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})

    return part


def _tiles(app: FastAPI, shown: Sequence[Shown], painter: Painter) -> None:
    @app.get("/tiles/{item}/{layer}/{zoom}/{column}/{row}.png")
    def tile(
        item: int, layer: str, zoom: Annotated[int, Path(ge=0, le=DEEPEST)], column: int, row: int, band: int = 0
    ) -> Response:
        if not (0 <= column < 2**zoom and 0 <= row < 2**zoom):
            raise HTTPException(404, f"there is no tile {column}, {row} at zoom {zoom}")
        one, view = _find(shown, item), View.tile(zoom, column, row)
        if isinstance(one.raster, Imagery):
            if layer != "image" or not 0 <= band < len(one.raster.frames):
                raise HTTPException(404, f"{one.name} has no such layer")
            return Response(png(painter.image(one.raster, band, view)), media_type="image/png", headers=_KEPT)
        about = one.layer(layer)
        if about is None or not 0 <= band < len(about.bands):
            raise HTTPException(404, f"{one.name} has no such layer")
        if about.kind == "features":
            picture = painter.features(one.raster, about, view)
        elif about.kind == "classes":
            picture = painter.classes(one.raster, about, view)
        else:
            picture = painter.numbers(one.raster, about, band, view)
        return Response(png(picture), media_type="image/png", headers=_KEPT)


def _answers(app: FastAPI, shown: Sequence[Shown], blocks: Blocks) -> None:
    fits, downloads = Fits(), threading.Semaphore(2)

    @app.get("/api/similar/{item}")
    def similar(item: int, lon: Lon, lat: Lat, view: OnScreen) -> Response:
        product, layer = _featured(shown, item)
        return _bytes(similarity_picture(blocks, product, similarity_at(blocks, product, layer, lon, lat), view))

    @app.post("/api/fewshot")
    def learn(lesson: Lesson) -> dict[str, Any]:
        product, layer = _featured(shown, lesson.item)
        points = [Point(point.lon, point.lat, point.label) for point in lesson.points]
        name = Fits.name(lesson.item, points)
        taught = fits.find(name) or teach(blocks, product, layer, lesson.item, points)
        fits.keep(name, taught)
        return {"id": name, "kept": list(taught.kept_N), "right": taught.right}

    @app.get("/api/fewshot/{name}")
    def learnt(name: FitName, view: OnScreen) -> Response:
        taught = _taught(fits, name)
        product, _ = _featured(shown, taught.item)
        return _bytes(taught_picture(blocks, product, taught, view))

    @app.get("/api/download/similar/{item}")
    def download_similar(item: int, lon: Lon, lat: Lat, box: str | None = None) -> Response:
        product, layer = _featured(shown, item)
        drawn = download.similarity(similarity_at(blocks, product, layer, lon, lat), lon, lat)
        with downloads:
            return _file(product, layer, box, drawn, "similarity.tif")

    @app.post("/api/download/fewshot/{name}")
    def download_learnt(name: FitName, legend: Legend, box: str | None = None, uncertainty: bool = False) -> Response:
        taught = _taught(fits, name)
        product, layer = _featured(shown, taught.item)
        drawn = download.uncertainty(taught) if uncertainty else download.classes(taught, legend.names, legend.colours)
        with downloads:
            return _file(product, layer, box, drawn, "uncertainty.tif" if uncertainty else "classes.tif")


def _find(shown: Sequence[Shown], item: int) -> Shown:
    if not 0 <= item < len(shown):
        raise HTTPException(404, f"there is no map {item} on this page")
    return shown[item]


def _featured(shown: Sequence[Shown], item: int) -> tuple[Product, Layer]:
    one = _find(shown, item)
    if one.features is None or isinstance(one.raster, Imagery):
        raise HTTPException(404, f"{one.name} has no features")
    return one.raster, one.features


def _taught(fits: Fits, name: str) -> Taught:
    taught = fits.find(name)
    if taught is None:
        raise HTTPException(404, "this classifier is no longer known: send its points again")
    return taught


def _bytes(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream", headers={"cache-control": "no-store"})


def _file(product: Product, layer: Layer, box: str | None, drawn: download.Drawn, name: str) -> Response:
    window = download.window_of(product.pixels(layer.name), _box(box))
    path = download.write(product, layer, window, drawn)
    return FileResponse(
        path, media_type="image/tiff", filename=f"{product.path.stem}_{name}", background=BackgroundTask(path.unlink)
    )


def _box(text: str | None) -> download.Box | None:
    """West, south, east, north in degrees."""
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise HTTPException(422, "box is west,south,east,north in degrees") from None
    if not (-540 <= west < east <= 540 and -90 <= south < north <= 90):  # of a view, which may cross the antimeridian
        raise HTTPException(422, "box is west,south,east,north in degrees, each within its range and in this order")
    return west, south, east, north
