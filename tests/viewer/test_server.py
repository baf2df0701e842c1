"""What the page is answered, beside the truth of the farm; what is malformed gets no further than a plain word."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import rasterio
from starlette.testclient import TestClient

from skysense.maps.similarity import cosine
from skysense.viewer import download
from skysense.viewer.ground import LIMIT
from skysense.viewer.server import POINTS, create_app
from skysense.viewer.shown import open_all
from tests.viewer.farm import (
    COLOURS,
    DAYS,
    FIELD,
    GRID,
    HEIGHT,
    NAMES,
    UNSEEN,
    WIDTH,
    features,
    kinds,
    lonlat,
    pixels_of,
)
from tests.viewer.test_blocks import view_of

MAP, SERIES = 1, 0  # images come first


@pytest.fixture(scope="module")
def client(farm, series) -> TestClient:
    return TestClient(create_app(open_all([farm], [series])), base_url="http://127.0.0.1:8756")


def place(row: float, col: float) -> dict[str, float]:
    lon, lat = lonlat(row, col)
    return {"lon": lon, "lat": lat}


def screen(row: float, col: float, metres: float = 10.0, side: int = 64) -> dict[str, float]:
    view = view_of(row, col, metres, side)
    return {name: getattr(view, name) for name in ("left", "bottom", "right", "top", "width", "height")}


def tile_at(row: float, col: float, zoom: int) -> str:
    lon, lat = lonlat(row, col)
    x = (lon + 180) / 360 * 2**zoom
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**zoom
    return f"{zoom}/{int(x)}/{int(y)}"


def test_the_page_is_whole_and_asks_nobody_else(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text and "https://" not in page.text
    for address in ("/maplibre/maplibre-gl.js", "/maplibre/maplibre-gl.css", "/page/page.css", "/page/main.js"):
        assert address in page.text and client.get(address).status_code == 200
    assert client.get("/page/main.js").headers["content-type"].startswith("text/javascript")


def test_what_there_is_is_told_in_plain_values(client):
    about = client.get("/api/about").json()
    series, product = about["items"]
    assert series["layers"] == [
        {"id": "image", "kind": "series", "frames": list(DAYS), "zoom": pytest.approx(13, abs=1)}
    ]
    assert [layer["id"] for layer in product["layers"]] == ["features", "classes", "probability", "uncertainty"]
    assert product["layers"][1]["legend"] == [
        {"name": name, "colour": colour} for name, colour in zip(NAMES, COLOURS, strict=True)
    ]
    assert product["layers"][2]["limits"] == [0, 1] and product["crs"] == "EPSG:32632"
    west, south, east, north = about["bounds"]
    lon, lat = lonlat(HEIGHT / 2, WIDTH / 2)
    assert west < lon < east and south < lat < north


@pytest.mark.parametrize("layer", ["features", "classes", "probability", "uncertainty"])
def test_tiles_show_the_map_and_nothing_beside_it(client, layer):
    there = client.get(f"/tiles/{MAP}/{layer}/{tile_at(300, 250, 14)}.png")
    assert there.status_code == 200 and there.headers["content-type"] == "image/png"
    assert "immutable" in there.headers["cache-control"]
    picture = pixels_of(there.content)
    assert picture.shape == (4, 256, 256) and (picture[3] == 255).all()
    away = client.get(f"/tiles/{MAP}/{layer}/{tile_at(-4000, -4000, 14)}.png")
    assert not pixels_of(away.content)[3].any()


def test_values_under_the_pointer(client):
    row, col = 2 * FIELD + 10, FIELD + 10
    kind = int(kinds()[row, col])
    series, product = client.get("/api/at", params={**place(row + 0.5, col + 0.5), "frame": 1}).json()["items"]
    assert (product["x"], product["y"]) == pytest.approx(GRID.at(col + 0.5, row + 0.5), abs=0.01)
    assert product["values"]["classes"] == kind and "features" not in product["values"]
    expected = [0.1 + 0.6 * (at == kind) for at in range(4)]
    assert product["values"]["probability"] == pytest.approx(expected, abs=0.004)
    assert series["values"]["image"] == [100 + 10 * kind] * 3
    assert client.get("/api/at", params={"lon": -100, "lat": 10}).json()["items"][1]["values"] == {}
    assert client.get("/api/at", params=place(5, 5)).json()["items"][1]["values"] == {}  # no data


def test_similarity_is_the_cosine_with_the_clicked_cell(client):
    answer = client.get(f"/api/similar/{MAP}", params={**place(280.5, 230.5), **screen(300, 250)})
    numbers = np.frombuffer(answer.content, "<u2").reshape(64, 64)
    query = features()[:, 280, 230]
    for (row, col), cell in {(10, 10): (280, 230), (10, 53): (280, 270), (53, 10): (320, 230)}.items():
        exact = cosine(query, features()[:, cell[0], cell[1]][:, None, None])[0, 0]
        assert (numbers[row, col] - 1) / 65534 * 2 - 1 == pytest.approx(exact, abs=0.06)  # int8, and a cell beside it
    assert numbers[:20, :20].min() > numbers[:20, 44:].max()  # its own field is brighter than the next
    at_home = client.get(f"/api/similar/{MAP}", params={**place(280.5, 230.5), **screen(280.5, 230.5, 1, 1)})
    assert np.frombuffer(at_home.content, "<u2")[0] >= 65534
    unseen = client.get(f"/api/similar/{MAP}", params={**place(280.5, 230.5), **screen(20, 20, 1)})
    assert not np.frombuffer(unseen.content, "<u2").any()


def test_similarity_to_nothing_is_told(client):
    for nowhere in (place(5, 5), place(-50, 10), {"lon": -60, "lat": -60}):
        answer = client.get(f"/api/similar/{MAP}", params={**nowhere, **screen(300, 250)})
        assert (answer.status_code, answer.json()) == (400, {"error": "there is no data at this place"})


def lesson(*cells: tuple[int, int]) -> dict:
    """Labelled with their kinds in the order in which these appear."""
    seen = list(dict.fromkeys(int(kinds()[cell]) for cell in cells))
    points = [{**place(row + 0.5, col + 0.5), "label": seen.index(int(kinds()[row, col]))} for row, col in cells]
    return {"item": MAP, "points": points}


CELLS = [(280, 230), (280, 270), (320, 230), (320, 270), (285, 235), (285, 275)]


def test_a_few_points_teach_the_map(client):
    taught = client.post("/api/fewshot", json=lesson(*CELLS, (5, 5))).json() | {}
    assert taught["kept"] == [True] * 6 + [False]
    answer = client.get(f"/api/fewshot/{taught['id']}", params=screen(300, 250))
    label, sure, novel = np.frombuffer(answer.content, np.uint8).reshape(3, 64, 64)
    order = list(dict.fromkeys(int(kinds()[cell]) for cell in CELLS))
    for (row, col), cell in {
        (5, 5): (275, 225),
        (5, 60): (275, 275),
        (60, 5): (325, 225),
        (60, 60): (325, 275),
    }.items():
        assert label[row, col] == 1 + order.index(int(kinds()[cell]))
    assert sure.min() >= 255 // 4 and novel.max() < 255
    unseen = client.get(f"/api/fewshot/{taught['id']}", params=screen(20, 20, 1))
    assert not np.frombuffer(unseen.content, np.uint8).any()


def test_two_visitors_do_not_disturb_each_other_and_the_same_points_are_the_same_map(client):
    one = client.post("/api/fewshot", json=lesson(*CELLS[:2])).json()
    other = client.post("/api/fewshot", json=lesson(*CELLS[2:4])).json()
    again = client.post("/api/fewshot", json=lesson(*CELLS[:2])).json()
    assert one["id"] == again["id"] != other["id"]


def test_points_of_a_class_without_data_leave_the_others_their_numbers(client):
    given = lesson(*CELLS[:4])
    shifted = {"item": MAP, "points": [{**point, "label": point["label"] * 2} for point in given["points"]]}
    taught = client.post("/api/fewshot", json=shifted).json()
    answer = client.get(f"/api/fewshot/{taught['id']}", params=screen(300, 250))
    assert set(np.unique(np.frombuffer(answer.content, np.uint8)[: 64 * 64])) == {1, 3, 5, 7}


def test_lessons_that_teach_nothing_are_told(client):
    for points in ([], lesson(CELLS[0], CELLS[4])["points"]):
        refused = client.post("/api/fewshot", json={"item": MAP, "points": points})
        assert refused.status_code == 400 and "at least two classes" in refused.json()["error"]


def test_a_forgotten_classifier_is_asked_for_again(client):
    for path in ("/api/fewshot/" + "0" * 32,):
        gone = client.get(path, params=screen(300, 250))
        assert gone.status_code == 404 and "send its points again" in gone.json()["error"]


def test_similarity_as_a_file_is_exact_and_in_its_place(client):
    row, col = 300, 250
    west, north = lonlat(row - 3.5, col - 5.5)
    east, south = lonlat(row + 3.5, col + 5.5)
    asked = {**place(280.5, 230.5), "box": f"{west},{south},{east},{north}"}
    answer = client.get(f"/api/download/similar/{MAP}", params=asked)
    assert 'filename="farm_similarity.tif"' in answer.headers["content-disposition"]
    with rasterio.open(io.BytesIO(answer.content)) as dataset:
        assert dataset.crs == GRID.crs and dataset.res == (10, 10)
        left, top = ~GRID.transform @ (dataset.bounds.left, dataset.bounds.top)
        assert left == int(left) and top == int(top) and left <= col - 5 and top <= row - 3
        values = dataset.read(1)
        there = features()[:, int(top) : int(top) + dataset.height, int(left) : int(left) + dataset.width]
        exact = cosine(features()[:, 280, 230], there)
        assert values == pytest.approx(exact, abs=0.02)
        assert dataset.tags()["SIMILAR_TO"].startswith("lon ")


def test_classes_as_a_file_have_names_and_colours(client):
    taught = client.post("/api/fewshot", json=lesson(*CELLS)).json()
    legend = {"names": ["a", "<b>", "c", "d"], "colours": list(COLOURS)}
    answer = client.post(f"/api/download/fewshot/{taught['id']}", json=legend)
    order = list(dict.fromkeys(int(kinds()[cell]) for cell in CELLS))
    with rasterio.open(io.BytesIO(answer.content)) as dataset:
        assert (dataset.height, dataset.width, dataset.nodata) == (HEIGHT, WIDTH, 255)
        assert dataset.transform == GRID.transform and dataset.tags()["CLASS_1"] == "<b>"
        assert dataset.colormap(1)[0][:3] == (0x25, 0x63, 0xEB)
        values = dataset.read(1)
    assert (values[:UNSEEN, :UNSEEN] == 255).all()
    truth = np.vectorize(order.index)(kinds())
    seen = values != 255
    assert (values[seen] == truth[seen]).mean() > 0.99
    doubt = client.post(f"/api/download/fewshot/{taught['id']}", params={"uncertainty": True}, json=legend)
    with rasterio.open(io.BytesIO(doubt.content)) as dataset:
        assert dataset.count == 2 and np.isnan(dataset.read()[:, 0, 0]).all()
        assert np.nanmin(dataset.read()) >= 0 and np.nanmax(dataset.read()) <= 1


def test_downloads_are_bounded_and_leave_nothing_behind(client, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert client.get(f"/api/download/similar/{MAP}", params=place(280.5, 230.5)).status_code == 200
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(download, "MOST", 1000)
    refused = client.get(f"/api/download/similar/{MAP}", params=place(280.5, 230.5))
    assert refused.status_code == 400 and "640 x 500 cells are more than a download may have" in refused.json()["error"]
    away = client.get(f"/api/download/similar/{MAP}", params={**place(280.5, 230.5), "box": "1,1,2,2"})
    assert away.status_code == 400 and "nothing of the map is visible" in away.json()["error"]


VIEW = "left=0&bottom=0&right=10&top=10&width=8&height=8"


@pytest.mark.parametrize(
    "path",
    [
        f"/tiles/{MAP}/classes/14/-1/0.png", f"/tiles/{MAP}/classes/2/4/0.png", f"/tiles/{MAP}/classes/25/0/0.png",
        f"/tiles/{MAP}/classes/x/0/0.png", f"/tiles/{MAP}/nothing/2/0/0.png",
        f"/tiles/{MAP}/classes/2/0/0.png?band=1",
        f"/tiles/{SERIES}/image/2/0/0.png?band=-1", f"/tiles/{SERIES}/image/2/0/0.png?band=3",
        "/tiles/9/image/2/0/0.png",
        "/tiles/-1/image/2/0/0.png", f"/tiles/{MAP}/classes/{'9' * 400}/0/0.png",
        f"/tiles/{MAP}/..%2f..%2fetc/2/0/0.png",
        "/page/../server.py", "/page/..%2fserver.py", "/page/%2e%2e/server.py", "/page//etc/passwd",
        "/maplibre/../map.py",
        "/api/at?lon=nan&lat=0", "/api/at?lon=181&lat=0", "/api/at?lon=0", "/api/at?lon=inf&lat=1e999",
        f"/api/similar/{SERIES}?lon=0&lat=0&{VIEW}", f"/api/similar/9?lon=0&lat=0&{VIEW}",
        f"/api/similar/{MAP}?lon=0&lat=0&left=10&bottom=0&right=0&top=10&width=8&height=8",
        f"/api/similar/{MAP}?lon=0&lat=0&left=0&bottom=0&right=10&top=10&width=100000&height=8",
        f"/api/similar/{MAP}?lon=0&lat=0&left=-{LIMIT * 9}&bottom=0&right=10&top=10&width=8&height=8",
        f"/api/fewshot/..%2f..?{VIEW}", f"/api/fewshot/ABC?{VIEW}",
        f"/api/download/similar/{MAP}?lon=0&lat=0&box=1,2,3",
        f"/api/download/similar/{MAP}?lon=0&lat=0&box=3,0,1,1",
        f"/api/download/similar/{MAP}?lon=0&lat=0&box=nan,0,1,1",
        "/openapi.json", "/docs", "/nothing",
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_in_a_plain_word(client, path):
    refused = client.get(path)
    assert 400 <= refused.status_code < 500, refused.text
    assert set(refused.json()) == {"error"} and "Traceback" not in refused.text and "/src/" not in refused.text


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"item": 1}', b'{"item": 1, "points": [{"lon": 0, "lat": 0, "label": -1}]}',
        b'{"item": 1, "points": [{"lon": 1e9, "lat": 0, "label": 0}]}', b'{"item": 0, "points": []}',
        b'{"item": 1, "points": [], "more": 1}', b'{"item": 1, "points": [{"lon": 0, "lat": 0, "label": 64}]}',
        b'{"item": 1, "points": [%s]}' % b",".join([b'{"lon": 0, "lat": 0, "label": 0}'] * (POINTS + 1)),
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_malformed_lessons_are_refused(client, body):
    refused = client.post("/api/fewshot", content=body, headers={"content-type": "application/json"})
    assert 400 <= refused.status_code < 500 and set(refused.json()) == {"error"}


def test_what_breaks_inside_is_told_in_the_terminal_only(client, monkeypatch, caplog):
    monkeypatch.setattr("skysense.viewer.server.values_at", lambda *_: 1 / 0)
    quiet = TestClient(client.app, base_url="http://127.0.0.1:8756", raise_server_exceptions=False)
    broken = quiet.get("/api/at", params={"lon": 0, "lat": 0})
    assert (broken.status_code, broken.json()) == (500, {"error": "the server could not answer; its terminal says why"})
    assert "could not be answered" in caplog.text
