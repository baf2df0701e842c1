from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.data.labelled.example import TASKS
from skysense.errors import InputError
from skysense.files import read_json, write_json
from skysense.probes.intervals import draws
from skysense.tasks.metrics import accumulator
from skysense.tasks.metrics.results import Results, difference
from skysense.tasks.predictions import ClassScores
from tests.tasks.metrics.made import SIZE, filled, images


def assert_same(a: Results, b: Results) -> None:
    assert a.to_json() == b.to_json()


@pytest.mark.parametrize("task", TASKS)
def test_a_resample_is_what_repeated_images_give(task: str) -> None:
    """Draw groups, evaluate their images as often as they were drawn: that is what the bootstrap says."""
    of = images(task, 8, seed=3)
    if task in ("detection", "oriented-detection"):
        for at, (*_, found) in enumerate(of):  # of tied scores, repeated images would be in another order
            found.scores_N[:] -= 0.001 * at + 1e-5 * np.arange(len(found.scores_N))
    drawn = filled(task, of).results(np.array([1, 2, 0, 0]), resamples=6, seed=1)
    for row, weights_P in enumerate(np.concatenate(list(draws(4, resamples=6, seed=1)))):
        times = {f"g{at:03}": int(weight) for at, weight in enumerate(weights_P)}
        again = [(f"{name}{k}", *rest) for name, *rest in of for k in range(times[rest[0]])]
        metrics = filled(task, again).results(resamples=1).metrics
        for name, values_R in drawn.draws_R.items():
            expected = metrics[name].value
            assert values_R[row] == pytest.approx(expected, abs=1e-9, nan_ok=True), name


@settings(deadline=None, max_examples=15)
@given(task=st.sampled_from(TASKS), seed=st.integers(0, 99), cut=st.integers(0, 6))
def test_processes_come_to_the_same_as_one(task: str, seed: int, cut: int) -> None:
    of = images(task, 6, seed=seed)
    alone = filled(task, of).results(resamples=20)
    first, second = filled(task, of[cut:]), filled(task, of[: cut + 1][::-1])  # an image twice, another order
    first.merge(pickle.loads(pickle.dumps(second)))
    assert len(first) == 6
    assert_same(first.results(resamples=20), alone)


@pytest.mark.parametrize("task", TASKS)
def test_results_survive_a_file(task: str, tmp_path) -> None:
    results = filled(task, images(task, 5)).results(np.array([1, 2, 0, 0]), resamples=20)
    write_json(tmp_path / "results.json", results.to_json())
    read = Results.from_json(read_json(tmp_path / "results.json"))
    assert_same(read, results)
    assert read.metrics[read.headline].value == results.metrics[results.headline].value
    assert difference(read, results, results.headline).value == pytest.approx(0)


@pytest.mark.parametrize("content", [{}, [], None, {"format": 2}, {"format": 1, "task": "poetry"}, {"format": 1}])
def test_foreign_content_is_refused(content: object) -> None:
    with pytest.raises(InputError):
        Results.from_json(content)


def test_a_difference_is_paired() -> None:
    of = images("classification", 60, classes=3, seed=1)
    a = filled("classification", of, classes=3).results(resamples=300)
    better = [(name, group, truth, ClassScores(np.eye(3, dtype=np.float32)[truth])) for name, group, truth, _ in of]
    b = filled("classification", better, classes=3).results(resamples=300)
    found = difference(b, a, "OA")
    assert found.value == pytest.approx(1 - a.metrics["OA"].value)
    # one side never errs, so that the interval of the difference is as wide as that of the other side alone
    assert found.hi - found.lo == pytest.approx(a.metrics["OA"].hi - a.metrics["OA"].lo, abs=1e-6)
    assert found.excludes_zero
    with pytest.raises(InputError, match="different images"):
        difference(a, filled("classification", of[1:], classes=3).results(resamples=300), "OA")
    with pytest.raises(InputError, match="no metric"):
        difference(a, b, "mIoU")


def test_images_are_ranked_by_their_own_score() -> None:
    found = accumulator("classification", ("a", "b"))
    for name, score in (("good", 0.9), ("bad", 0.2), ("fair", 0.6)):
        found.add(name, name, 0, ClassScores(np.array([score, 1 - score], np.float32)), SIZE)
    results = found.results(resamples=5)
    assert [image.name for image in results.worst] == ["bad", "fair", "good"]
    assert [image.name for image in results.best] == ["good", "fair", "bad"]
    assert results.best[0].score == pytest.approx(0.9)
    assert results.counts == {"images": 3, "groups": 3}


def test_what_cannot_be_judged_is_refused() -> None:
    found = accumulator("segmentation", ("a", "b"))
    with pytest.raises(InputError, match="no image"):
        found.results()
    name, group, target, prediction = images("segmentation", 1, classes=5)[0]
    with pytest.raises(InputError, match="i000: a label is 4 and there are 2 classes"):
        found.add(name, group, target, prediction, SIZE)
    with pytest.raises(InputError, match="at least"):
        found.add(name, group, target, prediction, (40, 40))
    with pytest.raises(InputError, match="must be ClassMap"):
        found.add(name, group, target, ClassScores(np.ones(2, np.float32)), SIZE)
    with pytest.raises(InputError, match="there is no class"):
        accumulator("segmentation", ())
    with pytest.raises(InputError, match="cannot be added"):
        found.merge(accumulator("segmentation", ("a", "c")))
    filled_up = filled("segmentation", images("segmentation", 2))
    with pytest.raises(InputError, match="There are: mIoU, OA, mean F1, ECE"):
        filled_up.results(headline="F1")
    assert filled_up.results(headline="mean F1", resamples=2).headline == "mean F1"
