"""Colours of layers."""

from __future__ import annotations

import numpy as np
import pytest

from skysense.maps.product.read import open_product
from skysense.viewer.blocks import Blocks
from skysense.viewer.imagery import open_folder
from skysense.viewer.pictures import Painter, png, ramp, rgb
from tests.viewer.farm import COLOURS, kinds, pixels_of
from tests.viewer.test_blocks import view_of

VIEW = view_of(300, 250, 10.0)  # pixel 10, 10 lies on cell 280, 230
CELLS = {(10, 10): (280, 230), (10, 53): (280, 270), (53, 10): (320, 230), (53, 53): (320, 270)}


@pytest.fixture
def product(farm):
    with open_product(farm) as opened:
        yield opened


def test_classes_have_their_colours(product):
    picture = Painter(Blocks()).classes(product, product.layers["classes"], VIEW)
    for (row, col), cell in CELLS.items():
        assert tuple(picture[:, row, col]) == (*rgb(COLOURS[kinds()[cell]]), 255)
    corner = Painter(Blocks()).classes(product, product.layers["classes"], view_of(20, 20, 1.0))
    assert not corner[3].any()


def test_probabilities_lie_on_the_ramp_from_none_to_all(product):
    picture = Painter(Blocks()).numbers(product, product.layers["probability"], 2, VIEW)
    for (row, col), cell in CELLS.items():
        expected = ramp("viridis")[int(255 * (0.7 if kinds()[cell] == 2 else 0.1))]
        assert np.abs(picture[:3, row, col].astype(int) - expected).max() <= 4


def test_colours_of_features_tell_kinds_apart_and_are_the_same_every_time(product):
    first = Painter(Blocks()).features(product, product.layers["features"], VIEW)
    again = Painter(Blocks()).features(product, product.layers["features"], VIEW)
    assert np.array_equal(first, again) and (first[3] == 255).all()
    colours = [first[:3, row, col].astype(int) for row, col in CELLS]
    apart = [np.abs(one - other).max() for at, one in enumerate(colours) for other in colours[:at]]
    alike = np.abs(first[:3, 10, 10].astype(int) - first[:3, 14, 14]).max()
    assert len({kinds()[cell] for cell in CELLS.values()}) == 4 and min(apart) > 60 > alike


def test_images_are_stretched_over_all_days(series):
    imagery = open_folder(series)
    means = [Painter(Blocks()).image(imagery, at, VIEW)[:3].mean() for at in range(3)]
    kind = np.mean([kinds()[cell] for cell in CELLS.values()])
    shown = [(60 * at + 10 * kind) / 150 * 255 for at in range(3)]
    assert means == pytest.approx(shown, abs=4)


def test_a_png_holds_the_picture():
    picture = np.random.default_rng(0).integers(0, 255, (4, 16, 16)).astype(np.uint8)
    assert np.array_equal(pixels_of(png(picture)), picture)
