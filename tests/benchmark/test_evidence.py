from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from skysense.benchmark import evidence as module
from skysense.benchmark import stages
from skysense.benchmark.evidence import RECIPE, EvidenceConfig, evidence
from skysense.benchmark.probe import CHANCE, METHODS, RAW_FOREST
from skysense.data.earth import simulate
from skysense.errors import ConfigError
from skysense.probes.context import AMBIGUOUS_CROPS, POSITION, WITH_CONTEXT, WITHOUT_CONTEXT, WRONG_REGION
from skysense.probes.table import Table

SMALL = EvidenceConfig(
    regions=8,
    places_per_region=3,
    footprint_cells=8,
    seeds=(0, 1),
    recipe=replace(RECIPE, steps=1, batch_size=2, views=replace(RECIPE.views, s2_frames=2, s1_frames=1)),
)


def test_settings_are_what_a_file_of_them_holds() -> None:
    assert module.settings(SMALL) == json.loads(json.dumps(module.settings(SMALL)))


def test_settings_that_cannot_work_are_refused_before_anything_is_computed() -> None:
    with pytest.raises(ConfigError, match="regions >= 8"):
        EvidenceConfig(regions=7)
    with pytest.raises(ConfigError, match="each only once"):
        EvidenceConfig(seeds=(1, 1))


@pytest.mark.long
def test_evidence_from_nothing_and_again_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = tmp_path / "kit"
    simulate(kit / "terramesh", regions=2, places_per_region=2, footprint_cells=8, seed=5)
    out = tmp_path / "out"
    told: list[str] = []

    def cut_off(done: int, total: int, words: str) -> None:
        told.append(words)
        if words.startswith("probing raw pixels"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evidence(out, config=SMALL, kit_places=kit, progress=cut_off)
    assert not (out / "evidence.md").exists()
    with monkeypatch.context() as patch:
        patch.setattr(stages, "pretrain", None)  # calling it again would fail: that work is done
        page = evidence(out, config=SMALL, kit_places=kit, progress=lambda *words: told.append(words[2]))
    assert sum(words.startswith("pre-training, seed 0") for words in told) == 1
    assert sum(words == "simulating places" for words in told) == 48
    content = json.loads((out / "evidence.json").read_text())
    simulated = Table.from_json(content["simulated"])
    assert {row.method for row in simulated.rows} == set(METHODS)
    assert {row.seed for row in simulated.rows if row.method == RAW_FOREST} == {0, 1, "all"}
    assert {row.seed for row in simulated.rows if row.method == CHANCE} == {0, "all"}
    context = Table.from_json(content["context"])
    assert {row.method for row in context.of_task(AMBIGUOUS_CROPS).rows} >= {
        WITH_CONTEXT,
        WITHOUT_CONTEXT,
        WRONG_REGION,
        POSITION,
    }
    assert list(content["real"]) == ["TerraMesh land cover"]
    text, html = (out / "evidence.md").read_text(), page.read_text()
    assert "## Geo-context" in text
    assert "TerraMesh land cover" in text
    assert "Simulated data." in html
    assert html.count("<img") == 4
    with pytest.raises(ConfigError, match="other settings \\(seeds\\)"):
        evidence(out, config=replace(SMALL, seeds=(4,)))
