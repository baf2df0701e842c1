"""The page in a real browser where the Earth and the web have their seams: the antimeridian, links on other sites."""

from __future__ import annotations

import http.server
import json
import re
import threading

import pytest
import rasterio
from affine import Affine

from skysense.maps.grid import Grid
from skysense.viewer.saved import save_html
from skysense.viewer.shown import open_all
from tests.viewer.browser import chromium, click, colour, opened, place, serving, until
from tests.viewer.farm import HEIGHT, WIDTH, kinds, lonlat, write_image, write_map

pytestmark = pytest.mark.long

FIJI = Grid(rasterio.CRS.from_epsg(32760), Affine(10, 0, 817_300, 0, -10, 8_200_000), HEIGHT, WIDTH)
WEST, EAST = (285, 235), (285, 435)  # of the antimeridian, in the same kind of field
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


def test_a_map_across_the_antimeridian_is_whole_and_answers_on_both_sides(browser, tmp_path):
    west, east = (lonlat(row + 0.5, col + 0.5, FIJI) for row, col in (WEST, EAST))
    assert west[0] > 179.9 and east[0] < -179.9 and kinds()[WEST] == kinds()[EAST]
    image = write_image(tmp_path / "image.tif", (60 + 40 * kinds()[None].repeat(3, 0)).astype("uint8"), FIJI)
    with serving([write_map(tmp_path / "fiji.tif", grid=FIJI)], [image]) as address, opened(browser, address) as page:
        assert page.evaluate("skysense.map.getZoom()") > 11  # the map fills the screen
        for box in page.locator("#layers .card").all():
            if (box.get_attribute("data-key") == "1/classes") != box.locator("input[type=checkbox]").is_checked():
                box.locator("label.switch").click()
        page.wait_for_timeout(300)
        until(page, "skysense.map.areTilesLoaded()")
        assert colour(page, *west) == colour(page, *east) == (145, 113, 13)  # six tenths of the colour
        page.mouse.move(*place(page, *east))
        until(page, "document.getElementById('values').textContent.includes('wheat')")
        assert "° W" in page.locator("#place").text_content() and "EPSG:32760" in page.locator("#values").text_content()
        page.locator("#layers .card[data-key='1/classes'] label.switch").click()
        click(page, *east, "similar")
        page.locator("[aria-label='Least similarity that is shown']").press("Home")
        until(page, "skysense.similar.threshold < 0.2")
        page.wait_for_timeout(500)
        bright = [sum(colour(page, *lonlat(row + 12.5, col + 12.5, FIJI))) for row, col in (WEST, EAST)]
        dark = sum(colour(page, *lonlat(WEST[0] + 0.5, WEST[1] + 50.5, FIJI)))
        assert min(bright) > dark + 200
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Similarity as GeoTIFF").click()
        with rasterio.open(waiting.value.path()) as dataset:  # of the visible area: all of it
            assert dataset.transform == FIJI.transform and dataset.shape == (HEIGHT, WIDTH)
        page.keyboard.press("l")
        click(page, *east, None)
        click(page, *west, None)
        assert page.evaluate("skysense.label.points.every(({ lon }) => Math.abs(lon) <= 180)")
        click(page, *east, None)  # a click on a point removes it, on either side
        until(page, "skysense.label.points.length === 1")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Save labels").click()
        (point,) = json.loads(waiting.value.path().read_text())["features"]
        assert point["geometry"]["coordinates"] == pytest.approx(west, abs=1e-4)


def test_the_saved_page_shows_both_sides_of_the_antimeridian(browser, tmp_path):
    image = write_image(tmp_path / "image.tif", (60 + 40 * kinds()[None].repeat(3, 0)).astype("uint8"), FIJI)
    save_html(open_all([image]), tmp_path / "fiji.html")
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.goto((tmp_path / "fiji.html").as_uri())
    until(page, "[...document.images].every((one) => one.complete && one.naturalWidth)")
    assert page.evaluate("view.height / view.width") == pytest.approx(HEIGHT / WIDTH, rel=0.05)
    left, right = page.evaluate("[0.02, 0.98].map((part) => at.x + part * view.width * at.scale)")
    for x, side in ((left, "E"), (right, "W")):
        page.mouse.move(x, 400)
        assert re.search(rf"16\.\d+° S  179\.9\d+° {side}", page.locator("#readout").text_content())
    page.close()


@pytest.fixture
def elsewhere():
    """Another site: the address of a page with a link; what it links to is set as its attribute."""

    class Page(http.server.BaseHTTPRequestHandler):
        link = ""

        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(f'<!doctype html><link rel=icon href="data:,"><a href="{self.link}">map</a>'.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}/", Page
        server.shutdown()


def test_a_link_with_the_token_on_another_site_opens_the_page_at_once(browser, farm, elsewhere):
    address, other = elsewhere
    with serving([farm], token=TOKEN) as viewer:
        other.link = f"{viewer}?token={TOKEN}"
        page = browser.new_context().new_page()
        page.goto(address)
        page.get_by_text("map").click()
        page.wait_for_selector("body.ready", timeout=60_000)
        assert page.url == viewer  # the token has left the address bar
        refused = page.context.new_page()
        refused.goto(address)  # what that site itself asks for is refused, although the cookie is there
        status = refused.evaluate(
            """address => fetch(address, { mode: "no-cors", credentials: "include" }).then(() => "answered", String)""",
            f"{viewer}api/about",
        )
        assert "TypeError" in status
        page.context.close()
