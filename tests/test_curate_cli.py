"""The verb ``skysense curate``: what it prints, and with which status it ends."""

import pytest

from skysense.cli import main
from skysense.curate.halt import Halt
from skysense.curate.rehearsal import Faults, Rehearsal, When, simulated_archive
from skysense.curate_cli import parse_bytes
from skysense.errors import ConfigError
from tests.curate.rehearsed import catalogue_file, places_file, positions


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return simulated_archive(tmp_path_factory.mktemp("curate") / "archive", passes=3, granule_px=128)


def command(catalogue, places, out, *more):
    few = ["--fewest_s2", "1", "--fewest_s1", "1", "--most_s2", "2", "--most_s1", "1", "--cells", "16"]
    where = ["--places", str(places), "--catalogue", catalogue, "--out", str(out), "--years", "2022"]
    return ["curate", *where, "--most_cloud", "80", *few, *more]


def test_curates_prints_an_account_and_goes_on_without_work(small, tmp_path, capsys):
    with Rehearsal(small) as archive:
        catalogue, places = catalogue_file(archive, "planetary", tmp_path), places_file(tmp_path, positions((300, 500)))
        assert main(command(catalogue, places, tmp_path / "c")) == 0
        said = capsys.readouterr().out
        assert "places: 1, in blocks (shards at most): 1" in said and "done before: 0 in 0" in said
        assert "stored" in said and "found" in said and "MB received in" in said
        assert main(command(catalogue, places, tmp_path / "c")) == 0
        assert "done before: 1 in 1" in capsys.readouterr().out
        assert main(command(catalogue, places, tmp_path / "c", "--seed", "1")) == 2
        assert "other settings (seed: 0 -> 1)" in capsys.readouterr().err


def test_what_ends_a_run_is_said_with_its_status(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Halt, "sleep", lambda self, seconds: self.go_on())
    with Rehearsal(small, faults=Faults(unavailable=When("/search", share=1.0))) as archive:
        catalogue, places = catalogue_file(archive, "planetary", tmp_path), places_file(tmp_path, positions((300, 500)))
        assert main(command(catalogue, places, tmp_path / "c")) == 2
        assert "Finished work stays; go on when the archive answers again" in capsys.readouterr().err
        assert main(command(catalogue, places, tmp_path / "c", "--budget", "1KB")) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "say where"),
        (["--area", "7,47,9,49"], "--area needs --number"),
        (["--global", "5", "--places", "x.csv"], "say where"),
        (["--global", "5", "--budget", "many"], "is no number of bytes"),
        (["--global", "5", "--required", "s3"], "'s3' is unknown"),
        (["--global", "5", "--processes", "2"], "--processes and --ray_address are for --engine ray"),
        (["--global", "5", "--engine", "ray", "--processes", "0"], "processes must be at least 1"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, capsys, more, said):
    assert main(["curate", "--years", "2021", "--out", str(tmp_path / "c"), *more]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "c").exists()


def test_bytes():
    assert [parse_bytes(text) for text in ("50GB", "1.5 tb", "12", "3 B")] == [50 * 10**9, 1_500 * 10**9, 12, 3]
    for wrong in ("", "GB", "1 XB"):
        with pytest.raises(ConfigError, match="no number of bytes"):
            parse_bytes(wrong)
