"""The output file: whole or not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from skysense.errors import OutputError
from skysense.maps import raster
from skysense.maps.raster import BLOCK, create
from tests.maps.scenes import HR_GRID

SHAPE = (5, 70, 45)


def values() -> np.ndarray:
    made = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    made[:, 3:9, 40:] = np.nan
    return made


def write(path: Path, made: np.ndarray, **options) -> None:
    bands = [f"fused {at}" for at in range(SHAPE[0])]
    place = {"crs": "EPSG:32632", "transform": HR_GRID, "tags": {"SKYSENSE_SOFTWARE": "test"}}
    with create(path, shape=SHAPE, bands=bands, **place, **options) as out:
        for row in range(0, SHAPE[1], BLOCK):
            out.write(row, made[:, row : row + BLOCK])


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path, made = tmp_path / "new" / "out.tif", values()
    write(path, made)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), made)
        assert file.transform == HR_GRID
        assert file.crs.to_epsg() == 32632
        assert np.isnan(file.nodata)
        assert file.descriptions[4] == "fused 4"
        assert file.tags()["SKYSENSE_SOFTWARE"] == "test"
        assert file.profile["interleave"] == "pixel"
        assert file.block_shapes[0] == (32, 32)
    assert [entry.name for entry in path.parent.iterdir()] == ["out.tif"]


def test_half_precision_is_close_and_smaller(tmp_path: Path) -> None:
    made = values()
    write(tmp_path / "full.tif", made)
    write(tmp_path / "half.tif", made, precision="float16")
    with rasterio.open(tmp_path / "half.tif") as file:
        np.testing.assert_array_equal(file.read(), made.astype(np.float16).astype(np.float32))
    assert (tmp_path / "half.tif").stat().st_size < 0.6 * (tmp_path / "full.tif").stat().st_size


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(raster.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match=r"out\.tif: could not be written: no space left on device\. Free some space"):
        write(tmp_path / "out.tif", values())
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from skysense.errors import OutputError
from skysense.maps.raster import create
from rasterio.transform import Affine
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
noise = np.random.default_rng(0).normal(size=(16, 64, 64)).astype(np.float32)
try:
    with create(Path(sys.argv[1]), shape=noise.shape, crs="EPSG:32632", transform=Affine(10, 0, 5, 0, -10, 5),
                bands=["x"] * 16, tags={}) as out:
        out.write(0, noise[:, :32])
        out.write(32, noise[:, 32:])
except OutputError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("spare", [200_000, 40, 1])
def test_a_file_that_could_not_grow_is_refused_even_when_the_library_is_silent(tmp_path: Path, spare: int) -> None:
    def run(limit: int) -> str:
        command = [sys.executable, "-c", LIMITED, str(tmp_path / "out.tif"), str(limit)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert run(10_000_000) == ""
    needed = (tmp_path / "out.tif").stat().st_size
    (tmp_path / "out.tif").unlink()
    assert "out.tif: could not be written" in run(needed - spare)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from skysense.maps.raster import create
from rasterio.transform import Affine
with create(Path(sys.argv[1]), shape=(4, 96, 64), crs="EPSG:32632", transform=Affine(10, 0, 5, 0, -10, 5),
            bands=["x"] * 4, tags={}) as out:
    out.write(0, np.ones((4, 32, 64), np.float32))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out.tif")]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (tmp_path / "out.tif").exists()


def test_a_folder_one_may_not_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("skysense.files.tempfile.mkstemp", refuse)
    with pytest.raises(OutputError, match=r"permission denied\. Choose a folder you may write to"):
        write(tmp_path / "out.tif", values())


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("a file")
    with pytest.raises(OutputError, match="A file stands where a folder is needed"):
        write(tmp_path / "maps" / "out.tif", values())
