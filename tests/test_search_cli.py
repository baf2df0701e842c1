"""The verbs search and fewshot, as typed."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from skysense.cli import main
from skysense.maps.ground import Ground
from skysense.maps.product.read import open_product
from skysense.terminal import console
from tests.maps.feature_maps import classes_of, features_of_classes, write_features


@pytest.fixture
def features(tmp_path, monkeypatch):
    monkeypatch.setattr(console, "width", 120)
    return write_features(tmp_path / "map.tif", features_of_classes(classes_of(60, 80)))


def typed(lonlat) -> str:
    return "{:.7f},{:.7f}".format(*lonlat)


def spots(features, *cells):
    with open_product(features) as product:
        return [typed(one) for one in Ground(product.grid).lonlat(*np.array(cells).T)]


def test_search_prints_and_writes_places(features, capsys, tmp_path):
    out = tmp_path / "found.geojson"
    (point,) = spots(features, (30, 60))
    asked = ["search", str(features), "--point", point, "--count", "3", "--apart", "50", "--out", str(out)]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "rank" in shown and "3 places, at least 50 m from one another" in shown
    found = json.loads(out.read_text())["features"]
    assert [one["properties"]["rank"] for one in found] == [1, 2, 3]
    with open_product(features) as product:
        row, col, _ = Ground(product.grid).cells(np.array([one["geometry"]["coordinates"] for one in found]))
    assert (classes_of(60, 80)[row, col] == 2).all()
    assert main(asked) == 2 and "--overwrite true" in capsys.readouterr().err
    table = out.with_suffix(".csv")
    assert main([*asked[:-1], str(table)]) == 0
    assert table.read_text().splitlines()[0] == "rank,similarity,lon,lat,metres"


def test_search_by_an_index_that_is_made_once(features, capsys):
    pytest.importorskip("faiss")
    asked = ["search", str(features), "--point", *spots(features, (5, 5), (9, 9)), "--index", "true", "--count", "2"]
    assert main(asked) == 0 and "index of 4,800 cells" in capsys.readouterr().out
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "index of" not in shown and "like 2 points" in shown


def test_what_is_looked_for_must_be_said_once(features, capsys):
    assert main(["search", str(features)]) == 2
    assert "one of --point, --polygon and --image" in capsys.readouterr().err
    assert main(["search", str(features), "--image", "a.tif"]) == 2
    assert "needs --model" in capsys.readouterr().err
    assert main(["search", str(features), "--point", "-70.5,-33.1"]) == 2  # read as a point, not as an option
    assert "the point -70.5,-33.1 lies outside the map" in capsys.readouterr().err
    for far in ("-81,0", "99,0", "0,90"):  # some of them have no place in the CRS of the map
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert main(["search", str(features), "--point", far]) == 2
        assert f"the point {far} lies outside the map" in capsys.readouterr().err


def test_fewshot_prints_what_it_learned(features, capsys, tmp_path):
    cells = [(5, 5), (50, 20), (5, 50), (55, 70), (30, 60), (28, 62)]
    names = ["field", "field", "wood", "wood", "lake", "lake"]
    labels = tmp_path / "labels.csv"
    rows = [f"{point},{name}" for point, name in zip(spots(features, *cells), names, strict=True)]
    labels.write_text("\n".join(["lon,lat,label", *rows]))
    out = tmp_path / "classes.tif"
    assert main(["fewshot", str(features), "--labels", str(labels), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "learned from 2 field, 2 lake, 2 wood; 100 % right when left out" in shown
    assert "field, lake, wood" in shown and out.exists()
    labels.write_text("\n".join(["lon,lat,label", rows[0], rows[2]]))
    assert main(["fewshot", str(features), "--labels", str(labels), "--out", str(tmp_path / "few.tif")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "learned from 1 field, 1 wood " in shown and "right when left out" not in shown
    assert "field and wood: of a single label nobody can tell how often it is right" in shown


@pytest.mark.parametrize("rows", ["lon,lat,label\n0,0,field", "nothing of the kind"])
def test_what_is_wrong_with_labels_is_said_without_a_bar(features, capsys, tmp_path, rows):
    labels = tmp_path / "labels.csv"
    labels.write_text(rows)
    assert main(["fewshot", str(features), "--labels", str(labels), "--out", str(tmp_path / "out.tif")]) == 2
    found = capsys.readouterr()
    assert found.out == "" and "labels.csv" in found.err
