"""What a corpus holds is counted right, and drawn."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from skysense.data.shards.read import Shards
from skysense.data.shards.show import _picture, draw, summary
from skysense.data.shards.write import Entry
from skysense.errors import InputError
from skysense.sensors import SENTINEL2_L2A
from tests.data.places_samples import make_sample
from tests.data.shards.corpora import cut, entries, write_corpus


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards") / "corpus"
    wide = replace(make_sample("wide", width=12, frames=2).only(["s2"]))
    undated = make_sample("undated", frames=1).only(["s1"])
    undated = replace(undated, series={"s1": replace(undated.series["s1"], dates=np.array(["NaT"], "datetime64[D]"))})
    write_corpus(root, [*entries(3), Entry(wide), Entry(undated, "test")])
    return root


def test_everything_is_counted(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    corpus = Shards(root)
    found = summary(corpus, lambda *now: seen.append(now))
    assert found.places == 5 and found.splits == {"none": 1, "train": 2, "val": 1, "test": 1}
    assert found.modalities == {"hr": 3, "s2": 4, "s1": 4}
    assert found.frames == {"hr": (1, 1, 1), "s2": (2, 5, 5), "s1": (1, 5, 5)}
    assert found.sizes == {(4, 8): 4, (4, 12): 1}
    # three places of five frames every third day from 27 February, and one of two
    assert found.months == {
        (2019, 7, "hr"): 3,
        (2020, 2, "s1"): 3,
        (2020, 2, "s2"): 4,
        (2020, 3, "s1"): 12,
        (2020, 3, "s2"): 13,
    }
    assert found.shards == 3 and found.bytes == sum(shard.bytes for shard in corpus.manifest.shards)
    assert found.arrays["hr"].raw == 3 * 3 * 128 * 256
    assert found.arrays["s2"].raw == 2 * 10 * 4 * (15 * 8 + 2 * 12)
    assert found.arrays["hr_valid"].raw == 3 * 128 * 256 and found.arrays["hr_valid"].ratio > 5
    files = (file for file in root.glob("*.zarr/hr/**/*") if file.is_file())
    assert found.arrays["hr"].stored == sum(file.stat().st_size for file in files)
    assert found.unreadable == {} and seen == [(1, 3), (2, 3), (3, 3)]


def test_a_view_counts_its_own_places(root: Path) -> None:
    found = summary(Shards(root).select(split="val"))
    assert found.places == 1 and found.months[2020, 2, "s2"] == 1 and found.sizes == {(4, 8): 1}


def test_a_shard_that_cannot_be_read_is_named(root: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "other"))
    cut(other / "000001.zarr" / "zarr.json")
    found = summary(Shards(other))
    assert list(found.unreadable) == ["000001"] and "is not valid JSON" in found.unreadable["000001"]
    assert found.places == 5


def test_the_clearest_frame_is_shown_in_true_colour(tmp_path: Path) -> None:
    sample = make_sample("a")
    values = np.full((5, 10, 4, 8), 300, np.uint16)
    values[2, SENTINEL2_L2A.bands.index("B4")] = 1500
    values[2, SENTINEL2_L2A.bands.index("B2"), :, 4:] = 750
    valid, clear = np.ones((5, 4, 8), bool), np.zeros((5, 4, 8), bool)
    clear[2, :, 1:] = True
    valid[2, :, 0] = False
    series = replace(sample.series["s2"], values=values, valid=valid, clear=clear)
    corpus = write_corpus(tmp_path, [Entry(replace(sample, series={"s2": series}))])
    image, day = _picture(corpus, corpus[0], "s2")
    assert day == str(series.dates[2]) and image.shape == (4, 8, 3)
    assert image[0, 0].tolist() == [128, 128, 128]
    assert image[0, 1].tolist() == [255, 51, 51]
    assert image[0, 5].tolist() == [255, 51, 128]


def test_large_images_are_thinned_out(tmp_path: Path) -> None:
    sample = make_sample("a", height=20, width=17).only(["hr"])
    corpus = write_corpus(tmp_path, [Entry(sample)])
    image, _ = _picture(corpus, corpus[0], "hr")
    np.testing.assert_array_equal(image, np.moveaxis(sample.series["hr"].values[0, :, ::2, ::2], 0, -1))


def test_a_corpus_is_drawn(root: Path, tmp_path: Path) -> None:
    draw(Shards(root), tmp_path / "corpus.png")
    with rasterio.open(tmp_path / "corpus.png") as picture:
        assert picture.width > 500 and picture.height > picture.width / 3
        assert picture.read().std() > 10


def test_places_that_cannot_be_read_are_passed_over(root: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "other"))
    cut(other / "000000.zarr" / "hr" / "c" / "0" / "0" / "0" / "0")
    draw(Shards(other).select(where=lambda place: "hr" in place.modalities), tmp_path / "corpus.png")
    with pytest.raises(InputError, match=r"no place can be read; the first: .*000000\.zarr"):
        draw(Shards(other).select(where=lambda place: place.name in ("p0", "p1")), tmp_path / "other.png")
    with pytest.raises(InputError, match="no place can be read"):
        draw(Shards(other).select(where=lambda place: False), tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()
