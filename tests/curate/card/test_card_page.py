"""The card as a page: what it says is what the corpus holds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skysense.curate.card import coverage, page
from skysense.curate.card.page import card, write_card
from skysense.curate.card.sheet import clearest, thumbnails
from skysense.curate.land import Land
from skysense.data.shards.write import Entry
from skysense.errors import ConfigError, OutputError
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR
from tests.curate.card.makers import Page, corpus, entries, series

EVIL = "<script>alert('x')</script>\"&"
DAY = np.array(["2021-06-12"], "datetime64[D]")


@pytest.fixture(autouse=True)
def _simple_land(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "land", lambda: Land(np.array([0, 21600 * 43200 // 2], np.int32)))


def headings(found: Page) -> list[str]:
    return [word for word in found.words if word in ("What it looks like", "Where", "When", "Account", "Products")]


def test_numbers_on_the_page_equal_those_of_plain_loops(tmp_path: Path) -> None:
    made = entries(5)
    found = Page(card(corpus(tmp_path / "c", made)).html())
    assert found.table("split") == [["train", "4", "80.0 %", "4"], ["val", "1", "20.0 %", "1"]]
    frames = sum(len(entry.sample.series["s2"].dates) for entry in made)
    assert found.table("imagery", "places") == [
        ["Image", "5", "5"],
        ["Sentinel-2", "5", str(frames)],
        ["Sentinel-1", "5", str(frames)],
    ]
    seen = {
        key: np.concatenate([entry.sample.series[key].valid.ravel() for entry in made]) for key in ("hr", "s2", "s1")
    }
    clear = np.concatenate([entry.sample.series["s2"].clear.ravel() for entry in made])  # type: ignore[union-attr]
    cloud = 100 * (seen["s2"] & ~clear).sum() / seen["s2"].sum()
    assert found.table("sensor", "frames looked at") == [
        ["optical-hr", "5", "0", f"{100 * seen['hr'].mean():.2f} %", ""],
        ["sentinel-2-l2a", str(frames), "0", f"{100 * seen['s2'].mean():.2f} %", f"{cloud:.1f} %"],
        ["sentinel-1-grd", str(frames), "0", f"{100 * seen['s1'].mean():.2f} %", ""],
    ]
    vv = np.concatenate([s.values[:, 0][s.valid] for s in (entry.sample.series["s1"] for entry in made)]).astype(float)
    bands = {row[0]: row[1:3] for table in found.tables if table[0][0] == "band" for row in table[1:]}
    assert bands["VV"] == [f"{vv.mean():.4g}", f"{vv.std():.4g}"]
    assert len(bands) == 15
    assert found.facts["places"] == "5 in 3 shards"
    assert found.facts["ground of a place"] == "40 × 40 m"
    dates = np.concatenate([one.dates for entry in made for one in entry.sample.series.values()])
    assert found.facts["time"] == f"{str(dates.min())[:7]} to {str(dates.max())[:7]}"
    assert "are those of all places." in found.text


def test_bytes_are_those_of_the_shards_and_of_all_pixel_values(tmp_path: Path) -> None:
    made = entries(5, ("s2",))
    opened = corpus(tmp_path / "c", made)
    stored = sum(shard.bytes for shard in opened.manifest.shards)
    raw = sum(entry.sample.series["s2"].values.nbytes for entry in made)
    for sample in (5, 2):
        facts = Page(card(opened, sample=sample).html()).facts
        assert facts["stored"].endswith(f"{stored / 5000:.3g} kB a place")
        assert facts["compression"] == f"{raw / stored:.2f} : 1 ({raw / 1000:.3g} kB of pixel values)"


def test_a_sample_is_bounded_seeded_and_told(tmp_path: Path) -> None:
    opened = corpus(tmp_path / "c", entries(6, ("s2",)))
    steps: list[tuple[int, int]] = []
    first = card(opened, sample=3, seed=1, progress=lambda done, total: steps.append((done, total))).html()
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert "a sample of 3 of the 6 places, drawn with seed 1" in Page(first).text
    assert Page(first).table("imagery", "places") == [["Sentinel-2", "6", "18"]]  # the index knows all of them
    assert first == card(opened, sample=3, seed=1).html()
    chosen = np.sort(np.random.default_rng(1).choice(6, 3, replace=False))
    frames = sum(2 + index % 3 for index in chosen.tolist())
    assert Page(first).table("sensor", "frames looked at")[0][1] == str(frames)


def test_of_a_large_image_the_middle_is_counted(tmp_path: Path) -> None:
    side = 20 * 32
    values = np.full((1, 3, side, side), 7, np.uint8)
    values[:, :, 64:-64, 64:-64] = 200
    image = Series(OPTICAL_HR, values, DAY, np.ones((1, side, side), bool))
    made = [Entry(Sample(f"p{index}", {"hr": image})) for index in range(14)]
    found = Page(card(corpus(tmp_path / "c", made, per_shard=14)).html())
    rows = found.table("band")
    assert [row[:3] for row in rows] == [["R", "200", "0"], ["G", "200", "0"], ["B", "200", "0"]]
    assert f"{14 * (16 * 32) ** 2:,} pixels a band" in found.text
    assert "its middle, 16 × 16 cells" in found.text


def test_a_band_far_off_the_statistics_is_pointed_out_and_others_are_not(tmp_path: Path) -> None:
    far = Page(card(corpus(tmp_path / "far", entries(3, ("s1",), off=1.5))).html())
    warning = next(note for note in far.notes if "sentinel-1-grd" in note)
    assert "2 bands" in warning
    assert re.search(r"VV \+1\.\d\d, VH \+1\.\d\d", warning)
    near = Page(card(corpus(tmp_path / "near", entries(3, ("s1",)))).html())
    assert not any("sentinel-1-grd" in note for note in near.notes)


def test_names_and_settings_are_text_and_never_markup_and_nothing_is_fetched(tmp_path: Path) -> None:
    about = {
        "curation": {
            "catalogues": {"a": 1},
            "area": EVIL,
            "years": [2019, 2021],
            "sampling": {"seed": 3},
            "budget": None,
        },
        "command": EVIL,
        "attributions": [EVIL],
        "account": {
            "asked": 1200,
            "places": {"no imagery": 3, EVIL: 7, "stored": 1200},
            "dropped": {"s2": {"offset unknown": 2, "clouds": 9}, "s1": {EVIL: 1}},
        },
        "finished": EVIL,
    }
    attributes = {"products": {"s2": [[{"item": "a", "baseline": EVIL}]] * 2}, "licences": {"s2": EVIL}}
    made = [replace(entry, attributes=attributes) for entry in entries(1, ("s2",))]
    opened = corpus(tmp_path / "c", made, title=EVIL, source=EVIL, licence=EVIL, about=about)
    html = card(opened).html()
    found = Page(html)
    assert "script" not in {tag for tag, _ in found.tags}
    assert found.table("setting") == [
        ["area", EVIL],
        ["years", "2019, 2021"],
        ["sampling.seed", "3"],
        ["budget", "none"],
    ]
    assert found.facts["asked"] == "1,200"
    assert found.table("what became of them") == [["stored", "1,200"], [EVIL, "7"], ["no imagery", "3"]]
    assert "Places, 1,210 in all" in found.words
    dropped = [["s2", "clouds", "9"], ["s2", "offset unknown", "2"], ["s1", EVIL, "1"]]
    assert found.table("sensor", "what became of them") == dropped
    assert found.table("sensor", "property") == [["sentinel-2-l2a", "processing baseline", f"{EVIL} (2)"]]
    assert f"• {EVIL}" in found.words
    assert found.table("sensor", "licence and attribution, as places state it") == [["sentinel-2-l2a", EVIL, "1"]]
    assert found.facts["finished"] == EVIL
    assert EVIL in found.words  # the command
    for _, attrs in found.tags:
        assert "href" not in attrs
        assert (attrs.get("src") or "data:").startswith("data:image/png;base64,") or "src" not in attrs
    assert not re.search(r"url\(|@import|https?://", re.sub(r'src="[^"]*"', "", html))
    assert all(attrs.get("alt") for tag, attrs in found.tags if tag == "img")


def test_a_corpus_without_places_has_a_card(tmp_path: Path) -> None:
    found = Page(card(corpus(tmp_path / "c", [], about={"account": {"asked": 3, "places": {"no imagery": 3}}})).html())
    assert found.notes[-1] == "The corpus holds no place."
    assert headings(found) == ["Products", "Account"]
    assert found.table("what became of them") == [["no imagery", "3"]]


def test_a_single_place_with_one_image_has_a_card(tmp_path: Path) -> None:
    found = Page(card(corpus(tmp_path / "c", entries(1, ("hr",)))).html())
    assert found.facts["places"] == "1 in 1 shard"
    assert found.table("imagery", "places") == [["Image", "1", "1"]]
    assert headings(found) == ["What it looks like", "Where", "When", "Products"]


def test_places_without_a_position_have_no_map(tmp_path: Path) -> None:
    found = Page(card(corpus(tmp_path / "c", entries(3, ("s2",), placed=False))).html())
    assert "Places without a position: 3 of 3." in found.text
    assert not any("Map of" in (attrs.get("alt") or "") for tag, attrs in found.tags if tag == "img")
    assert found.table("split") == [["train", "2", "66.7 %", "0"], ["val", "1", "33.3 %", "0"]]


def test_regions_of_two_splits_are_told(tmp_path: Path) -> None:
    made = entries(3, ("s1",))
    near = [replace(entry, sample=replace(entry.sample, lon=10.0, lat=45.0)) for entry in made]
    words = "1 region held by more than one split"
    assert words in Page(card(corpus(tmp_path / "near", near)).html()).text
    assert "held by more than one split" not in Page(card(corpus(tmp_path / "far", made)).html()).text


def test_places_that_cannot_be_read_are_named_and_not_counted(tmp_path: Path) -> None:
    opened = corpus(tmp_path / "c", entries(4, ("s1",)))
    file = tmp_path / "c" / "000001.zarr" / "s1" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[:20] = bytes(20)  # of the first frame
    file.write_bytes(content)
    found = Page(card(opened).html())
    note = next(note for note in found.notes if "could not be read" in note)
    assert note.startswith("1 place could not be read: p2 (")
    assert "a sample of 3 of the 4 places" in found.text
    assert found.table("sensor", "frames looked at")[0][1] == str(2 + 3 + 2)


def test_a_card_is_written_to_a_folder_or_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = corpus(tmp_path / "c", entries(1, ("s1",)))
    assert write_card(opened, tmp_path / "new" / "card.html") == tmp_path / "new" / "card.html"
    here = (tmp_path / "new" / "card.html").read_bytes()
    assert here.startswith(b"<!DOCTYPE html>")
    written: list[tuple[bytes, str, str]] = []
    monkeypatch.setattr(page, "write_bytes", lambda content, root, name: written.append((content, root, name)))
    write_card(opened, "s3://bucket/corpus/card.html")
    assert written == [(here, "s3://bucket/corpus", "card.html")]
    with pytest.raises(OutputError, match="could not be written"):
        write_card(opened, tmp_path / "c" / "shards.json" / "card.html")


def test_a_sample_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one place at least"):
        card(corpus(tmp_path / "c", entries(1, ("s1",))), sample=0)


def test_the_picture_of_a_series_is_the_middle_one_of_its_clearest_frames() -> None:
    one = series("s2", np.random.default_rng(0), frames=5)
    clear = np.ones_like(one.valid)
    clear[[0, 4]] = False
    one = replace(one, valid=np.ones_like(one.valid), clear=clear)
    assert clearest(one) == 2
    assert clearest(replace(one, valid=clear, clear=None)) == 2
    assert thumbnails(Sample("a", {"s2": one}))["Sentinel-2"][1] == str(one.dates[2])


def test_a_large_image_is_shown_by_means_of_its_blocks() -> None:
    values = np.zeros((1, 3, 512, 512), np.uint8)
    values[..., ::2] = 101
    image = Series(OPTICAL_HR, values, DAY, np.ones((1, 512, 512), bool))
    shown, date = thumbnails(Sample("a" * 60, {"hr": image}))["Image"]
    assert shown.shape == (256, 256, 3)
    assert np.unique(shown).tolist() == [50]  # 50.5, rounded to even
    assert date == "2021-06-12"
    assert len(thumbnails(Sample("a" * 60, {"hr": image}))["name"]) <= 26
