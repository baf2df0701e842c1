"""A curation from end to end: what the shards hold is what the archive holds."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import rasterio

from skysense.curate.account import read_account
from skysense.curate.place import PlaceMaker
from skysense.curate.rehearsal import read_archive
from skysense.curate.rehearsal.footprints import transformer
from skysense.curate.run import Pace, curate
from skysense.curate.sample import Settings
from skysense.data.shards.read import Shards
from skysense.errors import ConfigError
from tests.curate.rehearsed import catalogue_file, curation, hashes, places_file, positions

PLACES = positions((300, 500), (1070, 200), (700, 1000))


@pytest.fixture(scope="module")
def planetary(archive, tmp_path_factory):
    """Settings, folder and summary of a curation of three places."""
    folder = tmp_path_factory.mktemp("planetary")
    settings = curation(catalogue_file(archive, "planetary", folder), places_file(folder, PLACES))
    return settings, folder / "corpus", curate(settings, folder / "corpus")


def source(small, scene, band, place):
    """Pixels of the archive's own file where a place lies."""
    left, bottom, right, top = place.footprint.bounds
    with rasterio.open(small / scene.layers[band].file) as file:
        assert file.crs.to_string() == place.footprint.crs and file.res == (10.0, 10.0)
        row, col = round((file.bounds.top - top) / 10), round((left - file.bounds.left) / 10)
        return file.read(1, window=rasterio.windows.Window(col, row, (right - left) // 10, (top - bottom) // 10))


def test_pixels_are_those_of_the_archive_without_the_offset_of_any_baseline(small, planetary):
    _, out, _ = planetary
    corpus, scenes = Shards(out), read_archive(small)
    baselines = set()
    for place in corpus:
        sample, products = corpus.read_sample(place), corpus.attributes(place)["products"]["s2"]
        series = sample.series["s2"]
        for frame, sources in enumerate(products):
            (scene,) = [
                one
                for one in scenes
                if one.sensor == "s2"
                and f"T{one.tile}" in sources[0]["item"]
                and one.seen[:10] == str(series.dates[frame])
                and one.baseline == sources[0]["baseline"]
            ]
            if len(sources) > 1 or not series.valid[frame].all():
                continue
            offset = 1000 if scene.has_offset else 0
            for band in ("B2", "B3", "B4", "B8"):
                expected = np.maximum(source(small, scene, band, place).astype(int) - offset, 1)
                assert np.array_equal(series.values[frame, series.sensor.bands.index(band)], expected)
            baselines.add(scene.baseline)
    assert {"03.01", "04.00", "05.09"} <= baselines


def test_bands_of_20_m_are_stored_at_20_m(planetary):
    _, out, summary = planetary
    for number in range(summary.shards):
        folder = out / f"{number:06d}.zarr"
        halved = json.loads((folder / "s2_halved" / "zarr.json").read_text())
        assert halved["attributes"]["bands"] == ["B5", "B6", "B7", "B8A", "B11", "B12"]
        assert halved["shape"][2:] == [8, 8]
        assert json.loads((folder / "s2" / "zarr.json").read_text())["attributes"]["bands"] == ["B2", "B3", "B4", "B8"]


def test_backscatter_is_that_of_the_archive_in_decibel(small, planetary):
    """Sentinel-1 lies in the next zone: every pixel is the nearest one there."""
    corpus = Shards(planetary[1])
    (place, *_) = corpus
    left, bottom, right, top = place.footprint.bounds
    x, y = np.meshgrid(np.arange(left + 5, right, 10), np.arange(top - 5, bottom, -10))
    x, y = transformer(place.footprint.crs, "EPSG:32616").transform(x, y)
    series, compared = corpus.read_sample(place).series["s1"], 0
    for frame, sources in enumerate(corpus.attributes(place)["products"]["s1"]):
        if len(sources) > 1:
            continue
        (scene,) = [one for one in read_archive(small) if one.sensor == "s1" and _slice(one) in sources[0]["item"]]
        for band, name in enumerate(("VV", "VH")):
            with rasterio.open(small / scene.layers[name].file) as file:
                power = file.read(1)[
                    ((file.bounds.top - y) // 10).astype(int), ((x - file.bounds.left) // 10).astype(int)
                ]
            near = np.abs(series.values[frame, band] - 10 * np.log10(power)) <= 1 / 128 + 1e-5
            assert near.mean() > 0.95  # where a border of pixels is a hair away, GDAL may take the other one
            compared += 1
    assert compared


def _slice(scene):
    return f"1SDV_{scene.name.split('_')[1]}"


def test_mixed_baselines_give_the_reflectances_of_the_other_catalogue(archive, planetary, tmp_path):
    """The one archive holds pixels as the agency distributes them, the other with the offset taken out."""
    settings, out, _ = planetary
    other = replace(settings, catalogues=(catalogue_file(archive, "earth-search", tmp_path),))
    other = replace(other, sample=Settings(cells=16, fewest_s2=1, required=("s2",)))
    curate(other, tmp_path / "corpus")
    ours, theirs = Shards(out), Shards(tmp_path / "corpus")
    for one, two in zip(ours, theirs, strict=True):
        first, second = (corpus.read_sample(place).series["s2"] for corpus, place in ((ours, one), (theirs, two)))
        assert np.array_equal(first.dates, second.dates)
        assert np.array_equal(first.values, second.values) and np.array_equal(first.valid, second.valid)


def test_corpus_says_where_it_comes_from(planetary):
    _, out, summary = planetary
    corpus = Shards(out)
    assert corpus.simulated and len(corpus) == 3 and summary.tally.places == {"stored": 3}
    about = corpus.manifest.about
    assert about["curation"]["years"] == [2022, 2022] and about["curation"]["sample"]["cells"] == 16
    assert "s1" in about["curation"]["sources"] and "CC BY 4.0" in corpus.manifest.licence
    assert any("Catalyst" in one for one in about["attributions"])
    totals = json.loads((out / "account.json").read_text())
    assert totals["places"] == {"stored": 3} and totals["took"]["bytes"] > 100_000
    assert totals["dropped"]["s1"] == {"unusable item": 4}  # one pass without VH; one place lies in both slices of it
    left_out = [one for one in read_account(out, 0).outcomes[0].dropped if one.modality == "s1"]
    assert left_out and all("20220426" in one.item and "vh" in one.detail for one in left_out)
    assert not (out / ".curation").exists()


def test_images_of_other_years_are_taken_where_the_year_has_none(planetary):
    _, out, _ = planetary
    corpus = Shards(out)
    found = {str(corpus.read_sample(one, ["hr"]).series["hr"].dates[0])[:4] for one in corpus if "hr" in one.modalities}
    assert found and found <= {"2021", "2023"}


def test_second_call_does_nothing(archive, planetary):
    settings, out, _ = planetary
    before, requests = hashes(out), sum(archive.counts.requests.values())
    told = []
    again = curate(settings, out, begin=lambda progress: told.append((progress.places_before, progress.blocks_before)))
    assert told == [(3, 2)] and hashes(out) == before and again.tally.places == {"stored": 3}
    assert sum(archive.counts.requests.values()) == requests


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"years": (2021, 2022)}, "years"),
        ({"most_cloud": 10.0}, "most_cloud"),
        ({"sample": Settings(cells=32, fewest_s2=1, fewest_s1=1)}, "sample.cells"),
        ({"places_per_shard": 3}, "places_per_shard"),
    ],
)
def test_other_settings_are_refused_by_name(planetary, change, named):
    settings, out, _ = planetary
    with pytest.raises(ConfigError, match=f"other settings \\({named}: "):
        curate(replace(settings, **change), out)


def test_another_list_of_places_is_refused(planetary, tmp_path):
    settings, out, _ = planetary
    other = places_file(tmp_path, PLACES[:2])
    with pytest.raises(ConfigError, match=r"positions\.places"):
        curate(replace(settings, places=other), out)


def test_progress_goes_on_while_the_index_is_written(planetary):
    settings, out, _ = planetary
    listed = []
    curate(settings, out, progress=lambda told: listed.append((told.listed, told.done)))
    assert listed == [(1, 3), (2, 3)]


def test_any_pace_gives_the_same_corpus(planetary, tmp_path):
    settings, out, _ = planetary
    for at, pace in enumerate([Pace(workers=1, connections=1), Pace(workers=3, connections=9, scratch=tmp_path / "s")]):
        curate(settings, tmp_path / str(at), pace)
        assert hashes(tmp_path / str(at)) == hashes(out)


def test_blocks_done_apart_give_the_same_corpus(planetary, tmp_path):
    settings, out, _ = planetary
    assert curate(settings, tmp_path / "c", blocks=[1]) is None
    assert not (tmp_path / "c" / "shards.json").exists()
    assert curate(settings, tmp_path / "c", blocks=[0]).tally.places == {"stored": 3}
    assert hashes(tmp_path / "c") == hashes(out)
    with pytest.raises(ConfigError, match=r"no block 2; blocks are 0 \.\. 1"):
        curate(settings, tmp_path / "c", blocks=[2])


def test_order_in_which_places_finish_does_not_matter(planetary, tmp_path):
    """One place is held up so that those of later blocks finish before it."""
    settings, out, _ = planetary

    ended = []
    usual = PlaceMaker.make

    def make(self, position):
        outcome = usual(self, position)
        if position.number == 0:
            while len(ended) < 2:
                time.sleep(0.01)
        ended.append(position.number)
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlaceMaker, "make", make)
        curate(settings, tmp_path / "c")
    assert ended[-1] == 0 and hashes(tmp_path / "c") == hashes(out)
