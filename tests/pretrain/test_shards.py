"""Learning from shards: the same views as from folders, of which only what they show is read."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from skysense.data.corpus import open_corpus
from skysense.data.earth import simulate
from skysense.data.outline import Outline
from skysense.data.places import Places
from skysense.data.shards.layout import Manifest
from skysense.data.shards.read import Shards
from skysense.data.shards.shard import Shard
from skysense.data.shards.write import Entry, ShardWriter
from skysense.errors import ConfigError, InputError
from skysense.geo import Window
from skysense.observation import Sample
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.config import ObjectiveConfig, PretrainConfig, ProbeConfig, ViewConfig
from skysense.pretrain.loop import open_stream, pretrain, region_table
from skysense.pretrain.probing import open_probe
from skysense.sensors import Modality
from tests.data.shards.stores import quick_tries, serve

CONFIG = PretrainConfig(
    steps=4,
    batch_size=4,
    views=ViewConfig(global_cells=4, local_cells=4, local_crops=1, s2_frames=3, s1_frames=2),
    objective=ObjectiveConfig(pixel_cells=4, object_clusters=2, memory_rows=50),
    checkpoint_every=2,
    watch_every=2,
)


def write_shards(samples: Iterator[tuple[Any, Sample]], out: Path, places_per_shard: int) -> Path:
    writer = ShardWriter(out, Manifest("shards", simulated=True), places_per_shard)
    for place, sample in samples:
        writer.add(Entry(sample, place.split, place.attributes))
    writer.finish()
    return out


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earth")
    simulate(folder, regions=2, places_per_region=4, footprint_cells=8, split={"train": 0.5, "val": 0.5})
    return folder


@pytest.fixture(scope="module")
def shards(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(Places(folders).samples(), tmp_path_factory.mktemp("shards") / "corpus", 3)


def same(first: Any, second: Any) -> bool:
    """Whether two batches, or parts of them, are equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if hasattr(first, "__dict__"):
        return same(vars(first), vars(second))
    return bool(np.array_equal(first, second))


def names(batch: ViewBatch | None) -> list[str]:
    return [] if batch is None else batch.globals.names[::2]


def test_shards_give_the_batches_that_folders_give(folders: Path, shards: Path) -> None:
    places, corpus = Places(folders), Shards(shards)
    assert len(set(corpus.likeness.tolist())) > 1  # series of several lengths, so that alone the order would differ
    ours = open_stream(CONFIG, corpus, region_table(CONFIG, corpus))
    theirs = open_stream(CONFIG, places, region_table(CONFIG, places))
    ours.likeness = None
    order = {place.name: at for at, place in enumerate(places)}
    assert [order[place.name] for place in corpus] == list(range(len(places)))
    for step in range(6):
        first, second = ours.batch(step), theirs.batch(step)
        assert first is not None
        assert same(first, second)
    theirs.seed += 1
    assert not same(ours.batch(0), theirs.batch(0))


def test_only_what_the_views_show_is_read(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Shards(shards)
    asked: list[tuple[Modality, int, Window]] = []
    honest = Shard.pixels

    def pixels(self: Shard, modality: Modality, rows: Any, window: Window) -> Any:
        asked.append((modality, len(rows), window))
        return honest(self, modality, rows, window)

    monkeypatch.setattr(Shard, "pixels", pixels)
    stream = open_stream(CONFIG, corpus, region_table(CONFIG, corpus))
    assert stream.batch(0) is not None
    assert asked
    sides = {"hr": 32, "s2": 1, "s1": 1}
    for modality, frames, window in asked:
        # two global views that overlap by half of their width at least, each of at most so many frames
        reach = 2 * CONFIG.views.global_cells - max(1, round(CONFIG.views.overlap * CONFIG.views.global_cells))
        assert max(window.height, window.width) <= reach * sides[modality]
        assert frames <= 3 * {"hr": 1, "s2": 3, "s1": 2}[modality]
    frames_of_whole = max(len(corpus.read_dates(place, "s2")) for place in corpus)
    assert frames_of_whole > 9


def test_an_outline_takes_no_memory_for_pixels_and_fetches_them(folders: Path, shards: Path) -> None:
    places, corpus = Places(folders), Shards(shards)
    outline = corpus.outline(corpus[0])
    assert isinstance(outline, Outline)
    whole = places.read_sample(places[0])
    for key, series in outline.sample.series.items():
        assert series.values.shape == whole.series[key].values.shape
        assert series.values.dtype == whole.series[key].values.dtype
        assert series.values.base is not None
        assert series.values.strides == (0, 0, 0, 0)
        np.testing.assert_array_equal(series.dates, whole.series[key].dates)
        np.testing.assert_array_equal(series.valid, whole.series[key].valid)
    window = Window(3, 1, 5, 6)
    part = outline.in_region(41).fetch(window, {"s2": np.array([1, 4])})
    assert part.region == 41
    assert list(part.series) == ["s2"]
    np.testing.assert_array_equal(part.series["s2"].values, whole.series["s2"].crop(window).values[[1, 4]])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2])
def test_what_is_left_of_an_epoch_is_the_same_for_any_ranks_and_workers(shards: Path, ranks: int, workers: int) -> None:
    corpus = Shards(shards)
    regions = region_table(CONFIG, corpus)
    whole = open_stream(CONFIG, corpus, regions)
    expected = [names(whole.batch(step)) for step in range(8)]
    assert expected[0] != expected[3]  # another epoch, another order
    streams = [
        open_stream(CONFIG, Shards(shards), regions, rank=rank, ranks=ranks, workers=workers) for rank in range(ranks)
    ]
    resumed_at = 5  # the second half of the fifth epoch: two steps make one
    runs = [dict(stream.run(resumed_at, 8)) for stream in streams]
    for step in range(resumed_at, 8):
        assert [name for run in runs for name in names(run[step])] == expected[step]


def test_a_missing_shard_is_left_out_alike_counted_and_named(folders: Path, shards: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(shards, tmp_path / "damaged")
    lost = [place.name for place in Shards(shards)][3:6]
    shutil.rmtree(damaged / "000001.zarr")
    with pytest.warns(UserWarning, match="1 shards are not there .000001.; left out 3 places"):
        corpus = Shards(damaged)
    assert [failure.place for failure in corpus.failures] == lost
    assert all("000001.zarr" in failure.message for failure in corpus.failures)
    regions = region_table(CONFIG, corpus)
    alone = open_stream(CONFIG, corpus, regions)
    both = [open_stream(CONFIG, corpus, regions, rank=rank, ranks=2) for rank in range(2)]
    for step in range(4):
        seen = names(alone.batch(step))
        assert seen == [name for stream in both for name in names(stream.batch(step))]
        assert not set(seen) & set(lost)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = pretrain(replace(CONFIG, steps=2), Shards(damaged), tmp_path / "run", device="cpu")
    assert set(outcome.skipped) == set(lost)


def test_a_broken_shard_costs_its_places_and_nothing_else(shards: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(shards, tmp_path / "broken")
    (broken / "000000.zarr" / "zarr.json").write_text("{")
    lost = [place.name for place in Shards(shards)][:3]
    corpus = Shards(broken)
    regions = region_table(CONFIG, corpus)
    healthy = open_stream(CONFIG, Shards(shards), regions)
    ranks = [open_stream(CONFIG, Shards(broken), regions, rank=rank, ranks=2, workers=2) for rank in range(2)]
    steps = 2 * (8 // 4)
    for step in range(steps):
        kept = [name for name in names(healthy.batch(step)) if name not in lost]
        assert [name for stream in ranks for name in names(stream.batch(step))] == kept
    reasons = {corpus[index].name: reason for stream in ranks for index, reason in stream.failed.items()}
    assert set(reasons) == set(lost)
    assert all("000000.zarr" in reason for reason in reasons.values())


def test_a_bucket_that_does_not_answer_for_a_moment_costs_no_place_for_good(shards: Path) -> None:
    with serve() as server, quick_tries(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        for file in shards.rglob("*"):
            if file.is_file():
                server.objects[f"bucket/corpus/{file.relative_to(shards)}"] = file.read_bytes()
        stream = open_stream(CONFIG, Shards("s3://bucket/corpus"), region_table(CONFIG, Shards(shards)))
        server.broken = 503
        assert stream.batch(0) is None
        assert (len(stream.left_out), stream.failed) == (4, {})
        server.broken = 0
        healthy = open_stream(CONFIG, Shards(shards), region_table(CONFIG, Shards(shards)))
        assert names(stream.batch(0)) == names(healthy.batch(0)) != []


class Stop(Exception):
    pass


def test_a_run_on_shards_that_was_cut_off_ends_like_one_that_was_not(shards: Path, tmp_path: Path) -> None:
    def cut_off(step: int, _: dict[str, float]) -> None:
        if step == 2:
            raise Stop

    corpus = Shards(shards).for_training()
    assert 0 < len(corpus) < len(Shards(shards))
    whole = pretrain(CONFIG, corpus, tmp_path / "whole", device="cpu")
    with pytest.raises(Stop):
        pretrain(CONFIG, corpus, tmp_path / "parts", device="cpu", on_step=cut_off)
    rest = pretrain(replace(CONFIG, workers=2), Shards(shards).for_training(), tmp_path / "parts", device="cpu")
    assert (rest.resumed_from, rest.steps) == (2, 4)
    first, second = load_file(whole.model), load_file(rest.model)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_corpus_is_opened_for_what_it_is(folders: Path, shards: Path) -> None:
    assert isinstance(open_corpus(folders), Places)
    assert isinstance(open_corpus(str(shards)), Shards)


def test_shards_have_nothing_to_probe(shards: Path) -> None:
    with pytest.raises(ConfigError, match=r"name a folder of labelled places, probe\.data"):
        open_probe(ProbeConfig(every=1), Shards(shards))


def test_neither_folders_nor_shards(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a folder of places nor a corpus of shards.*docs/shards\.md"):
        open_corpus(tmp_path)
