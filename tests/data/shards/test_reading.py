"""What is read from shards is what was written: any place, window and frames, by us and by other programs."""

from __future__ import annotations

import io
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import kit_to_places
from skysense.data.earth import simulate
from skysense.data.places import Places
from skysense.data.shards.compose import observed_share
from skysense.data.shards.convert import convert
from skysense.data.shards.layout import index_dtype, rows_to_bytes
from skysense.data.shards.read import Shards
from skysense.data.shards.write import Entry, write_manifest, write_shard
from skysense.errors import InputError
from skysense.geo import Footprint, RegionTable, Window, region_cell
from skysense.observation import Series
from skysense.sensors import MODALITIES, SENTINEL2_10M
from tests.data.places_samples import assert_same, make_sample
from tests.data.shards.corpora import MANIFEST, assert_sample, entries, samples, windows, write_corpus


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards") / "corpus"
    write_corpus(root, entries())
    return root


@pytest.fixture
def corpus(root: Path) -> Shards:
    return Shards(root)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_window_and_frames_of_any_places_equal_a_cut_of_what_was_written(data: st.DataObject) -> None:
    written = [data.draw(samples(f"p{number}")) for number in range(data.draw(st.integers(1, 5)))]
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(folder, [Entry(one) for one in written], data.draw(st.integers(1, 4)))
        by_name = {place.name: place for place in corpus}
        assert len(by_name) == len(written)
        for sample in written:
            place = by_name[sample.name]
            assert place.modalities == tuple(sample.series) and place.cells == sample.grid
            assert_sample(corpus.read_sample(place), sample)
            window = data.draw(windows(sample.grid))
            frames = {
                key: sorted(data.draw(st.sets(st.integers(0, len(one.dates) - 1), min_size=1)))
                for key, one in sample.series.items()
            }
            read = corpus.read_sample(place, window=window, frames=frames)
            outline = corpus.outline(place)
            fetched = outline.fetch(window, {key: np.array(chosen) for key, chosen in frames.items()})
            for key, series in sample.series.items():
                wanted = series.take(frames[key]).crop(window)
                assert_same(read.series[key], wanted)
                assert_same(fetched.series[key], wanted)
                np.testing.assert_array_equal(corpus.read_dates(place, key), series.dates)
                if key != "hr":
                    assert_same(replace(outline.sample.series[key], values=series.values), series)


def test_what_is_known_of_a_place_comes_back(corpus: Shards) -> None:
    assert (corpus.title, corpus.simulated, corpus.manifest.source, corpus.manifest.licence) == (
        "Test",
        True,
        "here",
        "CC0",
    )
    assert len(corpus) == 5 and [shard.places for shard in corpus.manifest.shards] == [2, 2, 1]
    for place, entry in zip(corpus, entries(), strict=True):
        assert (place.name, place.split, corpus.attributes(place)) == (
            entry.sample.name,
            entry.split,
            entry.attributes,
        )
        assert (place.lon, place.lat, place.footprint) == (entry.sample.lon, entry.sample.lat, entry.sample.footprint)


def test_a_footprint_is_cut_with_the_window(tmp_path: Path) -> None:
    ground = Footprint((500_000.0, 5_000_000.0, 500_080.0, 5_000_040.0), "EPSG:32632")
    corpus = write_corpus(tmp_path, [Entry(make_sample("a", lon=9.0, lat=45.2, footprint=ground))])
    assert corpus.read_sample(corpus[0]).footprint == ground
    cut = corpus.read_sample(corpus[0], ["s2"], Window(1, 2, 2, 4)).footprint
    assert cut == Footprint((500_020.0, 5_000_010.0, 500_060.0, 5_000_030.0), "EPSG:32632")


def test_frames_may_be_chosen_by_date_and_a_sensor_that_is_not_there_is_left_out(corpus: Shards) -> None:
    read = corpus.read_sample(corpus[1], ["s2"], frames=lambda key, dates: np.flatnonzero(dates > dates[2]))
    assert list(read.series) == ["s2"]
    assert_same(read.series["s2"], make_sample("p1", seed=1).series["s2"].take([3, 4]))


@pytest.mark.parametrize("frames", [[], [3, 1], [0, 0], [5], [-1]])
def test_frames_that_are_not_there_or_not_in_order_are_refused(corpus: Shards, frames: list[int]) -> None:
    with pytest.raises(InputError, match=r"frames .* must ascend within 0 .. 4"):
        corpus.read_sample(corpus[0], frames={"s2": frames})


def test_a_window_off_the_place_and_a_sensor_nobody_has_are_refused(corpus: Shards, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leaves the place of 4 x 8 cells"):
        corpus.read_sample(corpus[0], window=Window(2, 0, 3, 1))
    only = write_corpus(tmp_path, [Entry(make_sample("a").only(["s1"]))])
    with pytest.raises(InputError, match="holds none of hr"):
        only.read_sample(only[0], ["hr"])


def test_one_missing_pixel_of_a_large_image_is_known() -> None:
    valid = np.ones((3, 6016, 6016), bool)
    valid[0, 6000, 17] = False
    valid[1] = False
    values = np.broadcast_to(np.uint16(0), (3, len(SENTINEL2_10M.bands), 6016, 6016))
    series = Series(SENTINEL2_10M, values, np.arange("2020-01-01", "2020-01-04", dtype="datetime64[D]"), valid)
    most, none, every = observed_share(series).tolist()
    assert 0.9999 < most < 1 and none == 0 and every == 1


def test_plain_zarr_reads_every_array(root: Path) -> None:
    group = zarr.open_group(root / "000000.zarr", mode="r")
    first, second = make_sample("p0", seed=0), make_sample("p1", seed=1)
    found = dict(group.arrays())
    assert {name.split("_")[0] for name in found} == {"hr", "s2", "s1"} and len(found) == 13
    for key in ("hr", "s2", "s1"):
        one, other = first.series[key], second.series[key]
        array = found[key]
        np.testing.assert_array_equal(array[:], np.concatenate([one.values, other.values]))
        assert array.metadata.dimension_names == ("frame", "band", "y", "x")
        assert array.attrs["bands"] == list(one.sensor.bands) and array.attrs["unit"] == str(one.sensor.unit)
        np.testing.assert_array_equal(found[f"{key}_valid"][:], np.concatenate([one.valid, other.valid]))
        days = np.concatenate([one.dates, other.dates]).astype(np.int64)
        np.testing.assert_array_equal(found[f"{key}_date"][:], days)
        assert found[f"{key}_date"].attrs["units"] == "days since 1970-01-01"
        shares = np.concatenate([one.valid, other.valid]).mean((1, 2))
        np.testing.assert_allclose(found[f"{key}_observed"][:], shares, rtol=1e-6)
        assert found[f"{key}_valid"].metadata.dimension_names == ("frame", "y", "x")
    clear = np.concatenate([first.series["s2"].clear, second.series["s2"].clear])
    np.testing.assert_array_equal(found["s2_clear"][:], clear)
    assert found["s2_clear"].attrs["flag_meanings"] == "cloudy clear unknown"


def test_bands_that_repeat_their_pixels_are_stored_once(tmp_path: Path) -> None:
    sample = make_sample("a", width=6)
    values = sample.series["s2"].values.copy()
    values[:, 3:] = values[:, 3:, ::2, ::2].repeat(2, 2).repeat(2, 3)
    series = {"s2": replace(sample.series["s2"], values=values)}
    corpus = write_corpus(tmp_path, [Entry(replace(sample, series=series))])
    group = zarr.open_group(tmp_path / "000000.zarr", mode="r")
    assert group["s2"].shape == (5, 3, 4, 6) and group["s2_halved"].shape == (5, 7, 2, 3)
    assert group["s2_halved"].attrs["bands"] == list(series["s2"].sensor.bands[3:])
    np.testing.assert_array_equal(group["s2_halved"][:], values[:, 3:, ::2, ::2])
    assert_same(corpus.read_sample(corpus[0]).series["s2"], series["s2"])


def test_zeros_of_two_signs_stay_apart(tmp_path: Path) -> None:
    sample = make_sample("a", width=6)
    values = np.full((5, 2, 4, 6), 0, np.float32) - 5
    values[:, 0, :2, :2] = [[0.0, -0.0], [0.0, 0.0]]
    series = {"s1": replace(sample.series["s1"], values=values, valid=np.ones((5, 4, 6), bool))}
    corpus = write_corpus(tmp_path, [Entry(replace(sample, series=series))])
    read = corpus.read_sample(corpus[0]).series["s1"].values
    np.testing.assert_array_equal(np.signbit(read), np.signbit(values))


def test_several_threads_and_other_processes_read_alike(corpus: Shards) -> None:
    alone = [corpus.read_sample(place) for place in corpus]
    copies = [Shards(corpus.root, workers=4), pickle.loads(pickle.dumps(corpus))]
    for copy in copies:
        with ThreadPoolExecutor(4) as pool:
            for place, read in zip([*copy] * 3, pool.map(copy.read_sample, [*copy] * 3), strict=True):
                assert_sample(read, alone[place.row])
    assert isinstance(pickle.loads(pickle.dumps(corpus[0])).row, int)


def test_a_selection_keeps_the_regions_and_the_places(root: Path, tmp_path: Path) -> None:
    far = Entry(make_sample("far", lon=100.0, lat=20.0), "test")
    corpus = write_corpus(tmp_path, [*entries(3), far, Entry(make_sample("nowhere", lon=None, lat=None))])
    assert corpus.regions.cells == tuple(sorted([region_cell(11.58, 48.14), region_cell(100.0, 20.0)]))
    chosen = corpus.select(split="test")
    assert [place.name for place in chosen] == ["far"] and len(corpus) == 5
    assert chosen.regions.cells == corpus.regions.cells
    assert chosen.read_sample(chosen[0]).region == corpus.regions.slot(100.0, 20.0)
    assert corpus.read_sample(corpus[4]).region is None
    again = corpus.select(where=lambda place: place.lon is None)
    assert [place.name for place in again] == ["nowhere"] and len(again.index) == 1
    table = RegionTable([7])
    given = Shards(tmp_path, regions=table)
    assert given.regions is table and given.read_sample(given[0]).region is None


def test_places_of_one_likeness_have_the_same_sensors_and_frames(tmp_path: Path) -> None:
    kinds = [make_sample("a", frames=2), make_sample("b", frames=3), make_sample("c", frames=2).only(["s2"])]
    corpus = write_corpus(tmp_path, [Entry(one) for one in [*kinds, replace(kinds[0], name="d")]], 4)
    likeness = {place.name: int(corpus.likeness[at]) for at, place in enumerate(corpus)}
    assert likeness["a"] == likeness["d"] and len(set(likeness.values())) == 3


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.tuples(*[st.sampled_from([0, 0, 1, 2, 7, 60, 2_000_000])] * 3), min_size=1, max_size=12),
    chosen=st.integers(1, 12),
)
def test_likeness_sorts_by_sensors_first_and_then_by_frames(counts: list[tuple[int, int, int]], chosen: int) -> None:
    rows = np.zeros(len(counts), index_dtype())
    for at, modality in enumerate(MODALITIES):
        rows[f"{modality}_frames"] = [one[at] for one in counts]
    corpus = Shards.of_rows("nowhere", MANIFEST, rows)
    corpus._order = np.arange(len(counts))[:chosen]
    wanted = [(*(count > 0 for count in one), *(min(count, 2**20 - 1) for count in one)) for one in counts[:chosen]]
    found = corpus.likeness
    assert found.dtype == np.int64 and found.min() >= 0
    assert [[a < b for b in found.tolist()] for a in found.tolist()] == [[a < b for b in wanted] for a in wanted]


def test_parts_of_an_index_with_texts_of_any_length_become_one(tmp_path: Path) -> None:
    ground = Footprint((500_000.0, 5_000_000.0, 500_080.0, 5_000_040.0), "EPSG:32632")
    samples = [make_sample("a", lon=9.0, lat=45.2, footprint=ground), make_sample("a-long-name", seed=1)]
    written = [write_shard(tmp_path, f"00000{at}", [Entry(one)]) for at, one in enumerate(samples)]
    parts = [rows for _, rows in written]
    before = [part.tobytes() for part in parts]
    write_manifest(tmp_path, replace(MANIFEST, shards=tuple(info for info, _ in written)), iter(parts))
    content = (tmp_path / "places.npy").read_bytes()
    assert content == rows_to_bytes(parts, [0, 1])
    rows = np.load(tmp_path / "places.npy")
    buffer = io.BytesIO()
    np.save(buffer, rows)
    assert content == buffer.getvalue()  # as any other program writes it
    assert rows["name"].tolist() == [b"a", b"a-long-name"] and rows["crs"].tolist() == [b"EPSG:32632", b""]
    assert rows["shard"].tolist() == [0, 1] and [part.tobytes() for part in parts] == before


def test_an_index_may_leave_some_places_of_a_shard_out(tmp_path: Path) -> None:
    info, rows = write_shard(tmp_path, "000000", entries(3))
    write_manifest(tmp_path, replace(MANIFEST, shards=(replace(info, places=2),)), [rows[[0, 2]]])
    corpus = Shards(tmp_path)
    assert [place.name for place in corpus] == ["p0", "p2"]
    assert_sample(corpus.read_sample(corpus[1]), entries(3)[2].sample)
    assert corpus.attributes(corpus[1]) == {"row": 2}


def test_simulated_places_come_back(tmp_path: Path) -> None:
    simulate(tmp_path / "places", regions=1, places_per_region=3, seed=4, footprint_cells=8)
    places = Places(tmp_path / "places")
    convert([tmp_path / "places"], tmp_path / "corpus", places_per_shard=2)
    _assert_equal(Shards(tmp_path / "corpus"), places)


def test_places_of_real_imagery_come_back(kit: Path, tmp_path: Path) -> None:
    for name in ("treesat", "crop_patches"):
        kit_to_places.convert(kit, tmp_path / "places", (name,))
        places = Places(tmp_path / "places" / name)
        convert([places.root], tmp_path / name, places_per_shard=8)
        _assert_equal(Shards(tmp_path / name), places)


def _assert_equal(corpus: Shards, places: Places) -> None:
    by_name = {place.name: place for place in corpus}
    assert len(by_name) == len(places) > 0
    for place in places:
        found = by_name[place.name]
        assert_sample(corpus.read_sample(found), places.read_sample(place))
        assert (found.split, corpus.attributes(found)) == (place.split, place.attributes)
