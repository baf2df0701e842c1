"""The page of a run: everything that was logged is on it, the best step is named, and it never stops a run."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest

from skysense.files import plain
from skysense.pretrain import report as module
from skysense.pretrain.config import OptimiserConfig, PretrainConfig
from skysense.pretrain.probing import SCORE
from skysense.pretrain.report import RunPage, collapse_curves, differing, objective_curves
from skysense.report import curves

CONFIG = PretrainConfig(steps=100, batch_size=8, optimiser=OptimiserConfig(betas=(0.9, 0.99)))


def row(step: int) -> dict[str, float]:
    values = {"step": step, "loss": 90.0 - step, "pixel/hr": 6.0, "pixel/s2": 5.0, "align/hr-s2": 3.0, "masked/hr": 2.0}
    values |= {"learning_rate": 1e-3, "gradient_norm": 4.0, "seconds": 2.0, "geo_entropy": 0.9, "novel": 1.0}
    if step % 10 == 0:
        values |= {"feature_rank": 50.0, "cluster_entropy/s1": 0.9, "prototype_entropy/fused_image": 0.4}
    if step % 10 == 9:
        values |= {
            SCORE: {9: 0.5, 19: 0.75, 29: 0.625}[step],
            "probe/land_cover_linear": 0.7,
            "probe/land_cover_knn": 0.6,
        }
    return values


ROWS = [row(step) for step in range(30)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    out = tmp_path / "my run"
    out.mkdir()
    (out / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ROWS))
    (out / "run.json").write_text(json.dumps({"config": plain(dataclasses.asdict(CONFIG))}))
    return out


def words(out: Path) -> str:
    text = (out / "report.html").read_text("utf-8")
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL).split())


def test_the_page_holds_the_run_and_its_best_step(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, tuple[str, float | None]] = {}

    def spy(rows: object, panels: module.Panels, *, mark: float | None = None, **options: object) -> object:
        drawn.update({name: (title, mark) for title, lines in panels.items() for name in lines.values()})
        return curves(rows, panels, mark=mark, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "curves", spy)
    RunPage(run, simulated=True, facts={"places": 24, "resumed from step": 12}).write()
    text = words(run)
    assert "Pre-training: my run" in text and "Simulated data." in text
    assert "steps 30 of 100 preset tiny speed 2 s per step, 4 places per second left about 2 min" in text
    assert "loss 90 at the first step, 75.5 lately" in text
    assert "best probes 0.750 after 20 steps" in text and "Dashed: the best score, 0.750 after 20 steps" in text
    assert "places 24 resumed from step 12" in text
    assert "setting this run default steps 100 1000 batch_size 8 16 optimiser.betas [0.9, 0.99] [0.9, 0.999]" in text
    logged = {name for one in ROWS for name in one} - {"step"}
    assert logged <= set(drawn), "all that was logged is drawn"
    assert drawn[SCORE] == ("score", 19) and drawn["probe/land_cover_knn"] == ("land_cover", 19)
    assert drawn["pixel/s2"][0] == "pixel" and drawn["masked/hr"][0] == "masked"
    assert drawn["prototype_entropy/fused_image"][0] == "entropy of head prototypes, image"
    assert drawn["novel"] == ("novel", None)
    assert (run / "report.html").read_text("utf-8").count("<img") == 6


def test_the_page_grows_with_the_run_but_not_too_often(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 2.0, 50.0, 60.0, 61.0, 110.0, 112.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    page = RunPage(run, simulated=False, facts={})
    page.write()  # takes two seconds: at rest until 102
    assert "steps 30 of 100" in words(run)
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 30, "loss": 1.0, "skipped": 2, "left_out": 1234}) + "\n")
    page.write()
    assert "steps 30 of 100" in words(run)
    page.write(last=True)
    assert "steps 31 of 100" in words(run) and "steps skipped 2" in words(run)
    assert "places left out 1,234 since the run began or went on" in words(run) and "left_out" not in words(run)


def test_a_run_without_looks_or_steps_has_a_page(run: Path) -> None:
    (run / "log.jsonl").write_text(json.dumps({"step": 0, "loss": 1.0}) + "\n")
    (run / "run.json").write_text(json.dumps({"config": plain(dataclasses.asdict(PretrainConfig()))}))
    RunPage(run, simulated=False, facts={}).write()
    text = words(run)
    assert "worth" not in text and "collapse" not in text and "defaults None." in text and "imulated" not in text
    (run / "log.jsonl").write_text("")
    RunPage(run, simulated=False, facts={}).write()
    assert "steps 0 of 1,000" in words(run)


def test_without_matplotlib_the_run_goes_on_and_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page = RunPage(run, simulated=False, facts={})
    assert "no report.html" in page.note and "skysense[train]" in page.note
    page.write()
    assert not (run / "report.html").exists()


def test_panels_gather_what_belongs_together() -> None:
    loss, pixel, masked, align = objective_curves(ROWS).axes[:4]
    titles = [axis.get_title(loc="left") for axis in (loss, pixel, masked, align)]
    assert titles == ["loss", "pixel", "masked", "align"]
    assert [text.get_text() for text in pixel.get_legend().get_texts()] == ["hr", "s2"]
    assert all(axis.get_ylim()[0] == 0 for axis in collapse_curves(ROWS).axes)


def test_settings_that_are_no_longer_known_are_shown() -> None:
    config = plain(dataclasses.asdict(PretrainConfig())) | {"former": 3}
    assert differing(config) == {"former": (3, "none")}
