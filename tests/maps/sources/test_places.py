"""Places of a folder, one source each."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from skysense.data.places import Places
from skysense.data.shards.convert import convert
from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.source import UnreadableWindow
from skysense.maps.sources.open import open_source
from skysense.maps.sources.places import are_places, place_sources
from tests.data.places_samples import write_folder
from tests.maps.sources.reading import READS


def test_every_place_is_a_source_of_its_own(tmp_path: Path) -> None:
    write_folder(tmp_path, "a", "b")
    assert are_places(tmp_path)
    sources = [pickle.loads(pickle.dumps(one)) for one in place_sources(tmp_path, reads=READS, frames={"s2": 2})]
    assert [one.name for one in sources] == ["a", "b"]
    places = Places(tmp_path)
    grid = sources[1].grid
    assert (grid.height, grid.width, grid.transform.a) == (4, 8, 10)
    assert grid.bounds == pytest.approx(places[1].footprint.bounds)
    plain = places.read_sample(places[1])
    with sources[1].open() as reader:
        sample = reader.read(Window(0, 4, 8, 8))
    assert sample.grid == (8, 8)
    assert (sample.lon, sample.region) == (None, None)
    np.testing.assert_array_equal(sample.series["s2"].values[:, :, :4, :4], plain.series["s2"].values[[0, 4], :, :, 4:])
    np.testing.assert_array_equal(sample.series["s2"].clear[:, :4, :4], plain.series["s2"].clear[[0, 4], :, 4:])
    np.testing.assert_array_equal(sample.series["hr"].values[:, :, :128, :128], plain.series["hr"].values[..., 128:])
    assert not sample.series["hr"].valid[:, 128:].any() and not sample.series["hr"].valid[..., 128:].any()
    about = sources[1].about()
    assert about["simulated"] and about["sensors"]["s2"]["files"][0]["size"] > 0
    with pytest.raises(InputError, match="is a folder of places, or a corpus of them"):
        open_source(tmp_path, reads=READS)


def test_what_cannot_be_read_or_mapped(tmp_path: Path) -> None:
    write_folder(tmp_path, "a")
    (source,) = place_sources(tmp_path, reads=READS)
    (tmp_path / "a" / "s2.nc").write_bytes(b"")
    with source.open() as reader, pytest.raises(UnreadableWindow, match="is truncated or not a NetCDF file"):
        reader.read(Window(0, 0, 4, 4))
    file = tmp_path / "a" / "place.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"footprint": None, "lon": None, "lat": None}))
    with pytest.raises(InputError, match="holds no place with a footprint and imagery of hr, s2, s1"):
        list(place_sources(tmp_path, reads=READS))


def test_places_of_a_corpus_of_shards(tmp_path: Path) -> None:
    pytest.importorskip("tensorstore")
    write_folder(tmp_path / "places", "a", "b")
    convert([tmp_path / "places"], tmp_path / "corpus")
    source = pickle.loads(pickle.dumps(list(place_sources(tmp_path / "corpus", reads=READS))[1]))
    (folder,) = (one for one in place_sources(tmp_path / "places", reads=READS) if one.name in source.name)
    assert source.grid == folder.grid
    with source.open() as reader, folder.open() as other:
        ours, theirs = reader.read(Window(0, 0, 4, 8)), other.read(Window(0, 0, 4, 8))
    np.testing.assert_array_equal(ours.series["s2"].values, theirs.series["s2"].values)
    assert source.about()["sensors"]["s1"]["files"][0]["name"].endswith(".json")
