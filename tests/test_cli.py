"""The command line: every verb parses, what it prints is for people, errors come without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from skysense.cli import PARSERS, VERBS, _config, build_parser, main
from skysense.demo import DEMO
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.model.released import to_released
from skysense.model.weights import save_model
from skysense.pretrain.config import PretrainConfig

ROOT = Path(__file__).resolve().parent.parent


def test_every_verb_has_a_parser_and_an_action() -> None:
    assert PARSERS.keys() == VERBS.keys()


def test_simulate_check_and_pretrain_and_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earth, run = str(tmp_path / "earth"), str(tmp_path / "run")
    assert main(["simulate", earth, "--regions", "2", "--places_per_region", "2", "--footprint_cells", "4"]) == 0
    assert main(["places", "check", earth]) == 0
    assert "4 of 4 places are good" in capsys.readouterr().out
    settings = [
        "--views.global_cells",
        "4",
        "--views.s2_frames",
        "1",
        "--views.s1_frames",
        "1",
        "--views.local_crops",
        "0",
    ]
    settings += ["--steps", "2", "--batch_size", "2", "--split", "all", "--device", "cpu"]
    assert main(["pretrain", earth, "--out", run, *settings]) == 0
    assert "2 steps made" in capsys.readouterr().out
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert main(["pretrain", earth, "--out", run, *settings]) == 0
    assert "went on from step 2" in capsys.readouterr().out
    assert main(["pretrain", earth, "--out", run, *settings, "--seed", "5"]) == 2
    assert "config.seed: 0 -> 5" in capsys.readouterr().err.replace("\n", "")


def test_simulate_with_buildings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earth = tmp_path / "earth"
    size = ["--regions", "1", "--places_per_region", "1", "--footprint_cells", "4"]
    assert main(["simulate", str(earth), *size, "--buildings", "true"]) == 0
    assert main(["places", "check", str(earth)]) == 0
    assert "1 of 1 places are good" in capsys.readouterr().out
    found = {path.name for path in (earth / "region00-place000").iterdir()}
    assert found >= {"hr_after.tif", "change.tif", "land_cover_after.tif", "buildings.json", "buildings_after.json"}


def test_a_bad_place_is_listed_and_the_status_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earth = tmp_path / "earth"
    assert main(["simulate", str(earth), "--regions", "1", "--places_per_region", "2", "--footprint_cells", "4"]) == 0
    bad = next(path for path in sorted(earth.iterdir()) if path.is_dir())
    (bad / "s2.nc").write_bytes(b"CDF\x05 cut off")
    assert main(["places", "check", str(earth)]) == 1
    printed = capsys.readouterr().out
    assert "1 of 2 places are good" in printed
    assert "s2.nc" in printed


def test_probing_goes_on_without_a_place_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earth = tmp_path / "earth"
    assert main(["simulate", str(earth), "--regions", "2", "--places_per_region", "6", "--footprint_cells", "4"]) == 0
    bad, worse, *_ = (path for path in sorted(earth.iterdir()) if path.is_dir())
    (bad / "hr.tif").write_bytes(b"II*")
    (worse / "place.json").write_text("{")
    save_model(tmp_path / "model.safetensors", SkySense(preset("tiny")))
    assert main(["probe", str(tmp_path / "model.safetensors"), str(earth)]) == 0
    printed = capsys.readouterr()
    assert f"skipped {bad.name}" in printed.out and f"skipped {worse.name}" in printed.out
    assert "left out 1 places" in printed.err and "warnings.warn" not in printed.err


def test_released_weights_are_inspected_converted_and_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = to_released(SkySense(preset("tiny")).state_dict(), "model")
    torch.save({"model": state}, tmp_path / "full.pth")
    full, out = str(tmp_path / "full.pth"), str(tmp_path / "model.safetensors")
    assert main(["weights", "inspect", full]) == 1
    printed = capsys.readouterr().out
    assert "0 of 429" in printed and "patch_embed.projection.weight is (16, 3, 4, 4), not (352, 3, 4, 4)" in printed
    assert main(["weights", "inspect", full, "--dimensions", "tiny"]) == 0
    assert "102 of 102" in capsys.readouterr().out
    assert main(["weights", "convert", full, "--dimensions", "tiny", "--out", out, "--dtype", "bfloat16"]) == 0
    assert "ask whoever trained them" in capsys.readouterr().out
    assert main(["weights", "verify", out]) == 0
    assert "is whole" in capsys.readouterr().out.replace("\n", " ")
    assert main(["weights", "inspect", out]) == 0
    assert "sentinel-1-grd in dB: VV, VH" in capsys.readouterr().out
    assert main(["weights", "verify", full]) == 1
    assert main(["weights", "convert", full, "--out", out]) == 2
    assert "does not hold the published model (huge)" in capsys.readouterr().err.replace("\n", " ")


def test_errors_are_one_message_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["places", "check", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "is not a folder" in error
    assert "Traceback" not in error


def test_the_demo_takes_real_places_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), "--kit_places", str(tmp_path)]) == 2
    assert "examples/kit_to_places.py" in capsys.readouterr().err


def test_the_configuration_file_of_the_demo_is_the_demo() -> None:
    file = ROOT / "configs" / "pretrain" / "tiny.yaml"
    options = build_parser().parse_args(["pretrain", "data", "--config", str(file), "--out", "run"])
    assert _config(options["pretrain"]) == DEMO


def test_defaults_are_those_of_the_configuration() -> None:
    assert _config(build_parser().parse_args(["pretrain", "data", "--out", "run"])["pretrain"]) == PretrainConfig()


def test_pairs_of_numbers_come_from_files_and_options(tmp_path: Path) -> None:
    file = tmp_path / "pairs.yaml"
    file.write_text("optimiser:\n  betas: [0.8, 0.95]\n")
    words = ["pretrain", "data", "--config", str(file), "--views.blur_sigma", "[0.5, 1.5]", "--out", "run"]
    config = _config(build_parser().parse_args(words)["pretrain"])
    assert config.optimiser.betas == (0.8, 0.95)
    assert config.views.blur_sigma == (0.5, 1.5)
