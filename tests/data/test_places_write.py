"""Writing: what cannot be right is refused, and a place is there complete or not at all."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skysense.data import places_write
from skysense.data.places import Places, check, write_dataset, write_place
from skysense.errors import InputError, OutputError
from skysense.geo import Footprint
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL2_L2A
from tests.data.places_samples import LABELS, LEGENDS, assert_same, make_masks, make_sample, write_folder

STAGES = ["place.json", "hr.tif", "fine.tif", "coarse.tif"]


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def fail_at(name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the plain file operations fail at one file, after some of its bytes are on disk."""
    write = places_write._write_bytes

    def failing(path: Path, content: bytes) -> None:
        if path.name == name:
            path.write_bytes(content[: len(content) // 2])
            raise error
        write(path, content)

    monkeypatch.setattr(places_write, "_write_bytes", failing)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "no space left on device. Free some space"), (errno.EACCES, "permission denied. Choose a folder")],
)
def test_a_full_or_closed_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int, words: str
) -> None:
    write_folder(tmp_path, "a")
    before = contents(tmp_path)
    fail_at(name, OSError(code, os.strerror(code)), monkeypatch)
    with pytest.raises(OutputError, match=re.escape(words)) as caught:
        write_place(tmp_path, make_sample("b"), labels=LABELS, masks=make_masks())
    assert caught.value.file == tmp_path / "b"
    with pytest.raises(OutputError):
        write_place(tmp_path, make_sample("a", seed=9), labels=LABELS, masks=make_masks(), overwrite=True)
    assert contents(tmp_path) == before, "what was finished before stays, and nothing else"
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["a", "dataset.json"]


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """A real failure of the operating system: no file may grow beyond ``limit`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [1_000, 20_000])
def test_a_series_that_does_not_fit(tmp_path: Path, limit: int) -> None:
    write_folder(tmp_path)
    sample = make_sample("b", height=16, width=16, frames=20).only(["s2"])
    with file_size_limit(limit), pytest.raises(OutputError, match=r"b: could not be written: s2\.nc: .*space left"):
        write_place(tmp_path, sample)
    assert [entry.name for entry in tmp_path.iterdir()] == ["dataset.json"]
    write_place(tmp_path, sample)
    assert_same(Places(tmp_path).read_sample(Places(tmp_path)[0]).series["s2"], sample.series["s2"])


@pytest.mark.parametrize("name", STAGES)
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_folder(tmp_path, "a")
    fail_at(name, KeyboardInterrupt(), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write_place(tmp_path, make_sample("b"), masks=make_masks())
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["a", "dataset.json"]


def test_a_killed_writer_leaves_no_half_place(tmp_path: Path) -> None:
    write_folder(tmp_path, "a")
    program = """
import os, signal, sys
from skysense.data import places_write
from tests.data.places_samples import make_masks, make_sample
write = places_write._write_bytes
def dying(path, content):
    if path.name == "fine.tif":
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)
places_write._write_bytes = dying
places_write.write_place(sys.argv[1], make_sample("b"), masks=make_masks())
"""
    project = Path(__file__).parents[2]
    path = os.pathsep.join([str(project), str(project / "src")])
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == -9
    assert [place.name for place in Places(tmp_path)] == ["a"]
    report = check(tmp_path)
    assert report.places == report.ok == 1
    (left,) = report.problems
    assert left.file.startswith(".b.") and left.file.endswith(".unfinished") and "interrupted write" in left.rule
    write_place(tmp_path, make_sample("b"), masks=make_masks())
    assert [place.name for place in Places(tmp_path)] == ["a", "b"]


def test_a_place_is_replaced_only_when_asked(tmp_path: Path) -> None:
    write_folder(tmp_path, "a")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"a: exists already\. Choose another name, or overwrite=True"):
        write_place(tmp_path, make_sample("a", seed=5))
    assert contents(tmp_path) == before
    write_place(tmp_path, make_sample("a", seed=5).only(["s2"]), overwrite=True)
    assert sorted(contents(tmp_path)) == ["a/place.json", "a/s2.nc", "dataset.json"]
    read = Places(tmp_path).read_sample(Places(tmp_path)[0])
    assert_same(read.series["s2"], make_sample("a", seed=5).series["s2"])


def test_a_replacement_that_fails_puts_the_old_place_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, "a")
    before = contents(tmp_path)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".unfinished":
            raise OSError(errno.ENOSPC, "no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="no space left"):
        write_place(tmp_path, make_sample("a", seed=5), overwrite=True)
    assert contents(tmp_path) == before


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file: could not be written: .*A file stands where a folder is needed"):
        write_dataset(tmp_path / "file", title="x", simulated=True, legends={})
    with pytest.raises(InputError, match="it holds no dataset"):
        write_place(tmp_path / "nowhere", make_sample())


def with_series(change: Callable[[Series], Series], modality: str = "s2") -> Sample:
    sample = make_sample()
    return replace(sample, series={**sample.series, modality: change(sample.series[modality])})


def values(value: Any, dtype: str = "float32") -> Callable[[Series], Series]:
    return lambda series: replace(series, values=np.full(series.values.shape, value, dtype))


def ground(bounds: tuple[float, ...], crs: str = "EPSG:32632", **position: Any) -> Sample:
    return replace(make_sample(), footprint=Footprint(bounds, crs), **({"lon": None, "lat": None} | position))


UTM = (691848.0, 5335000.0, 691928.0, 5335040.0)

REFUSED: dict[str, tuple[Callable[[], Sample], dict[str, Any], str]] = {
    "reflectance 0-1": (lambda: with_series(values(0.3)), {}, "looks like reflectance between 0 and 1"),
    "nan": (lambda: with_series(values(np.nan)), {}, "NaN or infinite values"),
    "linear power": (lambda: with_series(values(0.1), "s1"), {}, "looks like linear power"),
    "no pixel": (
        lambda: with_series(lambda s: replace(s, valid=np.zeros_like(s.valid))),
        {},
        "no observed pixel (all no-data)",
    ),
    "other sensor": (
        lambda: with_series(lambda s: replace(s, sensor=replace(SENTINEL2_L2A, name="landsat"))),
        {},
        "sensor 'landsat' is not one that files know",
    ),
    "other statistics": (
        lambda: with_series(lambda s: replace(s, sensor=replace(SENTINEL2_L2A, mean=(0.0,) * 10))),
        {},
        "is not one that files know",
    ),
    "name": (lambda: make_sample("../p"), {}, "place '../p' must be made of letters"),
    "hidden name": (lambda: make_sample(".p"), {}, "not begin with a dot"),
    "split": (make_sample, {"split": "dev"}, "split 'dev' is none of train, val, test"),
    "class": (make_sample, {"labels": {"scene": "sea"}}, "label 'scene' names 'sea'"),
    "label": (make_sample, {"labels": {"soil": "clay"}}, "label 'soil' has no legend in dataset.json"),
    "mask label": (make_sample, {"masks": {"soil": np.zeros((4, 8), np.uint8)}}, "label 'soil' has no legend"),
    "scene as mask": (make_sample, {"masks": {"scene": np.zeros((4, 8), np.uint8)}}, "is a scene label, not a mask"),
    "mask grid": (
        make_sample,
        {"masks": {"fine": np.zeros((8, 8), np.uint8)}},
        "'fine' is 8 x 8 px on a place of 4 x 8",
    ),
    "mask type": (make_sample, {"masks": {"fine": np.zeros((4, 8), int)}}, "must be uint8 (H, W); got int64 (4, 8)"),
    "mask value": (make_sample, {"masks": {"coarse": np.full((4, 8), 7, np.uint8)}}, "holds the values 7; its legend"),
    "attribute": (make_sample, {"attributes": {"x": np.int64(1)}}, "attributes hold what JSON cannot"),
    "nan attribute": (make_sample, {"attributes": {"x": float("nan")}}, "attributes hold what JSON cannot"),
    "no crs": (lambda: ground(UTM, "somewhere"), {}, "coordinate reference system 'somewhere' is not known"),
    "0.2 m pixels": (
        lambda: ground((691848.0, 5335000.0, 691848 + 51.2, 5335000 + 25.6)),
        {},
        "one cell must be 10 m on the ground; by its bounds it is 6.4 m high and 6.4 m wide. Resample",
    ),
    "mercator": (
        lambda: ground((0, 8_399_737.9, 80, 8_399_777.9), "EPSG:3857"),
        {},
        "one cell must be 10 m on the ground",
    ),
    "off the map": (lambda: ground((1e9, 1e9, 1e9 + 80, 1e9 + 40)), {}, "lie outside of WGS 84 / UTM zone 32N"),
    "elsewhere": (lambda: ground(UTM, lon=-11.58, lat=48.14), {}, "km outside of its bounds"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused(tmp_path: Path, name: str) -> None:
    make, options, words = REFUSED[name]
    write_dataset(tmp_path, title="x", simulated=True, legends=LEGENDS)
    with pytest.raises(InputError, match=re.escape(words)):
        write_place(tmp_path, make(), **options)
    assert [entry.name for entry in tmp_path.iterdir()] == ["dataset.json"]


def test_a_footprint_that_fits_is_taken(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="x", simulated=True, legends=LEGENDS)
    write_place(tmp_path, ground(UTM, lon=11.58, lat=48.14))
    assert Places(tmp_path)[0].footprint == Footprint(UTM, "EPSG:32632")


def test_the_offset_of_baseline_4_is_warned_about(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="x", simulated=True, legends={})
    with pytest.warns(UserWarning, match="p: every Sentinel-2 band lies above 900; subtract 1000"):
        write_place(tmp_path, with_series(lambda s: replace(s, values=s.values + np.uint16(1000))))


def test_pixels_are_compressed(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="x", simulated=True, legends={})
    flat = np.full((1, 3, 512, 512), 90, np.uint8)
    hr = Series(OPTICAL_HR, flat, np.array(["NaT"], "datetime64[D]"), np.ones((1, 512, 512), bool))
    s2 = Series(
        SENTINEL2_L2A,
        np.full((50, 10, 16, 16), 700, np.uint16),
        np.datetime64("2020-01-01") + np.arange(50),
        np.ones((50, 16, 16), bool),
    )
    folder = write_place(tmp_path, Sample("p", {"hr": hr, "s2": s2}))
    assert (folder / "hr.tif").stat().st_size < flat.nbytes / 50
    assert (folder / "s2.nc").stat().st_size < s2.values.nbytes / 8
