from __future__ import annotations

import re

import numpy as np
import pytest

from skysense.data.labelled.example import TASKS
from skysense.errors import InputError
from skysense.report import Report
from skysense.tasks.metrics.results import ImageScore, Reliability, Results
from skysense.tasks.predictions import ClassScores
from skysense.tasks.report import (
    _beside,
    _grid,
    add_differences,
    confusion_picture,
    evaluation_report,
    reliability_diagram,
)
from tests.tasks.metrics.made import filled, images


def _results(task: str, count: int = 24, classes: int = 4) -> Results:
    training = np.arange(2 if task == "change" else classes)
    return filled(task, images(task, count, classes), classes).results(training, resamples=30)


def _cells(html: str) -> list[list[str]]:
    """Text of the cells of every row of every table."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>.*?</t[hd]>", row)] for row in rows]


@pytest.mark.parametrize("task", TASKS)
def test_a_page_shows_every_metric_beside_its_baselines(task: str) -> None:
    results = _results(task)
    html = evaluation_report("Evaluation", results, facts={"model": "tiny"}, simulated=True).html()
    rows = {row[0]: row for row in reversed(_cells(html))}  # the first of a name: classes come again below
    assert rows["metric"] == ["metric", "this model", *results.baselines, "what it is"]
    for name, one in results.metrics.items():
        assert rows[name][1] == f"{100 * one.value:.2f} [{100 * one.lo:.2f}, {100 * one.hi:.2f}]"
        assert rows[name][-1]  # what it means, in words
        for at, baseline in enumerate(results.baselines.values()):
            if name in baseline and not np.isnan(baseline[name].value):
                assert rows[name][2 + at].startswith(f"{100 * baseline[name].value:.2f} ")
            else:
                assert rows[name][2 + at] == ""
    for at, name in enumerate(results.classes):
        assert len(rows[name]) == 1 + len(results.per_class)
        first = next(iter(results.per_class.values()))[at]
        assert rows[name][1] == ("" if np.isnan(first) else f"{100 * first:.1f}")
    assert "Simulated data." in html and "<dt>images</dt><dd>24</dd>" in html
    assert html.count("<img") == (1 if results.confusion_KK is None else 2)
    assert "http" not in html and "<script" not in html


def test_the_headline_leads_and_few_groups_are_pointed_out() -> None:
    results = filled("segmentation", images("segmentation", 6)).results(headline="mean F1", resamples=10)
    html = evaluation_report("E", results, facts={}, simulated=False).html()
    lead = results.metrics["mean F1"]
    assert f"mean F1: {100 * lead.value:.1f} %, 95 % interval {100 * lead.lo:.1f} to {100 * lead.hi:.1f}" in html
    assert [row[0] for row in _cells(html)][1] == "mean F1"
    assert '<th scope="row" class="best">mean F1</th>' in html
    assert "With 3 groups an interval says little" in html


def test_differences_are_paired_and_signed() -> None:
    of = images("classification", 40)
    perfect = [(name, group, truth, ClassScores(np.eye(4, dtype=np.float32)[truth])) for name, group, truth, _ in of]
    a, b = (filled("classification", one).results(resamples=200) for one in (of, perfect))
    report = Report("R", simulated=False)
    add_differences(report, {"plain": a, "perfect": b})
    rows = {row[0]: row for row in _cells(report.html())}
    assert rows["metric"] == ["metric", "plain", "perfect", "perfect – plain"]
    assert rows["OA"][2] == "100.0"
    assert rows["OA"][3].startswith(f"+{100 * (1 - a.metrics['OA'].value):.2f} [+")
    assert rows["ECE"][3].startswith("-")
    with pytest.raises(InputError, match="different images"):
        add_differences(Report("R", simulated=False), {"a": a, "b": _results("classification", 6)})
    with pytest.raises(InputError, match="two models"):
        add_differences(Report("R", simulated=False), {"a": a})


def test_the_most_frequent_error_is_named() -> None:
    of = [(f"i{at}", "g", at % 3, ClassScores(np.eye(3)[[0, 1, 1][at % 3]].astype(np.float32))) for at in range(9)]
    results = filled("classification", of, 3).results(resamples=5)
    rows = _cells(evaluation_report("E", results, facts={}, simulated=False).html())
    assert ["class 2", "class 1", "3", "100.0", "100.0"] in rows


def test_pictures_of_the_worst_and_the_best() -> None:
    results, picture = _results("segmentation"), np.full((8, 8, 3), 90, np.uint8)
    worst, best = results.worst[0].name, results.best[0].name
    pictures = {worst: [picture] * 3, best: [picture] * 3, "elsewhere": [picture] * 3}
    html = evaluation_report("E", results, facts={}, simulated=False, pictures=pictures).html()
    assert f'alt="The worst images: {worst}"' in html and f'alt="The best images: {best}"' in html
    assert "elsewhere" not in html
    with pytest.raises(InputError, match="needs 3 pictures"):
        evaluation_report("E", results, facts={}, simulated=False, pictures={worst: [picture]})
    one = evaluation_report(
        "E", results, facts={}, simulated=False, pictures={worst: [picture]}, columns=("image",), notes={worst: "a: b"}
    )
    assert f'alt="The worst images: {worst}"' in one.html() and "The best" not in one.html()


@pytest.mark.parametrize("classes", [2, 15, 40])
def test_a_confusion_matrix_has_numbers_while_there_is_room(classes: int) -> None:
    confusion = np.eye(classes, dtype=np.int64) * 99
    confusion[0, 1] = 1
    figure = confusion_picture(confusion, [f"a class with a long name, number {at}" for at in range(classes)])
    axis = figure.axes[0]
    assert len(axis.texts) == (classes**2 if classes <= 15 else 0)
    assert axis.get_yticklabels()[0].get_text() == "a class with a long name,…"
    shares = axis.images[0].get_array()
    assert shares[0, 0] == pytest.approx(99) and shares[0, 1] == pytest.approx(1)
    assert max(figure.get_size_inches()) <= 9.3


def test_bars_of_reliability() -> None:
    count, right = np.zeros(15), np.full(15, np.nan)
    count[14], right[14] = 4, 0.75
    left, side = reliability_diagram(Reliability(count, right, right)).axes
    assert left.patches[14].get_height() == pytest.approx(0.75) and left.patches[0].get_height() == 0
    assert side.patches[14].get_height() == pytest.approx(100)


@pytest.mark.parametrize("count", [1, 6])
def test_texts_above_pictures_are_whole(count: int) -> None:
    note = "true: " + ", ".join(["a class with quite a long name"] * 5) + "\nanswered: nothing"
    text = _beside(ImageScore("a_name_that_is_as_long_as_that_of_a_satellite_scene_is_34ver_12_41", 0.5), note)
    assert text.splitlines()[-1] == "answered: nothing"
    figure = _grid([np.zeros((8, 8, 3), np.uint8)] * count, [text] * count)
    figure.draw_without_rendering()
    for axis in figure.axes[:count]:
        box = axis.title.get_window_extent()
        assert box.y0 >= 0 and box.y1 <= figure.bbox.height
        assert axis.get_window_extent().width > 0.7 * 2.15 * figure.dpi


def test_a_class_without_truth_has_no_shares() -> None:
    axis = confusion_picture(np.array([[3, 1], [0, 0]]), ["here", "absent"]).axes[0]
    assert [text.get_text() for text in axis.texts] == ["75", "25"]


def test_images_of_their_own_ground_are_called_images() -> None:
    of = [(f"i{at}", f"g{at}", at % 3, ClassScores(np.eye(3, dtype=np.float32)[at % 3])) for at in range(12)]
    html = evaluation_report(
        "E", filled("classification", of, 3).results(resamples=5), facts={}, simulated=False
    ).html()
    assert "from resampling 12 images." in html
