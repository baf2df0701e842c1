"""A map while it is made: parts in any order, killed anywhere, on a disk that fills up."""

from __future__ import annotations

import errno
import itertools
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skysense.errors import OutputError
from skysense.maps.product import cog, packs
from skysense.maps.product.read import open_product
from skysense.maps.product.work import Work
from tests.maps.product.dying import survives
from tests.maps.product.made import begin, classes, contents, features, fill, numbers

LAYERS = [features("float32", 2), classes(per_cell=8)]
SIZE, PART = (150, 130), (64, 96)
METADATA = {"software": "skysense test"}
both = pytest.mark.parametrize("suffix", [".tif", ".zarr"])


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    return {layer.name: numbers(layer, *SIZE) for layer in LAYERS}


def start(out: Path, **kw) -> Work:
    return begin(out, LAYERS, SIZE, PART, **kw)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, stored: dict[str, np.ndarray]) -> dict[str, dict[str, str]]:
    """What a run that nothing disturbs leaves."""
    made = {}
    for suffix in (".tif", ".zarr"):
        work = start(tmp_path_factory.mktemp("whole") / f"out{suffix}")
        fill(work, stored)
        made[suffix] = contents(*work.finish(METADATA))
    return made


def draw(made: Path, picture: Path) -> None:
    """A picture of an output that is whole."""
    with open_product(made) as product:
        picture.write_text(str(product.grid.transform))


@both
def test_the_order_of_parts_and_the_process_do_not_matter(
    tmp_path: Path, stored: dict[str, np.ndarray], whole: dict[str, dict[str, str]], suffix: str
) -> None:
    work = start(tmp_path / f"out{suffix}")
    parts = random.Random(1).sample(work.parting.parts, len(work.parting.parts))
    assert parts != work.parting.parts
    fill(pickle.loads(pickle.dumps(work)), stored, parts[:2])
    fill(work, stored, parts[1:])  # one of them twice
    steps: list[tuple[int, int]] = []
    files = work.finish(METADATA, lambda done, total: steps.append((done, total)))
    assert contents(*files) == whole[suffix]
    assert [done for done, _ in steps] == list(range(1, steps[0][1] + 1)) and steps[-1][0] == steps[-1][1]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert work.finish(METADATA) == files


@both
def test_a_run_that_ended_early_goes_on(tmp_path: Path, stored: dict[str, np.ndarray], suffix: str) -> None:
    first = start(tmp_path / f"out{suffix}")
    done, *rest = first.parting.parts
    fill(first, stored, [done])
    with pytest.raises(ValueError, match="rows were written"), first.open(rest[0]) as writer:
        writer.put("features", 0, stored["features"][:, :32, 96:])
    first.keep("pca", {"mean": [1.5]})
    first.keep_array("pca", {"axes": np.eye(2)})
    again = start(tmp_path / f"out{suffix}")
    assert again.account(done) == {"part": "0-0"} and again.account(rest[0]) is None
    assert again.kept("pca") == {"mean": [1.5]} and again.kept("other") is None and again.kept_array("other") is None
    np.testing.assert_array_equal(again.kept_array("pca")["axes"], np.eye(2))
    with pytest.raises(OutputError, match=r"5 of 6 parts are not finished: 0-1, 1-0"):
        again.finish(METADATA)
    fill(again, stored, rest)
    again.finish(METADATA)


def test_a_part_that_was_cut_short_is_not_taken_for_whole(tmp_path: Path, stored: dict[str, np.ndarray]) -> None:
    work = start(tmp_path / "out.tif")
    fill(work, stored)
    first, second, *_ = work.parting.parts
    pack = next(work.folder.glob(f"features.0.{first.name}.pack"))
    content = pack.read_bytes()
    for cut in (1, 5, len(content) // 2, len(content)):
        pack.write_bytes(content[:-cut])
        assert work.account(first) is None
    assert work.account(second) == {"part": second.name}
    pack.write_bytes(content)
    assert work.account(first) == {"part": first.name}


@pytest.mark.parametrize(
    ("suffix", "step"),
    [
        (".tif", 17),
        (".zarr", 61),
        pytest.param(".tif", 3, marks=pytest.mark.long),
        pytest.param(".zarr", 11, marks=pytest.mark.long),
    ],
)
def test_killed_at_any_moment_finish_goes_on_to_the_same_file(
    tmp_path: Path,
    stored: dict[str, np.ndarray],
    whole: dict[str, dict[str, str]],
    suffix: str,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also twice in a row; outputs are there whole or not at all, and a run begun anew sees that it may go on.

    An output that is there has its picture.
    """
    ready, now = tmp_path / "ready", tmp_path / "now"
    fill(start(ready / f"out{suffix}"), stored)
    picture = now / "out.png"
    for moment in itertools.count(0, step):
        shutil.rmtree(now, ignore_errors=True)
        shutil.copytree(ready, now)
        work = start(now / f"out{suffix}", picture=picture)
        if survives(lambda work=work: work.finish(METADATA, draw=draw), moment, monkeypatch):
            break
        assert picture.exists() or not work.out.exists()
        for path in work.outputs:
            if path.exists():
                assert contents(path).items() <= whole[suffix].items()
        if moment % 2:
            survives(lambda work=work: work.finish(METADATA, draw=draw), moment % 5, monkeypatch)
        if work.folder.exists():
            assert start(work.out, picture=picture) == work
        assert contents(*work.finish(METADATA, draw=draw)) == whole[suffix]
        assert sorted(now.iterdir()) == sorted([*work.outputs, picture])
        assert picture.read_text() == str(work.grid.transform)
    assert moment > 90


def test_a_map_that_draws_nothing_leaves_no_picture_of_the_one_it_replaces(
    tmp_path: Path, stored: dict[str, np.ndarray]
) -> None:
    picture = tmp_path / "out.tif.png"
    for drawing in (draw, lambda *_: None, draw, None):
        work = start(tmp_path / "out.tif", picture=picture if drawing else None, overwrite=True)
        fill(work, stored)
        work.finish(METADATA, draw=drawing)
        assert picture.exists() == (drawing is draw)
        assert work.drawn == (picture if drawing is draw else None)
    (tmp_path / "out.tif").unlink()
    picture.write_text("of a map that is gone")
    fill(work := start(tmp_path / "out.tif", picture=picture, overwrite=True), stored)
    work.finish(METADATA, draw=lambda *_: None)
    assert work.drawn is None
    picture.write_text("precious")
    fill(other := start(tmp_path / "other.tif"), stored)
    (tmp_path / "other.tif.png").write_text("precious")  # nothing is replaced, and none is to be drawn
    other.finish(METADATA)
    assert (tmp_path / "other.tif.png").exists()
    with pytest.raises(OutputError, match=r"out\.tif: exists already"):
        start(tmp_path / "out.tif", picture=picture)
    with pytest.raises(OutputError, match=r"a\.png: is the input"):
        start(tmp_path / "a.tif", picture=tmp_path / "a.png", source_files=[tmp_path / "a.png"])


def test_killed_while_a_part_is_written_it_does_not_count(
    tmp_path: Path, stored: dict[str, np.ndarray], whole: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = start(tmp_path / "out.tif")
    part, *rest = work.parting.parts
    for moment in itertools.count():
        if survives(lambda: fill(work, stored, [part]), moment, monkeypatch):
            break
        assert work.account(part) is None or moment > 8
        assert start(tmp_path / "out.tif") == work
    assert moment > 8
    fill(work, stored, rest)
    assert contents(*work.finish(METADATA)) == whole[".tif"]


def used(folder: Path) -> int:
    """Bytes on the disk; holes in files take none."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def test_there_is_never_a_second_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its fullest the disk holds all packs, the directories, the pack that is being copied, and small change."""
    layer, size = features("float32", 24), (640, 512)
    work = begin(tmp_path / "out.tif", [layer], size, (128, 128))
    fill(work, {"features": numbers(layer, *size)})
    assert len(work.parting.parts) == 20
    fullest, all_packs, largest = 0, 0, 0
    place = cog._place

    def watched(pack: Path, *where: object) -> None:
        nonlocal fullest, all_packs, largest
        sizes = [one.stat().st_size for one in work.folder.glob("*.pack")]
        all_packs, largest = max(all_packs, sum(sizes)), max(largest, *sizes)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda path: None)
            place(pack, *where)
        fullest = max(fullest, used(tmp_path))
        pack.unlink()

    monkeypatch.setattr(cog, "_place", watched)
    work.finish(METADATA)
    final = work.out.stat().st_size
    blocks = 4096 * (4 * 25 * 2 + 60)  # every row of tiles begins and ends within a block of the disk; small files
    assert all_packs > 0.95 * final
    assert final <= fullest <= final + largest + blocks
    assert largest + blocks < 0.2 * final


def test_a_full_disk_is_named_and_what_was_finished_is_kept(
    tmp_path: Path, stored: dict[str, np.ndarray], whole: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    work = start(tmp_path / "out.tif")
    first, *rest = work.parting.parts
    fill(work, stored, [first])
    with monkeypatch.context() as patch:
        patch.setattr(packs, "framed", full)
        with pytest.raises(OutputError, match=r"no space left on device\. Free some space"):
            fill(work, stored, rest)
    assert work.account(first) == {"part": "0-0"}
    assert not list(work.folder.glob(".*"))
    fill(work, stored, rest)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(cog, "_place", full)
            with pytest.raises(OutputError, match=r"no space left on device\. Free some space"):
                work.finish(METADATA)
    files = work.finish({"software": "a later release"})  # too late: what was said first holds for all layers
    assert contents(*files) == whole[".tif"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from skysense.errors import OutputError
from tests.maps.product.made import begin, features, fill, numbers
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
layer = features("float32", 8)
work = begin(Path(sys.argv[1]), [layer], (64, 64), (32, 64))
stored = {"features": numbers(layer, 64, 64)}
first, second = work.parting.parts
fill(work, stored, [first])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    fill(work, stored, [second])
except OutputError as error:
    print("refused:", error)
print(work.account(first), work.account(second))
"""


@both
def test_a_file_that_could_not_grow_is_refused(tmp_path: Path, suffix: str) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path / f"out{suffix}")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("refused: ") and ": could not be written: " in said
    assert said.endswith("{'part': '0-0'} None\n")


@both
def test_an_existing_output_is_kept_unless_it_may_be_replaced(
    tmp_path: Path, stored: dict[str, np.ndarray], whole: dict[str, dict[str, str]], suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    one = begin(out, [features("int8")], (20, 20), (32, 32))
    fill(one, {"features": numbers(features("int8"), 20, 20)})
    before = contents(*one.finish(METADATA))
    with pytest.raises(OutputError, match=r"exists already\. Choose another name, or --overwrite true replaces it"):
        start(out)
    work = start(out, overwrite=True)
    fill(work, stored)
    assert contents(out) == before
    assert contents(*work.finish(METADATA)) == whole[suffix]


def test_the_work_of_another_run_is_not_touched_unless_told(tmp_path: Path, stored: dict[str, np.ndarray]) -> None:
    work = start(tmp_path / "out.tif")
    part = work.parting.parts[0]
    fill(work, stored, [part])
    with pytest.raises(
        OutputError, match=r"another run left its unfinished work here\. .*--overwrite true begins anew"
    ):
        start(tmp_path / "out.tif", identity={"model": "other"})
    assert work.account(part) is not None
    other = start(tmp_path / "out.tif", identity={"model": "other"}, overwrite=True)
    assert other.account(part) is None and other.run != work.run


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.png: is neither a GeoTIFF nor a Zarr"):
        start(tmp_path / "out.png")
    for source in (tmp_path / "out.tif", tmp_path / "out_classes.tif"):
        with pytest.raises(OutputError, match="is the input"):
            start(tmp_path / "out.tif", source_files=[source], overwrite=True)
    with pytest.raises(OutputError, match="or holds it"):
        start(tmp_path / "out.zarr", source_files=[tmp_path / "out.zarr" / "hr.tif"])
    (tmp_path / "photos.zarr").mkdir()
    (tmp_path / "photos.zarr" / "a.jpg").touch()
    with pytest.raises(OutputError, match="is a folder with something else in it"):
        start(tmp_path / "photos.zarr", overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["photos.zarr"]


def test_rows_that_are_not_the_next_ones_are_a_mistake(tmp_path: Path, stored: dict[str, np.ndarray]) -> None:
    work = start(tmp_path / "out.tif")
    part = work.parting.parts[0]
    rows = stored["features"][:, :, :96]
    for row, block in ((32, rows[:, :32]), (0, rows[:, :20]), (0, rows[:1, :32]), (0, rows[:, :32].astype(float))):
        with pytest.raises(ValueError, match="features: "), work.open(part) as writer:
            writer.put("features", row, block)
    with pytest.raises(ValueError, match="features: 32 of 64 rows were written"), work.open(part) as writer:
        writer.put("features", 0, rows[:, :32])
    with pytest.raises(ValueError, match="no multiple of a tile"):
        begin(tmp_path / "b.tif", [classes()], SIZE, (64, 256))


_HOLDER = """
import sys
from pathlib import Path
from tests.maps.product.made import begin, features
begin(Path(sys.argv[1]), [features("int8")], (20, 20), (32, 32))
print("begun", flush=True)
sys.stdin.read()
"""


def test_two_processes_do_not_make_one_map(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(out)], text=True, **piped) as other:
        assert other.stdout is not None and other.stdout.readline() == "begun\n"
        with pytest.raises(OutputError, match="another process is at work on it"):
            begin(out, [features("int8")], (20, 20), (32, 32))
        with pytest.raises(OutputError, match="another process is at work on it"):
            begin(out, [features("float32")], (20, 20), (32, 32), overwrite=True)
        other.kill()
    begin(out, [features("int8")], (20, 20), (32, 32))
