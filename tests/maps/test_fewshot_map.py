"""A map of classes from a map of features and some labels: right, the same after a cut, and candid about no-data."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

from skysense.errors import InputError, OutputError
from skysense.geo import Window
from skysense.maps import fewshot_map as module
from skysense.maps.fewshot_map import fewshot_map
from skysense.maps.ground import Ground
from skysense.maps.product.read import open_product
from tests.maps.feature_maps import TURNED, classes_of, features_of_classes, write_features

H, W = 1100, 1056  # four parts
NAMES = ("field", "lake", "wood")


@pytest.fixture(scope="module")
def ground_HW():
    return classes_of(H, W)


@pytest.fixture(scope="module")
def features(ground_HW, tmp_path_factory):
    values = features_of_classes(ground_HW, bands=4)
    values[:, :40, :40] = np.nan
    values[:, 1000:, 1000:] = 8 * np.random.default_rng(1).normal(size=(4, 1, 1))  # like nothing that is labelled
    return write_features(
        tmp_path_factory.mktemp("features") / "features.tif",
        values,
        stored="int8",
        transform=TURNED,
        metadata={"model": {"sha256": "abc"}},
    )


@pytest.fixture(scope="module")
def labels(ground_HW, features, tmp_path_factory):
    rng = np.random.default_rng(2)
    spots = [(index, *rng.choice(np.argwhere(ground_HW[50:990, 50:990] == index) + 50)) for index in [0, 1, 2] * 5]
    return write_labels(tmp_path_factory.mktemp("labels") / "labels.csv", features, [*spots, (0, 5, 5)])


def write_labels(path, features, spots):
    with open_product(features) as product:
        ground = Ground(product.grid)
    lines = ["lon,lat,label"]
    for index, row, col in spots:
        lon, lat = ground.lonlat(np.array([row]), np.array([col]))[0]
        lines.append(f"{lon:.8f},{lat:.8f},{NAMES[index]}")
    path.write_text("\n".join(lines))
    return path


def test_a_class_with_a_single_label_is_no_part_of_what_is_right(features, ground_HW, tmp_path):
    """Left out, nothing of it is left: it counted as never right."""
    places = [np.argwhere(ground_HW[50:990, 50:990] == at) + 50 for at in (0, 1, 2)]
    spots = [(at, *places[at][97 * number]) for at in (0, 1) for number in range(8)]
    wood = (2, *places[2][0])
    result = fewshot_map(features, write_labels(tmp_path / "a.csv", features, [*spots, wood]), tmp_path / "a.tif")
    assert result.labelled == "8 field, 8 lake, 1 wood" and result.right >= 0.9
    assert result.notes == ("wood: of a single label nobody can tell how often it is right; a second one would",)
    with open_product(result.path) as product:
        assert product.metadata["fewshot"]["leave_one_out"] == result.right
        assert product.metadata["notes"] == list(result.notes)
    alone = fewshot_map(features, write_labels(tmp_path / "b.csv", features, [spots[0], wood]), tmp_path / "b.tif")
    assert alone.right is None and "field and wood" in alone.notes[0]
    with open_product(alone.path) as product:
        assert product.metadata["fewshot"]["leave_one_out"] is None
        assert "None" not in product._repr_html_()


def digests(folder):
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()}


def test_map_is_right_and_says_where_it_knows_little(features, labels, ground_HW, tmp_path):
    result = fewshot_map(features, labels, tmp_path / "out.tif", probabilities=True)
    assert result.classes == NAMES
    assert result.labelled == "5 field, 5 lake, 5 wood" and result.right == 1.0
    assert result.notes == ("1 of 16 labelled cells have no data and do not count",)
    whole = Window(0, 0, H, W)
    with open_product(tmp_path / "out.tif") as made, open_product(features) as given:
        assert made.grid == given.grid
        classes = made.read("classes", whole)[0]
        uncertainty, novelty = made.read_values("uncertainty", whole)
        probability = made.read_values("probability", whole)
        about = made.metadata["fewshot"]
        assert made.layers["classes"].classes == NAMES and len(set(made.layers["classes"].colours)) == 3
    assert (classes[:40, :40] == 255).all() and np.isnan(uncertainty[:40, :40]).all()
    known = np.ones((H, W), bool)
    known[:40, :40] = known[1000:, 1000:] = False
    assert (classes[known] == ground_HW[known]).mean() > 0.95
    assert novelty[1000:, 1000:].min() > 3 * np.median(novelty[known])
    best = np.nanmax(probability, axis=0)
    np.testing.assert_allclose(1 - best[known], uncertainty[known], atol=1.01 / 254)  # both are rounded
    assert about["labels"]["sha256"] == sha256(labels.read_bytes()).hexdigest()
    assert about["model"] == {"sha256": "abc"} and about["leave_one_out"] == 1.0


def test_killed_and_gone_on_with_is_the_same_file(features, labels, tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    fewshot_map(features, labels, tmp_path / "whole" / "out.tif")
    write = module._write
    written = []

    def killed(work, part, *others):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(part)
        write(work, part, *others)

    monkeypatch.setattr(module, "_write", killed)
    (tmp_path / "cut").mkdir()
    with pytest.raises(KeyboardInterrupt):
        fewshot_map(features, labels, tmp_path / "cut" / "out.tif")
    assert not (tmp_path / "cut" / "out.tif").exists()
    monkeypatch.setattr(module, "_write", write)
    result = fewshot_map(features, labels, tmp_path / "cut" / "out.tif")
    assert result.resumed == 2
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole") and len(digests(tmp_path / "cut")) == 2


def test_existing_maps_and_other_labels(features, labels, tmp_path):
    small = tmp_path / "out.tif"
    small.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        fewshot_map(features, labels, small)
    assert small.read_bytes() == b"precious"
    with pytest.raises(OutputError, match="is the input"):
        fewshot_map(features, labels, features, overwrite=True)


def test_class_without_data_is_named(features, tmp_path):
    path = write_labels(tmp_path / "labels.csv", features, [(0, 500, 100), (1, 500, 600), (2, 5, 5)])
    with pytest.raises(InputError, match="wood: no labelled cell has data on the map"):
        fewshot_map(features, path, tmp_path / "out.tif")
