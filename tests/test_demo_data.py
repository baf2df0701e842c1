"""From an archive to data to learn from: what was made is what the archive holds, and says whether it is real."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from skysense import demo_data as module
from skysense.cli import main
from skysense.curate.catalogue import open_catalogue
from skysense.curate.rehearsal import Rehearsal, read_archive, simulated_archive
from skysense.data.shards.read import Shards
from skysense.demo_data import demo_data
from tests.curate.rehearsed import hashes


def words(page: Path) -> str:
    """The text of a page, without pictures."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page.read_text("utf-8"), flags=re.DOTALL).split())


@pytest.fixture
def brief(monkeypatch):
    """Two small places, of an archive that takes seconds, and two steps."""
    monkeypatch.setattr(module, "simulated_archive", partial(simulated_archive, passes=8, granule_px=128))
    for name, value in {"ROWS": 1, "COLUMNS": 2, "CELLS": 16}.items():
        monkeypatch.setattr(module, name, value)
    views = replace(module.CONFIG.views, s2_frames=1, s1_frames=1)
    monkeypatch.setattr(module, "CONFIG", replace(module.CONFIG, steps=2, batch_size=2, views=views))


def test_no_kit_is_refused(tmp_path, capsys):
    assert main(["demo-data", "--out", str(tmp_path / "out"), "--kit", str(tmp_path)]) == 2
    assert "is no kit of small data" in " ".join(capsys.readouterr().err.split())


@pytest.mark.long
@pytest.mark.usefixtures("brief")
def test_made_up_scenes_become_a_corpus_that_says_so_and_a_cut_run_goes_on(tmp_path, capsys):
    def cut(done, total, text):
        if text.startswith("2/4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo_data(tmp_path, progress=cut)
    address = (tmp_path / "simulated" / "catalogue.yaml").read_text()
    stages = []
    made = demo_data(tmp_path, progress=lambda done, total, text: stages.append(text[:3]))
    assert list(dict.fromkeys(stages)) == ["2/4", "3/4", "4/4"] and made.catalogue.read_text() == address
    corpus = Shards(made.corpus)
    assert corpus.simulated and len(corpus) == made.places == 2 and made.reasons == {"stored": 2}
    assert [sorted(place.modalities) for place in corpus] == [["hr", "s1", "s2"]] * 2
    boxes = np.array([scene.bbox for scene in read_archive(made.archive) if scene.sensor == "naip"])
    for place in corpus:
        west, south, east, north = *boxes[:, :2].min(0), *boxes[:, 2:].max(0)
        assert west < place.lon < east and south < place.lat < north
    ran = json.loads((made.model.parent / "run.json").read_text())
    assert made.model.is_file() and ran["config"]["steps"] == 2
    text = words(made.card)
    assert "Simulated data." in text and "Planetary Computer as it is rehearsed" in text and "made-up scenes" in text
    before = hashes(made.corpus)
    assert main(["demo-data", "--out", str(tmp_path)]) == 0
    assert hashes(made.corpus) == before
    assert f"open {made.card}" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.usefixtures("brief")
def test_an_address_that_is_taken_is_named(tmp_path):
    archive = module.simulated_archive(tmp_path / "simulated" / "archive")
    with Rehearsal(archive) as other:
        catalogue = tmp_path / "simulated" / "catalogue.yaml"
        source = module._simulated(lambda *_: None)
        catalogue.write_text(module._catalogue(other, source))
        (offered,) = [one for one in open_catalogue(str(catalogue)).collections if one.modality == "hr"]
        assert offered.licence.startswith("Apache-2.0")
        with pytest.raises(
            module.SkySenseError, match=rf"port {other.host.rsplit(':', 1)[1]} of this machine is taken"
        ):
            demo_data(tmp_path)


@pytest.mark.long
def test_the_kit_becomes_a_corpus_of_real_pixels(kit, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CONFIG", replace(module.CONFIG, steps=2, batch_size=2))
    made = demo_data(tmp_path, kit=kit)
    corpus = Shards(made.corpus)
    assert not corpus.simulated and made.reasons == {"stored": 21}
    lengths = sorted(
        corpus.read_sample(place).series["s2"].values.shape[0] for place in corpus if "s2" in place.modalities
    )
    assert lengths == [1] * 19 + [20]
    text = words(made.card)
    assert "imulated" not in text and "scenes of the kit of small data" in text
