"""``skysense plan``: tables that fit a terminal, numbers for programs, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from skysense import plan_cli
from skysense.cli import main

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "pretrain"
HUGE = ["plan", "--config", str(CONFIGS / "huge.yaml"), "--gpu", "a100", "--gpus", "80"]


def printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, *more: str, config: str = "huge"
) -> str:
    monkeypatch.setattr(plan_cli, "console", Console(highlight=False, width=width))
    assert main(["plan", "--config", str(CONFIGS / f"{config}.yaml"), "--gpu", "a100", "--gpus", "80", *more]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100, 106, 120])
@pytest.mark.parametrize("checkpointing", ["none", "selective", "full"])
@pytest.mark.parametrize("config", ["base", "huge"])
def test_tables_are_whole_at_every_width(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    checkpointing: str,
    config: str,
) -> None:
    text = printed(monkeypatch, capsys, width, "--parallel.checkpointing", checkpointing, config=config)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    steps = {"base": "base: 300,000 steps of 128 places", "huge": "huge: 875,000 steps of 240 places"}[config]
    for words in (f"{steps} on 80 × NVIDIA A100 80 GB SXM", "image encoder", "GPU-hours"):
        assert words in text
    assert ("again" in text) == (checkpointing != "none")


def test_what_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = " ".join(printed(monkeypatch, capsys, 100).split())
    assert "fits: 29.1 of 80 are left" in words
    assert "fsdp 76.0 ✓ ▸ 50.9 ✓ 15.7 ✓" in words
    assert "full, +25% FLOPs" in words
    assert "fsdp, bfloat16, checkpointing selective; 3 places on each GPU" in words
    assert "two views share 139 of 256 cells" in words
    words = " ".join(printed(monkeypatch, capsys, 100, "--parallel.strategy", "ddp", "--precision", "float32").split())
    assert "ddp, float32, checkpointing selective; 3 places on each GPU" in words
    assert "does not fit: the GPU has 80" in words
    assert "Products rounded to TF32 would run at up to 156 TFLOP/s." in words
    assert "time at 35% of 19.5 TFLOP/s" in words


def test_numbers_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*HUGE, "--json", "true", "--views.s2_frames", "4", "--places.regions", "10"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"]["hr"] == 655_074_704
    assert told["bytes_per_gpu"]["prototypes"] == 4 * 10 * 100 * 1025
    assert main([*HUGE, "--json", "true"]) == 0
    assert json.loads(capsys.readouterr().out)["flops_total"] > 1.5 * told["flops_total"]


def test_errors_say_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    for more, words in (
        (["--gpu", "h300"], "unknown GPU 'h300'; known: a100-40, a100,"),
        (["--gpus", "256"], "batch_size = 240 places cannot be divided among 256 GPUs"),
        (["--views.local_cells", "4"], "--views.local_cells 8"),
    ):
        assert main([*HUGE, *more]) == 2
        assert words in capsys.readouterr().err.replace("\n", "")
    assert main(["plan", "--preset", "huge"]) == 2
    assert "'huge' reads, 8 cells (256 px): use --views.local_cells 8" in capsys.readouterr().err.replace("\n", "")


def test_ranks_with_unequal_numbers_of_places(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "at most 4 places on each GPU" in printed(monkeypatch, capsys, 100, "--gpus", "64")
