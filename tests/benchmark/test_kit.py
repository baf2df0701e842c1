from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from skysense.benchmark.kit import QUESTIONS, Question, answers, available, load, results
from skysense.benchmark.probe import CHANCE, COMPARISONS, METHODS, RANDOM, RAW_LINEAR
from skysense.data.earth import simulate
from skysense.data.places import Places
from skysense.errors import InputError
from skysense.model.assembly import SkySense
from skysense.model.config import preset

CROPS = Question("Crops", ("one",), "crop_type", "mask")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kit")
    simulate(root / "flair", regions=1, places_per_region=2, footprint_cells=4, seed=1)
    simulate(root / "chesapeake", regions=2, places_per_region=1, footprint_cells=8, seed=2)
    return root


def _silent(words: str) -> None:
    assert words.startswith("reading ")


def test_only_questions_whose_folders_are_all_there_are_asked(root: Path, tmp_path: Path) -> None:
    assert [question.title for question in available(root)] == ["FLAIR + Chesapeake land cover"]
    (tmp_path / "flair").mkdir()
    with pytest.raises(InputError, match="Convert the data first"):
        available(tmp_path)
    assert len({question.title for question in QUESTIONS}) == len(QUESTIONS)


def test_folders_with_the_same_label_are_one_table(root: Path) -> None:
    material = load(root, Question("Both", ("flair", "chesapeake"), "land_cover", "mask"), _silent)
    names = [place.name for folder in ("flair", "chesapeake") for place in Places(root / folder)]
    assert [sample.name for sample in material.samples] == names == list(material.targets.names)
    assert material.targets.task.label == "Both"
    assert material.targets.cells_hw is not None
    assert [cells.shape for cells in material.targets.cells_hw] == [(4, 4), (4, 4), (8, 8), (8, 8)]
    assert sorted(np.concatenate([test for _, test in material.folds]).tolist()) == [0, 1, 2, 3]


def test_a_place_that_cannot_be_read_is_left_out_and_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "chesapeake", tmp_path / "chesapeake")
    shutil.copytree(root / "flair", tmp_path / "flair")
    bad = next(path for path in sorted((tmp_path / "flair").iterdir()) if path.is_dir())
    (bad / "s1.nc").write_bytes(b"CDF")
    question = Question("Both", ("flair", "chesapeake"), "land_cover", "mask")
    with pytest.warns(UserWarning, match=rf"left out 1 places: .*{bad.name}.s1.nc"):
        material = load(tmp_path, question, _silent)
    assert len(material.samples) == len(material.targets.names) == 3


def test_the_only_place_is_cut_into_quarters(tmp_path: Path) -> None:
    simulate(tmp_path / "one", regions=1, places_per_region=1, footprint_cells=8, seed=3)
    material = load(tmp_path, CROPS, _silent)
    (place,) = Places(tmp_path / "one")
    mask = Places(tmp_path / "one").read_mask(place, "crop_type").astype(int)
    whole = np.where(mask == 0, -1, mask)
    assert material.targets.cells_hw is not None
    assert np.array_equal(np.block([list(material.targets.cells_hw[:2]), list(material.targets.cells_hw[2:])]), whole)
    assert [sample.grid for sample in material.samples] == [(4, 4)] * 4
    image = Places(tmp_path / "one").read_sample(place, ["hr"]).series["hr"].values
    assert np.array_equal(material.samples[1].series["hr"].values, image[..., :128, 128:])
    assert [test.tolist() for _, test in material.folds] == [[0], [1], [2], [3]]


def test_folders_must_share_the_label(root: Path) -> None:
    with pytest.raises(InputError, match="do not share the label 'nothing'"):
        load(root, Question("None", ("flair", "chesapeake"), "nothing", "mask"), _silent)


def test_models_and_baselines_answer_by_seed(root: Path) -> None:
    question = Question("Scenes", ("chesapeake",), "scene", "scene")
    torch.manual_seed(1)
    models = {seed: SkySense(preset("tiny")).eval() for seed in (4, 7)}
    seen: list[tuple[int, int, str]] = []
    found = answers(root, question, models, lambda *stage: seen.append(stage))
    methods = {method for (_, method) in found[4]}
    assert methods == set(METHODS)
    assert {method for (_, method) in found[7]} == methods - {RAW_LINEAR, CHANCE}, "without a seed: answered once"
    assert all(0 <= done <= total for done, total, _ in seen)
    assert {text for _, _, text in seen} >= {"Scenes: raw pixels", "Scenes: features, pre-trained", f"Scenes: {RANDOM}"}
    table = results(question, list(found.items())).table
    assert table.tasks == ["Scenes"] and {(one.a, one.b) for one in table.differences} == set(COMPARISONS)
    assert {row.n_places for row in table.rows} == {2}
