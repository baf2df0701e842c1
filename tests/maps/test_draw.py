"""Maps that draw themselves: whole, small, and with every name escaped."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from rasterio.io import MemoryFile

from skysense.errors import InputError
from skysense.maps.draw import png, product_html
from skysense.maps.fewshot import FewShot
from skysense.maps.fewshot_map import fewshot_map
from skysense.maps.ground import Ground
from skysense.maps.product.read import open_product
from skysense.maps.quicklook import feature_colours
from skysense.maps.search import Query
from skysense.maps.similar import Similar
from tests.maps.feature_maps import PLAIN, TURNED, classes_of, features_of_classes, write_features

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # pictures have no place
EVIL = "<script>alert('x')</script> & co"


@pytest.fixture(scope="module", params=[PLAIN, TURNED], ids=["north up", "turned"])
def features(request, tmp_path_factory):
    values = features_of_classes(classes_of(60, 80))
    values[:, :10, :10] = np.nan
    folder = tmp_path_factory.mktemp("draw")
    path = write_features(folder / "a <b>&.tif", values, transform=request.param, metadata={"software": EVIL})
    with open_product(path) as product:
        yield product


@pytest.fixture(scope="module")
def mapped(features, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    lonlat_N2 = Ground(features.grid).lonlat(np.array([5, 50, 5, 55, 30]), np.array([15, 20, 70, 75, 60]))
    names = ("field", "field", '"lake"', '"lake"', '"<i>wood"')
    lines = [f"{lon},{lat},{name}" for (lon, lat), name in zip(lonlat_N2.tolist(), names, strict=True)]
    (folder / "labels.csv").write_text("\n".join(["lon,lat,label", *lines]))
    return fewshot_map(features.path, folder / "labels.csv", folder / "map.tif")


def pictures(html: str) -> list[np.ndarray]:
    found = []
    for text in re.findall(r'(?:src|href)="data:image/png;base64,([^"]+)"', html):
        with MemoryFile(base64.b64decode(text)) as memory, memory.open() as file:
            found.append(file.read())
    return found


def test_a_map_shows_its_picture_and_facts(features):
    html = features._repr_html_()
    (picture,) = pictures(html)
    np.testing.assert_array_equal(picture, np.moveaxis(feature_colours(features, "features"), -1, 0))
    assert (picture[3, :10, :10] == 0).all() and (picture[3, 10:] == 255).all()
    for fact in ("60 × 80 cells of 10 m", "EPSG:32632", "features (8 bands, float32)"):
        assert fact in html
    assert "http" not in html  # nothing is fetched


def test_names_are_escaped(features, mapped):
    html = product_html(features, {"<x>": "<y>"}) + mapped._repr_html_()
    html += Similar(features, Query(np.zeros(8, np.float32), EVIL), ())._repr_html_()
    tags = set(re.findall(r"</?([a-zA-Z]+)", html))
    assert tags <= {"div", "img", "table", "tr", "td", "span", "br", "svg", "image"}
    for shown in ("a &lt;b&gt;&amp;.tif", "&lt;script&gt;", "&lt;i&gt;wood", "&lt;y&gt;"):
        assert shown in html


def test_classes_have_a_legend_of_those_that_occur(mapped):
    html = mapped._repr_html_()
    assert html.count("inline-block") == 3 and "leave-one-out" in html
    with open_product(mapped.path) as product:
        axes = product.plot()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["<i>wood", "field", "lake"]


def test_plots_lie_on_the_ground(features):
    axes = features.plot()
    left, bottom, right, top = features.grid.bounds
    assert axes.get_xlim() == (left, right) and axes.get_ylim() == (bottom, top)
    (image,) = axes.images
    corners = (image.get_transform() - axes.transData).transform([(0, 0), (80, 60)])
    np.testing.assert_allclose(corners, [features.grid.at(0, 0), features.grid.at(80, 60)])


def test_numbers_are_drawn_band_by_band(mapped):
    with open_product(mapped.path) as product:
        axes = product.plot("uncertainty", band="novelty")
        grid = product.pixels("uncertainty")
        values = product.to_xarray("uncertainty").sel(band="novelty").values
        assert axes.images[0].get_array().shape == (grid.height, grid.width)
        np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), values)
        assert axes.images[0].get_clim() == (0, 1)
        with pytest.raises(InputError, match="no band 'x'; it has uncertainty, novelty"):
            product.plot("uncertainty", band="x")
        with pytest.raises(InputError, match="no layer 'x'"):
            product.plot("x")


def test_found_places_are_marked_where_they_are(features):
    from skysense import search

    lonlat = Ground(features.grid).lonlat(np.array([30]), np.array([60]))[0]
    found = search(features, point=tuple(lonlat), count=4, apart=100)
    html = found._repr_html_()
    marks = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', html)
    assert [(float(y) - 0.5) * 80 + float(x) - 0.5 for x, y in marks] == [hit.number for hit in found]


def test_a_classifier_says_what_it_learned_from():
    rng = np.random.default_rng(0)
    learned = FewShot.fit(rng.normal(size=(6, 3)), np.array([0, 1, 0, 1, 0, 1]))
    text = re.sub(r"<[^>]+>", " ", learned._repr_html_()).split()
    assert text[text.index("labels") + 1] == "6" and text[text.index("bands") + 1] == "3"


def test_png_is_lossless():
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    with MemoryFile(png(rgba)) as memory, memory.open() as file:
        np.testing.assert_array_equal(np.moveaxis(file.read(), 0, -1), rgba)
