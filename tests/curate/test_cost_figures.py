"""Figures: each says where it comes from, and what is drawn of it lies where it says."""

import numpy as np
import pytest

from skysense.curate.cost import FILES
from skysense.curate.cost_figures import Estimate, Figure, draw_all, figures
from skysense.errors import InputError


def test_every_figure_has_a_source_and_every_file_its_figures():
    for one in figures().values():
        assert len(one.source) > 20 and one.unit
    for files in FILES:
        assert {f"tile_{files.name}", f"read_{files.name}"} <= figures().keys()


def test_draws_lie_within_low_and_high():
    drawn = Figure(30, 10, 50, "", "estimated", "").draw(np.random.default_rng(0))
    found = Estimate.of(drawn)
    assert found.value == 30
    assert found.low == pytest.approx(10, rel=0.1) and found.high == pytest.approx(50, rel=0.05)


def test_draws_are_the_same_again_and_within_what_can_be():
    drawn = draw_all()
    assert all(np.array_equal(one, draw_all()[name]) for name, one in drawn.items())
    assert drawn["kept"].max() <= 1 and drawn["reads"].min() >= 1 and drawn["images"].min() >= 1


def test_tiles_are_as_large_as_files_of_the_archives_mean():
    known = figures()
    band = 236e6 / (10980**2 * 4 / 3) * 1024**2  # with its overviews
    assert known["tile_s2_10m"].low < band < known["tile_s2_10m"].high
    echo = 2_062_396_392 / (28236 * 23625 * 4 / 3) * 512**2 / (2 / 3)
    assert known["tile_s1"].low < echo < known["tile_s1"].high


@pytest.mark.parametrize(
    "text",
    [
        "a: {value: 3, low: 4, high: 5, unit: s, kind: measured, source: x}",
        "a: {value: 3, low: 2, high: 5, unit: s, kind: guessed, source: x}",
        "a: {value: 3, low: 2, high: 5, unit: s, kind: measured}",
        "a: 3",
    ],
)
def test_what_is_no_figure(tmp_path, text):
    file = tmp_path / "figures.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"figures\.yaml: holds a figure that is none"):
        figures(file)
