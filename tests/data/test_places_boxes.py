"""Boxes and later images of places: they read back as written, whole and in windows, and each broken rule is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skysense.data.places import Boxes, Legend, Places, check, write_dataset, write_place
from skysense.data.places_boxes import clip, polygon_area
from skysense.data.places_layout import legend_to_json
from skysense.errors import InputError, OutputError
from skysense.geo import Window
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR
from tests.data.places_samples import assert_same, make_sample

LEGENDS = {
    "things": Legend("boxes", ("house", "hall")),
    "things_after": Legend("boxes", ("house", "hall"), after=True),
    "change": Legend("mask", ("same", "changed"), after=True),
}
DIAMOND = [[40.0, 20.0], [60.0, 40.0], [40.0, 60.0], [20.0, 40.0]]
AT_THE_EDGE = [[-10.0, 100.0], [30.0, 100.0], [30.0, 120.0], [-10.0, 120.0]]
THINGS = Boxes(np.array([DIAMOND, AT_THE_EDGE]), np.array([1, 0]), np.array([0.9, 0.75]))


def later(sample: Sample, date: str = "2021-03-01") -> Series:
    """Another image of the same size (4 x 8 cells: 128 x 256 px)."""
    first = sample.series["hr"]
    return replace(first, values=255 - first.values, dates=np.array([date], "datetime64[D]"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dataset(tmp_path, title="Test", simulated=True, legends=LEGENDS)
    sample = make_sample("p")
    change = np.zeros((128, 256), np.uint8)
    change[20:60, 20:60] = 1
    boxes = {"things": THINGS, "things_after": Boxes.none()}
    write_place(tmp_path, sample, masks={"change": change}, boxes=boxes, after=later(sample))
    return tmp_path


def assert_equal(read: Boxes, corners: list[Any], classes: list[int], visible: list[float]) -> None:
    np.testing.assert_allclose(read.corners, np.array(corners).reshape(-1, 4, 2))
    np.testing.assert_array_equal(read.classes, classes)
    np.testing.assert_allclose(read.visible, visible)


def test_boxes_read_back(folder: Path) -> None:
    places = Places(folder)
    (place,) = places
    assert check(folder).problems == []
    assert place.boxes == ("things", "things_after") and place.masks == ("change",)
    assert_equal(places.read_boxes(place, "things"), [DIAMOND, AT_THE_EDGE], [1, 0], [0.9, 0.75])
    assert len(places.read_boxes(place, "things_after")) == 0
    content = json.loads((folder / "p" / "things.json").read_text())
    assert content["version"] == 1 and content["boxes"][0] == {"class": "hall", "corners": DIAMOND, "visible": 0.9}


def test_boxes_of_a_window(folder: Path) -> None:
    places = Places(folder)
    (place,) = places
    right_of_40 = places.read_boxes(place, "things", Window(0, 1, 2, 4))  # pixels 32 .. 160 across, 0 .. 64 down
    assert_equal(right_of_40, [[[x - 32, y] for x, y in DIAMOND]], [1], [1 - 0.5 * (12 / 20) ** 2])
    assert len(places.read_boxes(place, "things", Window(0, 4, 4, 4))) == 0
    with pytest.raises(InputError, match="leaves the place"):
        places.read_boxes(place, "things", Window(0, 0, 5, 5))


def test_horizontal_boxes_are_those_of_what_the_image_shows() -> None:
    upright = THINGS.horizontal(128, 256)
    np.testing.assert_allclose(upright, [[20, 20, 60, 60], [0, 100, 30, 120]])
    # The image ends within the diamond: what is left of it is narrower than the corners say.
    np.testing.assert_allclose(THINGS.horizontal(30, 256)[0], [30, 20, 50, 30])
    assert np.isnan(THINGS.horizontal(30, 256)[1]).all()
    np.testing.assert_allclose(THINGS.areas, [800, 800])


@settings(max_examples=200, deadline=None)
@example(centre=(0.0, 1.75), half=(25.0, 1.0), angle=0.0)
@given(
    centre=st.tuples(st.floats(-20, 60), st.floats(-20, 80)),
    half=st.tuples(st.floats(1, 40), st.floats(1, 40)),
    angle=st.floats(0, 2 * np.pi),
)
def test_clipping_keeps_the_area_that_shapely_finds(
    centre: tuple[float, float], half: tuple[float, float], angle: float
) -> None:
    along, across = (
        np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * np.array(half)[:, None]
    )
    corners = np.array(centre) + np.array([-along - across, along - across, along + across, -along + across])
    part = clip(corners, 60, 40)
    wanted = shapely.Polygon(corners).intersection(shapely.box(0, 0, 40, 60)).area
    assert polygon_area(part) == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    if len(part):
        assert part.min() >= -1e-9 and (part <= np.array([40, 60]) + 1e-9).all()


def test_the_later_image_makes_a_pair_with_the_first(folder: Path) -> None:
    places = Places(folder)
    (place,) = places
    assert place.after
    before, after = places.read_sample(place, ["hr"]), places.read_after(place)
    assert_same(after.series["hr"], later(make_sample("p")))
    assert list(after.series) == ["hr"] and after.name == "p" and after.footprint == before.footprint
    assert (after.lon, after.lat, after.region) == (before.lon, before.lat, before.region)
    window = Window(1, 2, 2, 4)
    part = places.read_after(place, window)
    np.testing.assert_array_equal(part.series["hr"].values, after.series["hr"].values[..., 32:96, 64:192])
    assert part.footprint == place.ground(window)
    assert len(places.readable()) == 1


def test_a_place_without_them(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="Test", simulated=True, legends=LEGENDS)
    write_place(tmp_path, make_sample("p"))
    places = Places(tmp_path)
    assert places[0].boxes == () and not places[0].after
    with pytest.raises(InputError, match="holds no image of a later date"):
        places.read_after(places[0])
    with pytest.raises(InputError, match=r"things\.json: could not be read: no such file"):
        places.read_boxes(places[0], "things")
    with pytest.raises(InputError, match="label 'trees' is none of things"):
        places.read_boxes(places[0], "trees")


def test_legends_of_folders_written_before_keep_their_form() -> None:
    assert legend_to_json(Legend("mask", ("a",), 0)) == {"kind": "mask", "classes": ["a"], "ignore": 0}
    assert legend_to_json(LEGENDS["change"])["after"] is True


@pytest.mark.parametrize(
    ("label", "legend"),
    [
        ("place", {"kind": "boxes", "classes": ["a"]}),
        ("hr_after", {"kind": "mask", "classes": ["a"]}),
    ],
)
def test_labels_whose_file_would_be_another_file(tmp_path: Path, label: str, legend: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"label '{label}' is taken"):
        write_dataset(tmp_path, title="Test", simulated=True, legends={label: legend})
    write_dataset(tmp_path, title="Test", simulated=True, legends={label: {**legend, "kind": "scene"}})


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change the first box, or what is around it."""

    def apply(folder: Path) -> None:
        file = folder / "p" / "things.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return apply


def first(**changes: Any) -> Callable[[Path], None]:
    return edit(lambda content: content["boxes"][0].update(changes))


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (lambda folder: (folder / "p" / "things.json").write_text('{"version"') and None, "is not valid JSON"),
    "a list": (lambda folder: (folder / "p" / "things.json").write_text("[]") and None, "with a list of 'boxes'"),
    "newer": (edit(lambda content: content.update(version=2)), "is version 2; this program reads 1"),
    "no object": (edit(lambda content: content["boxes"].append("house")), "box 2 must be a JSON object"),
    "class": (
        first(**{"class": "tree"}),
        "box 0 of 'things' is a 'tree', which its legend does not know. Known: house",
    ),
    "three corners": (first(corners=DIAMOND[:3]), "box 0 needs corners [[x, y]"),
    "text": (first(corners=[*DIAMOND[:3], ["1", 2]]), "box 0 needs corners [[x, y]"),
    "nan": (first(corners=[*DIAMOND[:3], [float("nan"), 2]]), "box 0 of 'things' has corners that are no numbers"),
    "no area": (first(corners=[[5, 5], [9, 9], [7, 7], [6, 6]]), "box 0 of 'things' has no area"),
    "crossed": (first(corners=[DIAMOND[0], DIAMOND[2], DIAMOND[1], DIAMOND[3]]), "box 0 of 'things' is not convex"),
    "outside": (
        first(corners=[[x + 300, y] for x, y in DIAMOND]),
        "box 0 of 'things' lies outside of the place of 128 x 256 px. Corners are x and y in pixels",
    ),
    "share": (first(visible=1.5), "box 0 of 'things' has a visible share of 1.5, not 0 .. 1"),
    "share text": (first(visible="all"), "visible share of box 0 must be a number; got 'all'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_of_boxes_is_named(folder: Path, name: str) -> None:
    breaks, rule = BROKEN[name]
    breaks(folder)
    (problem,) = check(folder).problems
    assert (problem.place, problem.file) == ("p", "things.json") and rule in problem.rule
    places = Places(folder)
    with pytest.raises(InputError, match=re.escape(rule)) as caught:
        places.read_boxes(places[0], "things")
    assert caught.value.file == folder / "p" / "things.json"


def test_a_box_without_a_share_is_all_visible(folder: Path) -> None:
    edit(lambda content: content["boxes"][0].pop("visible"))(folder)
    assert Places(folder).read_boxes(Places(folder)[0], "things").visible[0] == 1


def test_a_broken_later_image_is_named(folder: Path) -> None:
    file = folder / "p" / "hr_after.tif"
    file.write_bytes(file.read_bytes()[:300])
    (problem,) = check(folder).problems
    assert (problem.file, problem.rule[:12]) == ("hr_after.tif", "is truncated")
    with pytest.raises(InputError, match="holds no place that can be read"):
        Places(folder).readable()


def test_a_later_image_without_a_first_is_named(folder: Path) -> None:
    (folder / "p" / "hr.tif").unlink()
    assert [problem.rule for problem in check(folder).problems] == [
        "hr_after.tif needs the image of the first date beside it, hr.tif"
    ]


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"boxes": {"things": replace(THINGS, classes=np.array([0, 2]))}}, "box 1 of 'things' is of class 2"),
        ({"boxes": {"things": replace(THINGS, corners=THINGS.corners + 500)}}, "lies outside of the place"),
        ({"boxes": {"change": THINGS}}, "label 'change' is a mask label, not boxes"),
        ({"boxes": {"trees": THINGS}}, "label 'trees' has no legend"),
        ({"labels": {"things": ["house"]}}, "label 'things' is boxes: store it as things.json"),
        ({"after": later(make_sample("q"), "2019-06-30")}, "later image is of 2019-06-30, the first one of 2019-07-01"),
        ({"after": later(make_sample("q", height=8))}, "later image is 256 x 256 px, the first one 128 x 256"),
        ({"after": make_sample("q").series["s2"]}, "later image is one of high resolution; got sentinel-2-l2a"),
        ({"after": replace(later(make_sample("q")), sensor=replace(OPTICAL_HR, name="mine"))}, "'mine' is not one"),
    ],
)
def test_what_would_not_read_back_is_not_written(folder: Path, given: dict[str, Any], rule: str) -> None:
    with pytest.raises(InputError, match=re.escape(rule)):
        write_place(folder, make_sample("q"), **given)
    assert not (folder / "q").exists()


def test_a_later_image_of_an_unknown_day_is_welcome(folder: Path) -> None:
    write_place(folder, make_sample("q"), after=later(make_sample("q"), "NaT"))
    assert check(folder).problems == []


def test_a_name_that_is_taken_is_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        write_place(folder, make_sample("p"), boxes={"things": THINGS})


@pytest.mark.parametrize(
    ("corners", "classes", "visible"),
    [
        (np.zeros((2, 4)), np.zeros(2, int), np.ones(2)),
        (np.zeros((2, 4, 2)), np.zeros(3, int), np.ones(2)),
        (np.zeros((2, 4, 2)), np.zeros(2), np.ones(2)),
    ],
)
def test_boxes_whose_parts_disagree(corners: np.ndarray, classes: np.ndarray, visible: np.ndarray) -> None:
    with pytest.raises(InputError):
        Boxes(corners, classes, visible)
