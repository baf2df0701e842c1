"""The README keeps its word: its example runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import rasterio
import torch

from skysense.cli import build_parser, main
from skysense.data.earth.writing import simulate_scene
from skysense.model.assembly import Features

ROOT = Path(__file__).parents[2]
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))


def blocks(language: str) -> list[str]:
    """Fenced blocks of the README in one language ("" for those that name none)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.S | re.M)
    return [text for name, text in fenced if name == language]


def test_the_readme_shows_the_example_file() -> None:
    source = (ROOT / "examples" / "three_sensors.py").read_text("utf-8")
    docstring, code = source.split("\n\n", 1)
    assert docstring.startswith('"""')
    assert blocks("python") == [code]


def test_the_example_fuses_three_sensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), names)
    everything: Features = names["everything"]
    radar_only: Features = names["radar_only"]
    assert set(everything.frames) == {"hr", "s2", "s1"}
    assert set(radar_only.frames) == {"s1"}
    frames = sum(len(series.dates) for sample in names["samples"] for series in sample.series.values())
    assert sum(len(part.values_NDhw) for part in everything.frames.values()) == frames
    assert everything.cells_BDhw.shape == (2, names["model"].cells_dim, 8, 8)
    assert everything.cells_BDhw.isfinite().all()
    # Leaving sensors out changes what is fused, not what the remaining sensor sees.
    torch.testing.assert_close(radar_only.frames["s1"].values_NDhw, everything.frames["s1"].values_NDhw)
    assert (radar_only.fused_BDhw - everything.fused_BDhw).abs().mean() > 1e-3


def test_the_commands_of_the_readme_are_understood() -> None:
    whole = [block.replace("\\\n", " ") for block in blocks("")]
    lines = [line for block in whole for line in block.splitlines() if line.startswith("skysense ")]
    verbs = [build_parser().parse_args(shlex.split(line)[1:]).verb for line in lines]
    own = ["adapt", "adapt", "evaluate", "adapt", "adapt", "adapt", "datasets", "datasets"]
    maps = ["embed", "view", "search", "fewshot", "map", "embed", "export", "export"]
    corpus = ["curate", "shards", "shards", "pretrain"]
    released = ["weights", "weights", "embed"]
    assert verbs == ["simulate", "places", "pretrain", "probe", "embed", *own, *released, *maps, *corpus]


def test_a_released_checkpoint_becomes_a_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's commands from inspection to a map, as they stand there, on a scene of its own."""
    (block,) = (block for block in blocks("") if "synthetic_release" in block)
    monkeypatch.chdir(tmp_path)
    simulate_scene(tmp_path / "runs" / "demo" / "scene.tif", height=512, width=640)
    for line in block.splitlines():
        command, *arguments = shlex.split(line)
        if command == "python":
            monkeypatch.setattr(sys, "argv", arguments)
            runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
        else:
            assert main(arguments) == 0, capsys.readouterr()
    assert "mask_token" in capsys.readouterr().out
    with rasterio.open(tmp_path / "features.tif") as file:
        assert (file.count, file.height, file.width) == (96, 16, 20)


def test_the_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = {*re.findall(r"(?<!shards )\bmake ([a-z-]+)", "".join(page_text(page) for page in PAGES))}
    assert {"demo", "demo-data", "test", "setup", "lint", "test-all", "evidence", "bench"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.M))


def page_text(page: str) -> str:
    """Code of a page, in blocks or between back-ticks: prose such as "make sure" is no command."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", (ROOT / page).read_text("utf-8"), re.S))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (ROOT / page).parent.joinpath(link).exists()] == []
