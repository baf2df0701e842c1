from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from skysense.benchmark import stages
from skysense.benchmark.evidence import RECIPE
from skysense.benchmark.ladder import ALIGNED, CONTEXT, MULTI, RUNGS, SINGLE, LadderConfig, ladder, project, recipe_of
from skysense.benchmark.ladder_writing import Rungs, as_markdown, at_the_end
from skysense.errors import ConfigError
from skysense.model.loading import load
from skysense.probes.features import FrozenFeatures
from skysense.probes.table import ALL_SEEDS, Difference, Row, Table

SMALL = LadderConfig(
    regions=8,
    places_per_region=4,
    footprint_cells=8,
    seeds=(0,),
    recipe=replace(RECIPE, steps=1, batch_size=2, views=replace(RECIPE.views, s2_frames=2, s1_frames=1)),
)


def test_each_rung_adds_one_component() -> None:
    parts = {rung: recipe_of(rung, RECIPE, 4).objective for rung in RUNGS}
    added = {rung: (one.fused, one.beta, one.geo_context) for rung, one in parts.items()}
    assert added == {
        SINGLE: (0.0, 0.0, False),
        MULTI: (1.0, 0.0, False),
        ALIGNED: (1.0, 3.0, False),
        CONTEXT: (1.0, 3.0, True),
    }
    assert recipe_of(CONTEXT, RECIPE, 4) == replace(RECIPE, seed=4)


def test_settings_that_cannot_work_are_refused_before_anything_is_computed() -> None:
    with pytest.raises(ConfigError, match="regions >= 8"):
        LadderConfig(regions=7)
    with pytest.raises(ConfigError, match="each only once"):
        LadderConfig(seeds=())
    with pytest.raises(ConfigError, match="all that its rungs add"):
        LadderConfig(recipe=replace(RECIPE, objective=replace(RECIPE.objective, beta=0.0)))


def _features(cells: list[np.ndarray], occupied: list[np.ndarray]) -> FrozenFeatures:
    pooled = np.stack([one[:, mask].mean(axis=1) for one, mask in zip(cells, occupied, strict=True)])
    return FrozenFeatures(tuple("abc"[: len(cells)]), pooled, tuple(cells), tuple(occupied), len(cells[0]))


def test_components_come_from_the_places_to_learn_from() -> None:
    rng = np.random.default_rng(0)
    cells = [rng.normal(size=(3, 8, 8)).astype(np.float32) for _ in range(3)]
    for one in cells[:2]:
        one[1] = 10 * one[0] + 3  # alike, though one is ten times as large; in the last place nothing is
    occupied = [np.ones((8, 8), bool) for _ in cells]
    occupied[1][0, 0] = False
    found = project(_features(cells, occupied), [True, True, False], 1)
    known = np.concatenate([one[0][mask] for one, mask in zip(cells[:2], occupied[:2], strict=True)])
    size = np.sqrt(2) * np.abs(cells[0][0] - known.mean()) / known.std()
    np.testing.assert_allclose(np.abs(found.cells_Dhw[0][0]), size, atol=0.3)
    assert found.cells_Dhw[1][0, 0, 0] == 0
    for place in range(3):
        assert found.pooled_ND[place] == pytest.approx(found.cells_Dhw[place][0][occupied[place]].mean(), abs=1e-4)


def test_all_components_keep_the_distances_of_standardised_features() -> None:
    cells = [np.random.default_rng(1).normal(size=(5, 4, 4)).astype(np.float32) * np.arange(1, 6)[:, None, None]]
    found = project(_features(cells, [np.ones((4, 4), bool)]), [True], 9)
    before = cells[0].reshape(5, -1) / cells[0].reshape(5, -1).std(axis=1, keepdims=True)
    after = found.cells_Dhw[0].reshape(5, -1)
    np.testing.assert_allclose(
        np.linalg.norm(after[:, :, None] - after[:, None], axis=0),
        np.linalg.norm(before[:, :, None] - before[:, None], axis=0),
        atol=1e-4,
    )
    assert after.var(axis=1).max() < 3 * after.var(axis=1).min(), "no component is louder than the others by far"


def test_the_page_holds_values_and_differences_by_the_main_metric() -> None:
    rows = [
        Row("scene", name, ALL_SEEDS, metric, value, value - 0.1, value + 0.1, 12)
        for metric in ("accuracy", "macro F1")
        for name, value in (("low", 0.5), ("high", 0.7))
    ]
    table = Table(
        rows, [Difference("scene", "high", "low", metric, 0.2, 0.1, 0.3, 12) for metric in ("accuracy", "macro F1")]
    )
    table.differences.append(Difference("scene", "low", "high", "accuracy", -0.2, -0.5, 0.1, 12))
    page = as_markdown(
        Rungs({"One readout": table}, {"a": {"image/hr": 5.251}, "b": {}}, "skysense ladder --steps 7", {"seeds": "0"})
    )
    assert "```\nskysense ladder --steps 7\n```\n\n- seeds: 0" in page
    assert "## One readout\n\n| method | accuracy (n = 12) |\n" in page
    assert "| difference, points | scene |\n| --- | ---: |\n| high, minus low | **+20.0 [+10.0, +30.0]** |\n" in page
    assert "| low, minus high | -20.0 [-50.0, +10.0] |\n" in page
    assert page.endswith("| value | a | b |\n| --- | ---: | ---: |\n| image/hr | 5.25 |  |\n")


def test_journals_are_averaged_over_the_last_fifth_of_each_run() -> None:
    first = [{"step": float(step), "image/hr": float(step)} for step in range(10)]
    second = [{"step": float(step), "image/hr": 0.0, "other": 1.0} for step in range(10)]
    second[8]["feature_rank"] = 6.0
    second[7]["geo_entropy"] = 6.0
    assert at_the_end([first, second]) == {"image/hr": pytest.approx(4.25), "feature_rank": 6.0}


@pytest.mark.long
def test_the_ladder_from_nothing_and_again_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    told: list[str] = []

    def cut_off(done: int, total: int, words: str) -> None:
        told.append(words)
        if words.startswith(f"features, {CONTEXT}"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ladder(out, config=SMALL, progress=cut_off)
    with monkeypatch.context() as patch:
        patch.setattr(stages, "pretrain", None)  # calling it again would fail: that work is done
        page = ladder(out, config=SMALL, progress=lambda *words: told.append(words[2]))
    assert sum(words.startswith("pre-training") for words in told) == 4
    models = [load(out / f"{name}_seed0" / "model.safetensors") for name in ("single", "multi", "aligned", "context")]
    assert [model.geo is None for model in models] == [True, True, True, False]
    torch.manual_seed(0)
    for name, drawn in type(models[0])(models[0].config).state_dict().items():
        if name.startswith("fusion."):
            assert torch.equal(models[0].state_dict()[name], drawn), "without its terms the fusion stays as drawn"
    content = json.loads((out / "ladder.json").read_text())
    tables = [Table.from_json(one) for one in content["tables"].values()]
    assert [len({row.method for row in table.rows}) for table in tables] == [6, 5, 6, 5, 5, 5]
    assert tables[0].tasks == ["scene", "multilabel", "land_cover", "crop_type", "all crops", "ambiguous crops"]
    assert set(content["logged"][MULTI]) < set(content["logged"][ALIGNED]) < set(content["logged"][CONTEXT])
    assert f"{CONTEXT}: fused and context, minus {SINGLE}: sensors" in (out / "ladder.md").read_text()
    assert "Simulated data." in page.read_text()
    with pytest.raises(ConfigError, match="other settings \\(regions\\)"):
        ladder(out, config=replace(SMALL, regions=9))
