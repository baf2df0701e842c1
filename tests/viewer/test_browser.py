"""The page in a real browser, as a person uses it, beside the truth of the farm."""

from __future__ import annotations

import json
import statistics
import sys

import numpy as np
import pytest
import rasterio

from tests.viewer.browser import chromium, click, colour, opened, serving, until
from tests.viewer.farm import DAYS, GRID, kinds, lonlat

pytestmark = pytest.mark.long

HOME = (285, 235)  # of kind 1; the fields around it are of the other kinds
SAME = [(row, col) for row in (285, 335, 385) for col in (235, 285, 335) if kinds()[row, col] == kinds()[HOME]]
OTHER = (285, 285)
GROUND = (11, 15, 20)  # where nothing is drawn


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def address(farm, series):
    with serving([farm], [series]) as found:
        yield found


def centre(row: int, col: int) -> tuple[float, float]:
    """The position of a cell's centre."""
    return lonlat(row + 0.5, col + 0.5)


def bright(rgb: tuple[int, int, int]) -> int:
    return sum(rgb)


def shows(page, cell: tuple[int, int], wanted: tuple[int, int, int], within: int = 0) -> None:
    """Wait until a cell has a colour: frames take their time without a graphics card."""
    for _ in range(100):
        found = colour(page, *centre(*cell))
        if max(abs(one - other) for one, other in zip(found, wanted, strict=True)) <= within:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{cell} is {found}, not {wanted}")


def only(page, *layers: str) -> None:
    """Show these layers and no other."""
    for box in page.locator("#layers .card").all():
        wanted = box.get_attribute("data-key").split("/")[1] in layers
        if box.locator("input[type=checkbox]").is_checked() != wanted:
            box.locator("label.switch").click()
    until(page, "skysense.map.areTilesLoaded() && !skysense.map.isMoving()")
    page.wait_for_timeout(200)


def test_a_click_lights_up_what_is_alike(browser, address):
    with opened(browser, address) as page:
        only(page)
        shows(page, HOME, GROUND)
        shows(page, OTHER, GROUND)
        click(page, *centre(*HOME), "similar")
        threshold = page.locator("[aria-label='Least similarity that is shown']")
        assert colour(page, *centre(*OTHER)) == GROUND  # below the first threshold
        threshold.press("Home")  # everything is coloured
        until(page, "skysense.similar.threshold < 0.2")
        page.wait_for_timeout(500)
        home = bright(colour(page, *centre(*HOME)))  # within the ring around the clicked place
        same = [bright(colour(page, *centre(*cell))) for cell in SAME[1:]]
        assert home > 500 and len(same) > 0 and min(same) > bright(colour(page, *centre(*OTHER))) + 200
        threshold.press("End")
        shows(page, (HOME[0] + 6, HOME[1] + 6), GROUND)
        page.mouse.move(900, 900)
        page.keyboard.press("Escape")
        until(page, "!skysense.map.getLayer('similar')")


def test_moving_asks_for_what_comes_into_view(browser, address):
    with opened(browser, address) as page:
        only(page)
        click(page, *centre(*HOME), "similar")
        before = page.evaluate("skysense.similar.overlay.view")
        page.evaluate("skysense.map.zoomTo(skysense.map.getZoom() + 2, { duration: 300 })")
        until(page, "(before) => skysense.similar.overlay.view.left !== before.left", before)
        page.mouse.move(600, 500)
        page.mouse.down()
        page.mouse.move(400, 300, steps=8)
        page.mouse.up()
        until(page, "!skysense.map.isMoving() && !skysense.similar.overlay.running")
        page.wait_for_timeout(300)
        middle = page.evaluate("skysense.map.getCenter()")
        view = page.evaluate("skysense.similar.overlay.view")
        east = middle["lng"] / 180 * np.pi * 6378137
        assert view["left"] < east < view["right"]
        assert (view["right"] - view["left"]) < (before["right"] - before["left"]) / 3


def test_a_few_labelled_points_make_a_map_that_can_be_taken_along(browser, address, tmp_path):
    with opened(browser, address) as page:
        only(page)
        page.keyboard.press("l")
        for key, cells in (("1", [HOME, (HOME[0] + 8, HOME[1] - 8)]), ("2", [OTHER, (OTHER[0] - 6, OTHER[1] + 6)])):
            page.keyboard.press(key)
            for cell in cells:
                click(page, *centre(*cell), "fewshot" if key == "2" else None)
        page.locator("[aria-label='What the map shows']").select_option("classes")
        page.locator("[aria-label='Opacity of the map of classes']").fill("1")
        page.locator("[aria-label='Name of class 1']").fill("<b>mine</b>")
        page.locator("[aria-label='Name of class 1']").press("Tab")
        for cell in [(HOME[0] - 8, HOME[1] + 8), *SAME[1:]]:
            shows(page, cell, (0xF5, 0x9E, 0x0B))
        shows(page, (OTHER[0] + 8, OTHER[1] - 8), (0x3B, 0x82, 0xF6))
        assert page.locator("#label b").count() == 0  # a name is a name, not markup

        with page.expect_download() as waiting:
            page.get_by_role("button", name="Save labels").click()
        labels = json.loads(waiting.value.path().read_text())
        assert [one["properties"]["class"] for one in labels["features"]] == ["<b>mine</b>"] * 2 + ["class 2"] * 2
        assert labels["features"][0]["geometry"]["coordinates"] == pytest.approx(centre(*HOME), abs=1e-4)

        with page.expect_download() as waiting:
            page.get_by_role("button", name="Classes as GeoTIFF").click()
        with rasterio.open(waiting.value.path()) as dataset:
            assert dataset.crs == GRID.crs and dataset.res == (10, 10)
            for cell, label in [(HOME, 0), (OTHER, 1), *((cell, 0) for cell in SAME)]:
                row, col = dataset.index(*GRID.at(cell[1] + 0.5, cell[0] + 0.5))
                assert dataset.read(1)[row, col] == label
            assert dataset.tags()["CLASS_0"] == "<b>mine</b>"

        page.keyboard.press("u")  # the name was no step; the last point goes
        until(page, "skysense.label.points.length === 3")
        saved = tmp_path / "labels.geojson"
        saved.write_text(json.dumps(labels))
        page.locator("input[type=file]").set_input_files(saved)
        until(page, "skysense.label.points.length === 4")
        saved.write_text("no json")
        page.locator("input[type=file]").set_input_files(saved)
        until(page, "document.getElementById('notice').textContent.includes('is not JSON')")
        page.reload()
        page.wait_for_selector("body.ready")
        assert page.evaluate("skysense.label.points.length") == 4  # labels outlive the page


def test_similarity_can_be_taken_along(browser, address):
    with opened(browser, address) as page:
        click(page, *centre(*HOME), "similar")
        page.locator("#similar select").select_option("all")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Similarity as GeoTIFF").click()
        with rasterio.open(waiting.value.path()) as dataset:
            assert dataset.crs == GRID.crs and dataset.transform == GRID.transform
            values = dataset.read(1)
        assert np.unravel_index(np.nanargmax(values), values.shape) == HOME
        truth = kinds() == kinds()[HOME]
        assert np.nanmin(values[truth]) > np.nanmax(values[~truth])


def test_days_follow_the_slider_and_play(browser, address):
    with opened(browser, address) as page:
        only(page, "image")
        for at in range(3):
            page.locator(".dates").fill(str(at))
            until(page, "(day) => document.querySelector('.dates + output').textContent === day", DAYS[at])
            grey = 40 + 60 * at + 10 * int(kinds()[HOME])
            shows(page, HOME, (round((grey - 40) / 150 * 255),) * 3, within=3)
        page.keyboard.press("[")
        assert page.locator(".dates + output").text_content() == DAYS[1]
        page.keyboard.press(" ")
        until(page, "(day) => document.querySelector('.dates + output').textContent === day", DAYS[2])
        until(page, "(day) => document.querySelector('.dates + output').textContent === day", DAYS[0])
        page.keyboard.press(" ")


def test_two_layers_side_by_side(browser, address):
    with opened(browser, address) as page:
        only(page, "classes")
        page.keyboard.press("w")
        page.locator("#swipe-with").select_option("0/image")
        until(page, "skysense.stack.second?.areTilesLoaded()")
        divider = page.locator("#divider")
        for _ in range(5):
            divider.press("ArrowRight")
        assert divider.get_attribute("aria-valuenow") == "60"
        box = divider.locator("span").bounding_box()
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(500, 400, steps=4)
        page.mouse.up()
        assert 46 <= float(divider.get_attribute("aria-valuenow")) <= 50
        page.evaluate("skysense.map.panBy([40, 25], { duration: 0 })")
        page.wait_for_timeout(300)
        left, right = (page.evaluate(f"skysense.stack.{one}.getCenter().toArray()") for one in ("map", "second"))
        assert left == pytest.approx(right, abs=1e-9)
        page.keyboard.press("w")
        assert divider.is_hidden()


def test_touch_and_keys_do_what_a_mouse_does(browser, address):
    with opened(browser, address, side=600, has_touch=True) as page:  # a small screen: the panel is put away
        assert page.locator("#panel.away").count() == 1
        at = page.evaluate("([lon, lat]) => skysense.map.project([lon, lat])", list(centre(*HOME)))
        page.touchscreen.tap(at["x"], at["y"])
        until(page, "skysense.similar.overlay.shown")
        page.locator("canvas.maplibregl-canvas").first.focus()
        page.evaluate("skysense.similar.clear()")
        page.keyboard.press("Enter")
        until(page, "skysense.similar.overlay.shown")
        page.keyboard.press("?")
        assert page.get_by_role("dialog").is_visible()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Show the panel").click()
        assert page.locator("#panel.away").count() == 0


def test_everything_that_can_be_operated_has_a_name(browser, address):
    with opened(browser, address) as page:
        page.keyboard.press("l")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input, select")].filter((one) => !one.hidden &&
            !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.[0]?.textContent.trim()))
            .map((one) => one.outerHTML)"""
        )
        assert nameless == []


def test_how_long_a_click_takes(browser, address, capsys):
    """Printed, not judged: it depends on the machine."""
    with opened(browser, address) as page:
        page.evaluate(
            """() => { const { map } = skysense; window.took = []; let from;
            map.on("click", () => (from = performance.now()));
            map.getContainer().addEventListener("answered", () => map.once("render",
              () => requestAnimationFrame(() => took.push(performance.now() - from)))); }"""
        )
        for at in range(15):
            page.mouse.click(500 + 9 * at, 300 + 17 * at)
            until(page, "(count) => took.length > count", at)
        took = page.evaluate("took")
    words = f"from click to picture, 1024 x 1024: median {statistics.median(took):.0f} ms of {len(took)}"
    with capsys.disabled():
        sys.stdout.write(f"\n{words}\n")
    assert len(took) == 15


def test_the_saved_page_works_from_a_file(browser, farm, series, tmp_path):
    from skysense.viewer.saved import save_html
    from skysense.viewer.shown import open_all

    save_html(open_all([farm], [series]), tmp_path / "farm.html")
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "farm.html").as_uri())
    until(page, "[...document.images].every((one) => one.complete && one.naturalWidth)")
    where = page.evaluate(
        """([lon, lat]) => { const y = Math.asinh(Math.tan(lat * Math.PI / 180)) / Math.PI * HALF;
        const col = (lon / 180 * HALF - view.left) / (view.right - view.left) * view.width;
        const row = (view.top - y) / (view.top - view.bottom) * view.height;
        return [at.x + col * at.scale, at.y + row * at.scale]; }""",
        list(centre(*HOME)),
    )
    page.mouse.click(*where)
    assert "wheat" in page.locator("#readout").text_content() and kinds()[HOME] == 1
    assert page.locator("#alike").is_visible()
    share = page.evaluate("cosines.filter((one) => one > 0.9).length / cosines.filter((one) => one > -2).length")
    assert share == pytest.approx((kinds() == kinds()[HOME]).mean(), abs=0.03)
    assert page.locator("aside img").count() == 0 and said == []  # a name is a name
    page.close()
