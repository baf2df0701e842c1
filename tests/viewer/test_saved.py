"""The page in one file: what is in it, and that nothing gets out of its quotes."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import numpy as np
import pytest

from skysense.errors import OutputError
from skysense.viewer import saved
from skysense.viewer.shown import open_all
from tests.viewer.farm import DAYS, HEIGHT, NAMES, UNSEEN, WIDTH, kinds, pixels_of


@pytest.fixture(scope="module")
def page(farm, series, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("saved") / "farm.html"
    seen = []
    saved.save_html(open_all([farm], [series]), out, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(at, 5) for at in range(1, 6)]
    return out.read_text("utf-8")


def content(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def test_nothing_is_asked_of_anybody_and_no_other_script_runs(page):
    assert "default-src 'none'" in page and "http://" not in page and "https://" not in page
    assert NAMES[2] not in page and json.loads('"\\u003cimg"') == "<img"  # markup in a name stays in its quotes
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1 and f"script-src 'sha256-{digest}'" in page


def test_every_layer_is_there(page):
    layers = content(page)["layers"]
    assert [(layer["kind"], len(layer["pictures"])) for layer in layers] == [
        ("series", 3), ("features", 1), ("classes", 1), ("probability", 4), ("uncertainty", 1),
    ]  # fmt: skip
    assert layers[0]["frames"] == list(DAYS) and layers[2]["legend"][2]["name"] == NAMES[2]
    kind, coded = layers[2]["pictures"][0].split(",", 1)
    assert kind == "data:image/png;base64"
    assert max(pixels_of(base64.b64decode(coded)).shape) == saved.SIDE


def test_coarse_features_are_directions(page):
    features = content(page)["layers"][1]["features"]
    shape = (features["height"], features["width"], features["numbers"])
    cells = np.frombuffer(base64.b64decode(features["bytes"]), np.int8).reshape(shape)
    lengths = np.linalg.norm(cells.astype(float), axis=-1)
    seen = lengths > 0
    assert np.abs(lengths[seen] - 127).max() < 3
    assert seen.mean() == pytest.approx(1 - UNSEEN**2 / (HEIGHT * WIDTH), abs=0.03)  # the map is not quite upright
    cosines = cells.astype(float) @ cells[shape[0] // 2, shape[1] // 2] / 127**2
    assert (cosines[seen] > 0.9).mean() == pytest.approx((kinds() == kinds()[HEIGHT // 2, WIDTH // 2]).mean(), abs=0.02)


def test_of_many_features_the_directions_that_matter_are_kept(farm, monkeypatch):
    monkeypatch.setattr(saved, "DIMENSIONS", 4)  # four kinds of fields, eight numbers
    shown = open_all([farm])[0]
    layer = shown.features
    west_south_east_north = saved.describe([shown], saved.Painter(blocks := saved.Blocks()))["bounds"]
    features = saved._coarse(blocks, shown.raster, layer, west_south_east_north)
    assert features["numbers"] == 4
    cells = np.frombuffer(base64.b64decode(features["bytes"]), np.int8).reshape(-1, 4).astype(float)
    cosines = cells @ cells[len(cells) // 2 + features["width"] // 2] / 127**2
    assert (cosines > 0.9).mean() == pytest.approx(0.25, abs=0.02)


def test_a_folder_that_cannot_be_written_is_told(farm, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        saved.save_html(open_all([farm]), tmp_path / "file" / "page.html")


def test_names_that_look_like_places_of_the_page_are_only_names():
    content_of = {"layers": [{"name": "{{SCRIPT}} {{DATA}} </script>"}]}
    page = saved._page("{{DATA}} {{SCRIPT}} <b>.tif", content_of)
    assert "<title>{{DATA}} {{SCRIPT}} &lt;b&gt;.tif</title>" in page
    assert content(page) == content_of
    assert len(re.findall(r"<script>", page)) == 1 and page.count("</script>") == 2
