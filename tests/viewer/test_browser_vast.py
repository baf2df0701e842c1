"""Every control of the page in a real browser, on a map of 10,000 x 10,000 cells with forty days of images.

The controls are those that the page itself has: one that is new and not used here fails the test.
"""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import rasterio

from tests.viewer import farm as small
from tests.viewer import vast
from tests.viewer.browser import chromium, click, colour, opened, place, serving, until
from tests.viewer.tour import Tour, near, rgb, unlike

pytestmark = pytest.mark.long

GROUND = (11, 15, 20)  # where nothing is drawn
SPOTS = {kind: vast.centre(*field) for kind, field in enumerate([(6, 9), (7, 9), (6, 10), (7, 10)])}  # one per kind
TWINS = {kind: vast.centre(*field) for kind, field in enumerate([(10, 9), (11, 9), (10, 10), (11, 10)])}
FARM = (285, 235)  # a cell of the small map, of kind 1


def at(cell: tuple[int, int]) -> tuple[float, float]:
    return small.lonlat(cell[0] + 0.5, cell[1] + 0.5, vast.GRID)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vast")
    alone = small.write_map(folder / "all" / "farm.tif").rename(folder / "farm.tif")  # without its further layers
    products = [vast.write_vast(folder / "vast.tif"), alone]
    images = [vast.write_days(folder / "days"), vast.write_image(folder / "ground.tif", (20, 90, 160, 230))]
    with serving(products, images) as address:
        yield address


def test_every_control_works_on_a_vast_map_with_forty_days(maps, tmp_path, capsys):
    took: dict[str, list[float]] = {}
    with chromium() as browser:
        with opened(browser, maps, side=760) as page:
            page.on("requestfinished", lambda one: took.setdefault(_kind(one), []).append(one.timing["responseEnd"]))
            tour = Tour(page)
            layers(tour)
            days(tour)
            swipe(tour)
            moving(tour)
            alike(tour)
            labels(tour, tmp_path)
            other_map(tour)
            help_and_panel(tour)
            tour.look()
            assert tour.offered - tour.used == set()
            keys = tour.keys()
            assert keys - tour.used == set()
            assert tour.used == tour.offered | keys
            spread = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert spread <= 0
        touched(browser, maps)
    with capsys.disabled():
        for kind, times in sorted(took.items()):
            words = f"median {np.median(times):.0f} ms, longest {max(times):.0f} ms"
            sys.stdout.write(f"\n{kind}: {len(times)} requests, {words}")


def _kind(request) -> str:
    return "/".join(re.sub(r"\d", "", re.sub(r"^https?://[^/]+/", "", request.url).split("?")[0]).split("/")[:3])


def layers(tour: Tour) -> None:
    """Each layer alone: switched on, made paler, switched off."""
    page, names = tour.page, [name for name in sorted(tour.offered) if name.startswith("layers: Opacity of ")]
    assert len(names) == 7
    switches = [name.replace("Opacity of ", "").replace(" · ", "") for name in names]
    for switch in switches:
        if tour(switch).is_checked():
            tour(switch).click()
    start = page.evaluate("({ center: skysense.map.getCenter(), zoom: skysense.map.getZoom() })")
    for name, switch in zip(names, switches, strict=True):
        spots = [at(SPOTS[1]), at(SPOTS[2])]
        if "farm" in name:
            spots = [small.lonlat(FARM[0] + 0.5, FARM[1] + 0.5 + 50 * field) for field in (0, 1)]
            page.evaluate("(at) => skysense.map.jumpTo({ center: at, zoom: 11 })", spots[0])
        tour(switch).click()
        tour.slide(name, 1)
        whole = tour.show(spots, unlike(GROUND))
        if not re.search("Uncertainty|Probability", name):
            assert whole[0] != whole[1]
        if "Classes" in name:
            assert np.abs(np.subtract(whole, [rgb(vast.COLOURS[kind]) for kind in (1, 2)])).max() < 4
        tour.slide(name, 0.5)
        half = tuple(round((part + ground) / 2) for part, ground in zip(whole[0], GROUND, strict=True))
        tour.show(spots[:1], near(half))
        tour.slide(name, 1)
        if name.endswith("Classes · vast.tif"):
            assert "spare 9" not in page.locator("#layers").inner_text()
            tour("layers: all 14 classes").click()
            assert "spare 9" in page.locator("#layers").inner_text()
        if "Probability" in name:
            band = tour(name.replace("Opacity", "Band"))
            band.select_option(index=1)
            tour.show(spots[:1], lambda found, before=whole[0]: sum(found) > sum(before) + 100)  # the kind that it is
        tour(switch).click()
        page.evaluate("(start) => skysense.map.jumpTo(start)", start)
    tour.show([at(spot) for spot in SPOTS.values()], near(GROUND))


def days(tour: Tour) -> None:
    """The slider, the keys and the play button of the series."""
    page = tour.page
    tour("layers: Seriesdays").click()
    shown = page.locator(".dates + output")

    def brightness(day: int, kind: int) -> tuple[int, int, int]:
        low, high = vast.grey(0, 0), vast.grey(39, 3)
        return (round((vast.grey(day, kind) - low) / (high - low) * 255),) * 3

    for day in (0, 20, 39):
        tour.slide("layers: Date of Series · days", day)
        assert shown.text_content() == vast.DAYS[day]
        for kind in (1, 2):
            tour.show([at(SPOTS[kind])], near(brightness(day, kind)))
    for day in range(38, -1, -1):  # through all of them
        tour.press("[")
        assert shown.text_content() == vast.DAYS[day]
    tour.press("]")
    tour.show([at(SPOTS[3])], near(brightness(1, 3)))
    tour("layers: Play the series").click()
    until(page, "(day) => document.querySelector('.dates + output').textContent >= day", vast.DAYS[3], seconds=30)
    tour("layers: Pause the series").click()
    page.locator("#title").click()
    tour.press(" ", called="Space")
    until(page, "(day) => document.querySelector('.dates + output').textContent >= day", vast.DAYS[5], seconds=30)
    tour.press(" ", called="Space")
    tour.slide("layers: Date of Series · days", 39)
    tour.show([at(SPOTS[1])], near(brightness(39, 1)))


def swipe(tour: Tour) -> None:
    """Two layers side by side, the divider dragged and moved by keys."""
    page = tour.page
    left = colour(page, *at(SPOTS[1]))
    tour("panel: Swipe with").click()
    tour("panel: Layer right of the divider").select_option("2/classes")
    divider = tour("stage: Divider between the two sides")
    x, y = place(page, *at(SPOTS[1]))
    box = page.locator("#divider span").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(x - 40, y, steps=4)
    page.mouse.up()
    tour.show([at(SPOTS[1])], near(rgb(vast.COLOURS[1])))
    divider.press("End")
    tour.show([at(SPOTS[1])], near(left))
    divider.press("Home")
    tour.show([at(SPOTS[2])], near(rgb(vast.COLOURS[2])))
    tour.press("w", called="W")
    tour.show([at(SPOTS[1])], near(left))


def moving(tour: Tour) -> None:
    """The map, by mouse, wheel and keys; and back to everything."""
    page = tour.page
    where = "(() => { const { lng, lat } = skysense.map.getCenter(); return [lng, lat, skysense.map.getZoom()]; })()"
    start = page.evaluate(where)

    def still() -> list[float]:
        page.wait_for_timeout(150)
        until(page, "!skysense.map.isMoving() && skysense.map.areTilesLoaded()")
        return page.evaluate(where)

    x, y = place(page, *at(SPOTS[1]))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 120, y - 60, steps=5)
    page.mouse.up()
    dragged = still()
    assert dragged[0] > start[0] and dragged[1] < start[1] and dragged[2] == start[2]
    page.mouse.wheel(0, -500)
    near_by = still()
    assert near_by[2] > start[2] + 0.5
    tour("stage: Map").focus()
    tour.press("ArrowLeft", called="drag, arrow keys")
    west = still()
    assert west[0] < near_by[0]
    tour.press("+", called="wheel, pinch, + −")
    nearer = still()
    assert nearer[2] > west[2] + 0.4
    tour.press("-", called="wheel, pinch, + −")
    assert still()[2] < nearer[2] - 0.4
    tour("panel: Show everything").click()
    page.wait_for_timeout(600)
    assert still() == pytest.approx(start, abs=0.02)
    page.evaluate("skysense.map.zoomTo(14, { duration: 0 })")
    still()
    tour.press("f", called="F")
    page.wait_for_timeout(600)
    assert still() == pytest.approx(start, abs=0.02)


def alike(tour: Tour) -> None:
    """A click lights up what is alike; what the sliders do to it; its GeoTIFF."""
    page = tour.page
    tour("panel: Label classes").check(force=True)
    tour("panel: Find alike").check(force=True)
    page.evaluate("(at) => skysense.map.jumpTo({ center: at, zoom: 8 })", list(at(SPOTS[1])))
    before = {kind: colour(page, *at(TWINS[kind])) for kind in TWINS}
    click(page, *at(SPOTS[1]), "similar")
    until(
        page,
        """([x, y]) => { const [, east, north] =
        /EPSG:32632 +(\\d{6}), (\\d{7})/.exec(document.getElementById("values").textContent) ?? [];
        return Math.hypot(east - x, north - y) < 300; }""",  # a pixel of the screen is 180 m wide
        list(vast.GRID.at(SPOTS[1][1] + 0.5, SPOTS[1][0] + 0.5)),
    )
    north, east = map(float, re.match(r"([\d.]+)° N  ([\d.]+)° E", page.locator("#place").text_content()).groups())
    assert (east, north) == pytest.approx(at(SPOTS[1]), abs=0.003)
    (bright,) = tour.show([at(TWINS[1])], unlike(before[1]))
    tour.show([at(TWINS[2])], near(before[2]))  # below the threshold
    tour.slide("similar: Least similarity that is shown", -0.2)
    (dark,) = tour.show([at(TWINS[2])], unlike(before[2]))
    assert sum(bright) > sum(dark) + 100
    tour.slide("similar: Opacity of the similarity", 0)
    tour.show([at(TWINS[1])], near(before[1]))
    tour.slide("similar: Opacity of the similarity", 1)
    tour.show([at(TWINS[1])], near((252, 248, 190)))
    page.evaluate("(at) => skysense.map.jumpTo({ center: at, zoom: 11 })", list(at(SPOTS[1])))
    until(page, "!skysense.similar.overlay.running && skysense.map.areTilesLoaded()")
    tour("similar: What to download").select_option("view")
    with rasterio.open(tour.saved("similar: Similarity as GeoTIFF")) as dataset:
        assert dataset.crs == vast.GRID.crs and dataset.res == (10, 10)
        assert dataset.width < 2 * vast.SIDE // 3
        row, col = dataset.index(*vast.GRID.at(SPOTS[1][1] + 0.5, SPOTS[1][0] + 0.5))
        values = dataset.read(1)
    first = SPOTS[1][0] - row, SPOTS[1][1] - col  # the download begins on a cell of the map
    rows, cols = (first[axis] + np.arange(values.shape[axis]) for axis in (0, 1))
    alike = vast.kinds_at(rows[:, None], cols[None]) == 1
    assert values[alike].min() > 0.99 and np.abs(values[~alike]).max() < 0.05
    tour("similar: Clear").click()
    until(page, "!skysense.map.getLayer('similar')")
    tour("stage: Map").focus()
    tour.press("Enter", called="click, tap, Enter")
    until(page, "skysense.similar.overlay.shown")
    tour.press("Escape", called="Esc")
    until(page, "!skysense.map.getLayer('similar')")


def labels(tour: Tour, folder) -> None:
    """Two classes from a few clicks, their map, and what can be taken along."""
    page = tour.page
    page.evaluate("(at) => skysense.map.jumpTo({ center: at, zoom: 9 })", list(at(SPOTS[1])))
    tour.press("l", called="L")
    assert page.locator("#label").is_visible()
    tour.press("1", called="1 … 9")
    assert page.evaluate("skysense.label.active") == 0
    click(page, *at(SPOTS[1]), None)
    tour("label: + class").click()
    until(page, "skysense.label.classes.length === 3")
    tour("label: Remove class").click()  # the first one, and its point
    until(page, "skysense.label.classes.length === 2 && skysense.label.points.length === 0")
    tour.press("u", called="U")
    until(page, "skysense.label.classes.length === 3 && skysense.label.points.length === 1")
    tour("label: Undo").click()
    until(page, "skysense.label.classes.length === 2")
    page.keyboard.press("2")
    click(page, *at(SPOTS[2]), "fewshot")
    tour("label: Label class").check()  # the first one
    click(page, *at(TWINS[1]), "fewshot")
    assert page.evaluate("skysense.label.points.map(({ label }) => label)") == [0, 1, 0]
    tour("label: Colour of class").fill("#ff0000")
    name = tour("label: Name of class")
    name.fill("class 7")
    name.press("Tab")
    tour("label: What the map shows").select_option("classes")
    tour.slide("label: Opacity of the map of classes", 1)
    far = vast.centre(9, 11)  # a field of kind 3, not labelled
    tour.show([at(vast.centre(*field)) for field in ((7, 11), (5, 12))], near((255, 0, 0)))
    tour.show([at(vast.centre(*field)) for field in ((8, 11), (6, 12))], near((0x3B, 0x82, 0xF6)))
    shown = colour(page, *at(far))
    for view in ("novelty", "classes", "doubt", "sure"):  # each unlike the one before
        tour("label: What the map shows").select_option(view)
        (shown,) = tour.show([at(far)], unlike(shown))
    taken_along(tour, folder)


def taken_along(tour: Tour, folder) -> None:
    """What the page saves and reads back; near enough that a download is ten million cells, not fifty."""
    page = tour.page
    page.evaluate("(at) => skysense.map.jumpTo({ center: at, zoom: 10 })", list(at(vast.centre(9, 9))))
    tour("label: What to download").select_option("view")
    with rasterio.open(tour.saved("label: Classes as GeoTIFF")) as dataset:
        assert dataset.crs == vast.GRID.crs and dataset.tags()["CLASS_0"] == "class 7"
        assert dataset.colormap(1)[0][:3] == (255, 0, 0)
        for kind, label in ((1, 0), (2, 1)):
            for cell in (SPOTS[kind], TWINS[kind]):
                row, col = dataset.index(*vast.GRID.at(cell[1] + 0.5, cell[0] + 0.5))
                assert dataset.read(1)[row, col] == label
    with rasterio.open(tour.saved("label: Uncertainty")) as dataset:
        row, col = dataset.index(*vast.GRID.at(SPOTS[1][1] + 0.5, SPOTS[1][0] + 0.5))
        assert dataset.count == 2 and dataset.read(1)[row, col] < 0.5
    saved = json.loads(tour.saved("label: Save labels").read_text())
    assert [one["properties"]["class"] for one in saved["features"]] == ["class 7", "class 2", "class 7"]
    assert saved["features"][0]["geometry"]["coordinates"] == pytest.approx(at(SPOTS[1]), abs=0.002)
    tour("label: Clear points").click()
    until(page, "skysense.label.points.length === 0 && !skysense.map.getLayer('fewshot')")
    (folder / "labels.geojson").write_text(json.dumps(saved))
    with page.expect_file_chooser() as waiting:
        tour("label: Load labels").click()
    waiting.value.set_files(folder / "labels.geojson")
    tour.used.add("label: file")  # what "Load labels" opens
    until(page, "skysense.label.points.length === 3 && skysense.label.overlay.shown")


def other_map(tour: Tour) -> None:
    """The other map of features, whole."""
    page = tour.page
    tour.press("s", called="S")
    tour("panel: Features of").select_option("3")
    home = small.lonlat(FARM[0] + 0.5, FARM[1] + 0.5)
    page.evaluate("(at) => skysense.map.jumpTo({ center: at, zoom: 12 })", list(home))
    click(page, *home, "similar")
    tour("similar: What to download").select_option("all")
    with rasterio.open(tour.saved("similar: Similarity as GeoTIFF")) as dataset:
        assert dataset.transform == small.GRID.transform and dataset.shape == (small.HEIGHT, small.WIDTH)
        assert dataset.read(1)[FARM] > 0.999
    tour.told("is downloaded")


def help_and_panel(tour: Tour) -> None:
    page = tour.page
    tour("panel: Help").click()
    assert page.get_by_role("dialog").is_visible()
    tour("help: Close").click()
    assert page.get_by_role("dialog").is_hidden()
    tour.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    tour("panel: Hide the panel").click()
    until(page, "document.getElementById('panel').matches('.away')")
    tour("page: Show the panel").click()
    until(page, "!document.getElementById('panel').matches('.away')")
    page.locator("#title").click()
    tour.press("h", called="H")
    until(page, "document.getElementById('panel').matches('.away')")
    page.keyboard.press("h")


def touched(browser, address: str) -> None:
    """A telephone: a tap, a drag, a pinch, and the panel over the lower half."""
    with opened(browser, address, side=390, has_touch=True, is_mobile=True) as page:
        send = page.context.new_cdp_session(page).send

        def fingers(kind: str, *points: tuple[float, float]) -> None:
            send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})
            page.wait_for_timeout(30)

        page.evaluate("(at) => skysense.map.jumpTo({ center: at, zoom: 8 })", list(at(SPOTS[1])))
        page.touchscreen.tap(*place(page, *at(SPOTS[1])))
        until(page, "skysense.similar.overlay.shown")
        page.wait_for_timeout(700)  # a touch right after a tap would be a second tap
        before = page.evaluate("skysense.map.getZoom()")
        fingers("touchStart", (180, 195), (210, 195))
        for step in range(1, 9):
            fingers("touchMove", (180 - 12 * step, 195), (210 + 12 * step, 195))
        fingers("touchEnd")
        until(page, "(before) => skysense.map.getZoom() > before + 0.3", before)
        centre = page.evaluate("skysense.map.getCenter().lng")
        fingers("touchStart", (200, 200))
        for step in range(1, 9):
            fingers("touchMove", (200 - 12 * step, 200))
        fingers("touchEnd")
        until(page, "(before) => skysense.map.getCenter().lng > before", centre)
        middle = page.evaluate("skysense.map.getCenter().toArray()")
        page.get_by_role("button", name="Show the panel").tap()
        page.wait_for_timeout(600)
        until(page, "!skysense.map.isMoving()")
        box = page.locator("#panel").bounding_box()
        assert [box["x"], box["x"] + box["width"], box["y"] + box["height"]] == pytest.approx([0, 390, 390], abs=1)
        assert 0 < place(page, *middle)[1] < box["y"]  # what was in the middle can still be seen
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
