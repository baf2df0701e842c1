"""Folders and tar files of places become one corpus: complete, in order, without labels, and whenever it is stopped."""

from __future__ import annotations

import errno
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from skysense.data.places import Places, write_dataset, write_place
from skysense.data.shards import convert as module
from skysense.data.shards.check import check
from skysense.data.shards.convert import convert
from skysense.data.shards.read import Shards
from skysense.data.shards.tars import tar_files
from skysense.errors import InputError, OutputError
from tests.data.places_samples import make_sample, write_folder

NAMES = [f"p{number}" for number in range(7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("folder") / "farms", *NAMES)


def names(root: Path) -> list[str]:
    return [place.name for place in Shards(root)]


def assert_equal(root: Path, folder: Path) -> None:
    """Every place of the corpus is the one of its name, or of what follows a dot, in the folder."""
    corpus, places = Shards(root), {place.name: place for place in Places(folder)}
    for place in corpus:
        other = places[place.name.rpartition(".")[2]]
        written = Places(folder).read_sample(other)
        read = corpus.read_sample(place)
        for key, series in written.series.items():
            assert (read.series[key].values.tobytes(), read.series[key].sensor) == (
                series.values.tobytes(),
                series.sensor,
            )
        assert (place.lon, place.lat, place.footprint, place.cells) == (
            other.lon,
            other.lat,
            other.footprint,
            other.cells,
        )
        assert (place.split, corpus.attributes(place)) == (other.split, other.attributes)


def pack(target: Path, folder: Path, wanted: Sequence[str], *, under: str = "") -> Path:
    """Places as the members of a tar file, labels and all."""
    with tarfile.open(target, "w:gz" if target.suffix in (".gz", ".tgz") else "w") as tar:
        for name in wanted:
            for file in sorted((folder / name).iterdir()):
                tar.add(file, f"{under}{name}.{file.name}")
    if not (target.parent / "dataset.json").exists():
        shutil.copy(folder / "dataset.json", target.parent)
    return target


def test_a_folder_becomes_a_corpus(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = convert([folder], tmp_path / "out", places_per_shard=3, progress=lambda *now: seen.append(now))
    assert names(tmp_path / "out") == NAMES
    assert_equal(tmp_path / "out", folder)
    assert [shard.places for shard in done.manifest.shards] == [3, 3, 1]
    assert (done.places, done.before, done.labelled, done.failures) == (7, 0, 7, [])
    assert (done.manifest.title, done.manifest.simulated) == ("Test", True)
    assert (done.manifest.source, done.manifest.licence) == ("here", "CC0")
    assert Shards(tmp_path / "out").manifest == done.manifest
    assert seen == [*((count, 7) for count in range(1, 8)), (7, 7)]
    assert check(tmp_path / "out").problems == []


def test_places_without_labels_are_not_said_to_have_lost_some(tmp_path: Path) -> None:
    write_dataset(tmp_path / "bare", title="bare", simulated=False, legends={})
    write_place(tmp_path / "bare", make_sample("a"))
    done = convert([tmp_path / "bare"], tmp_path / "out", title="Ours")
    assert (done.labelled, done.manifest.title, done.manifest.simulated) == (0, "Ours", False)


def test_several_sources_are_told_apart_by_their_names(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "more", title="More", simulated=False, legends={}, source="there", licence="CC0")
    write_place(tmp_path / "more", make_sample("p0", width=4))
    tar = pack(tmp_path / "last.tar", folder, ["p3"])
    done = convert([folder, tmp_path / "more", tar], tmp_path / "out")
    assert sorted(names(tmp_path / "out")) == [
        "farms.p0",
        *(f"farms.{name}" for name in NAMES[1:]),
        "last.p3",
        "more.p0",
    ]
    assert (done.manifest.title, done.manifest.source, done.manifest.licence) == ("Test, More", "here; there", "CC0")
    assert done.manifest.simulated
    with pytest.raises(InputError, match="a name of its own; got farms, farms"):
        convert([folder, folder], tmp_path / "other")


def test_what_is_neither_folder_nor_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is neither a folder of places nor a tar file"):
        convert([tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(InputError, match=r"holds no dataset\.json"):
        convert([tmp_path], tmp_path / "out")
    with pytest.raises(InputError, match="got none"):
        convert([], tmp_path / "out")
    with pytest.raises(InputError, match="must be at least 1"):
        convert([tmp_path], tmp_path / "out", places_per_shard=0)
    assert not (tmp_path / "out").exists()


def test_broken_places_are_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    farms = Path(shutil.copytree(folder, tmp_path / "farms"))
    (farms / "p1" / "s2.nc").write_bytes(b"no cube")
    (farms / "p3" / "place.json").write_text("{")
    (farms / "p4" / "hr.tif").write_bytes((farms / "p4" / "hr.tif").read_bytes()[:3000])
    content = json.loads((farms / "p5" / "place.json").read_text())
    (farms / "p5" / "place.json").write_text(json.dumps(content | {"attributes": {"x": float("nan")}}))
    done = convert([farms], tmp_path / "out", places_per_shard=2)
    assert names(tmp_path / "out") == ["p0", "p2", "p6"]
    assert [one.place for one in done.failures] == ["p1", "p3", "p4", "p5"]
    said = [one.message for one in done.failures]
    assert said[0] == "s2.nc: is truncated or not a NetCDF file"
    assert said[1] == "place.json: is not valid JSON (truncated or foreign)"
    assert said[2] == "hr.tif: is truncated or not a GeoTIFF"
    assert "attributes hold what JSON cannot" in said[3]


def test_a_folder_of_which_nothing_can_be_read_is_refused(folder: Path, tmp_path: Path) -> None:
    farms = Path(shutil.copytree(folder, tmp_path / "farms"))
    for file in farms.glob("*/place.json"):
        file.write_text("{")
    with pytest.raises(InputError, match=r"no place could be read; the first: p0: place\.json"):
        convert([farms], tmp_path / "out")


class _Enough(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_the_same_call_goes_on_where_it_was_stopped(
    folder: Path, tmp_path: Path, stop: int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder if form == "folder" else pack(tmp_path / "farms.tar", folder, NAMES)
    whole = convert([source], tmp_path / "whole", places_per_shard=2)

    def progress(done: int, _total: int) -> None:
        if done == stop:
            raise _Enough

    with pytest.raises(_Enough):
        convert([source], tmp_path / "out", places_per_shard=2, progress=progress)
    (tmp_path / "out" / ".000009.zarr.x.unfinished").mkdir()
    read: list[str] = []
    plain = module._sample
    monkeypatch.setattr(module, "_sample", lambda place, name: read.append(name) or plain(place, name))
    done = convert([source], tmp_path / "out", places_per_shard=2)
    finished = stop // 2 * 2
    assert done.manifest == whole.manifest and done.before == finished and read == NAMES[finished:]
    assert check(tmp_path / "out").problems == [] and names(tmp_path / "out") == NAMES
    again = convert([source], tmp_path / "out", places_per_shard=2)
    assert again.manifest == whole.manifest and again.before == 7 and len(read) == 7 - finished


def test_another_corpus_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    convert([folder], tmp_path / "out", places_per_shard=4)
    before = (tmp_path / "out" / "shards.json").read_bytes()
    with pytest.raises(OutputError, match=r"was begun with other settings \(places_per_shard\)"):
        convert([folder], tmp_path / "out", places_per_shard=2)
    (tmp_path / "out" / "convert.json").unlink()
    with pytest.raises(OutputError, match="holds another corpus"):
        convert([folder], tmp_path / "out", places_per_shard=4)
    (tmp_path / "out" / "shards.json").unlink()
    with pytest.raises(OutputError, match="holds another corpus"):
        convert([folder], tmp_path / "out", places_per_shard=4)
    assert before


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz"])
def test_tar_files_are_read_like_the_folder_they_were_made_of(folder: Path, tmp_path: Path, ending: str) -> None:
    pack(tmp_path / f"farms-00{ending}", folder, NAMES[:3])
    pack(tmp_path / f"farms-01{ending}", folder, NAMES[3:], under="./")
    seen: list[tuple[int, int]] = []
    done = convert(
        [f"{tmp_path}/farms-{{00..01}}{ending}"],
        tmp_path / "out",
        places_per_shard=4,
        progress=lambda *now: seen.append(now),
    )
    assert names(tmp_path / "out") == NAMES and done.labelled == 7 and not done.failures
    assert_equal(tmp_path / "out", folder)
    plain = convert([folder], tmp_path / "plain", places_per_shard=4)
    assert [one.digest for one in done.manifest.shards] == [one.digest for one in plain.manifest.shards]
    assert seen[-1] == (7, 7) and [count for count, _ in seen[:-1]] == list(range(1, 8))
    assert all(total >= count for count, total in seen)
    assert not list(tmp_path.glob("skysense-*"))


def test_folders_inside_of_a_tar_file_become_part_of_the_name(folder: Path, tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", folder, ["p0", "p1"], under="north/sub/")
    convert([tmp_path / "a.tar"], tmp_path / "out")
    assert names(tmp_path / "out") == ["north.sub.p0", "north.sub.p1"]
    assert_equal(tmp_path / "out", folder)


def test_a_name_may_have_dots(tmp_path: Path) -> None:
    farms = write_folder(tmp_path / "farms", "a.b", "a.c")
    done = convert([pack(tmp_path / "a.tar", farms, ["a.b", "a.c"])], tmp_path / "out")
    assert names(tmp_path / "out") == ["a.b", "a.c"] and done.labelled == 2


def test_broken_members_and_places_are_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    tar = pack(tmp_path / "a.tar", folder, ["p0", "p1"])
    with tarfile.open(tar, "a") as more:
        for name, content in (
            ("README.md", b"hello"),
            ("bad.place.json", b"{"),
            ("lost.hr.tif", b"II"),
            ("p2.place.json", (folder / "p2" / "place.json").read_bytes()),
            ("p2.s2.nc", b"no cube"),
            ("../up.place.json", b"{}"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            more.addfile(member, io.BytesIO(content))
        for file in sorted((folder / "p3").iterdir()):
            more.add(file, f"p3.{file.name}")
        for file in sorted((folder / "p0").iterdir()):
            more.add(file, f"p0.{file.name}")
    done = convert([tar], tmp_path / "out")
    assert names(tmp_path / "out") == ["p0", "p1", "p3"] and done.labelled == 3
    assert [(one.place, one.message.split(":")[0]) for one in done.failures] == [
        ("bad", "place.json"),
        ("lost", "place.json"),
        ("p2", "s2.nc"),
        ("p0", "another place of this name came before"),
        ("...up", "place '...up' must be made of letters, digits, '_', '-' and '.', and not begin with a dot"),
    ]
    assert not (tmp_path / "up").exists()


@pytest.mark.parametrize("key", ["..", ".", "", "x/..", "/", "../..", "/etc"])
def test_a_member_whose_name_is_a_path_touches_nothing_outside(
    folder: Path, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = pack(tmp_path / "a.tar", folder, ["p0"])
    with tarfile.open(tar, "a") as more:
        for name in (f"{key}.place.json", f"{key}.s2.nc", "after.place.json"):
            more.addfile(tarfile.TarInfo(name))
    temporary = tmp_path / "temporary"
    (temporary / "of others").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    done = convert([tar], tmp_path / "out")
    assert names(tmp_path / "out") == ["p0"]
    assert [one.place for one in done.failures] == ["after", key.replace("/", ".")]
    assert [entry.name for entry in temporary.iterdir()] == ["of others"]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_a_corpus_is_not_finished_before_a_tar_file_that_breaks_off_is_mended(
    folder: Path, tmp_path: Path, ending: str
) -> None:
    first = pack(tmp_path / f"a-0{ending}", folder, NAMES[:3])
    pack(tmp_path / f"a-1{ending}", folder, NAMES[3:5])
    whole = first.read_bytes()
    first.write_bytes(whole[: int(len(whole) * 0.8)])
    for _ in range(2):
        with pytest.raises(InputError, match="is not finished: ") as raised:
            convert([f"{tmp_path}/a-*{ending}"], tmp_path / "out", places_per_shard=2)
        said = str(raised.value)
        assert f"{first.name} is truncated or no tar file" in said and "lost is p2 and what follows it" in said
        assert f"a-1{ending}" not in said
        assert not (tmp_path / "out" / "shards.json").exists()
        assert (tmp_path / "out" / "000001.zarr" / "zarr.json").exists()
    first.write_bytes(whole)
    done = convert([f"{tmp_path}/a-*{ending}"], tmp_path / "out", places_per_shard=2)
    assert sorted(names(tmp_path / "out")) == NAMES[:5] and (done.before, done.failures) == (4, [])
    assert check(tmp_path / "out").problems == []
    assert_equal(tmp_path / "out", folder)


def test_what_is_no_tar_file_is_named(folder: Path, tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", folder, ["p0"])
    (tmp_path / "b.tar").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match=r"is not finished: b\.tar is truncated or no tar file"):
        convert([f"{tmp_path}/{{a,b}}.tar"], tmp_path / "out")


@pytest.mark.parametrize("act", ["mkdir", "open"])
def test_a_full_disk_is_not_the_fault_of_a_tar_file(
    folder: Path, tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = pack(tmp_path / "a.tar", folder, ["p0", "p1"])
    honest = getattr(Path, act)

    def full(self: Path, *args: object, **more: object) -> object:
        if any(parent.name.startswith("skysense-") for parent in self.parents):
            raise OSError(errno.ENOSPC, "No space left on device")
        return honest(self, *args, **more)

    monkeypatch.setattr(Path, act, full)
    with pytest.raises(OutputError, match="could not be written: no space left on device"):
        convert([tar], tmp_path / "out")


def test_patterns_stand_for_files_in_order(tmp_path: Path) -> None:
    for name in ("x-08.tar", "x-09.tar", "x-10.tar", "y.tar"):
        (tmp_path / name).write_bytes(b"")

    def found(pattern: str) -> list[str]:
        return [file.name for file in tar_files(f"{tmp_path}/{pattern}")]

    assert found("x-{08..10}.tar") == ["x-08.tar", "x-09.tar", "x-10.tar"]
    assert found("{y,x-08}.tar") == ["y.tar", "x-08.tar"]
    assert found("x-0?.tar") == ["x-08.tar", "x-09.tar"] and found("y.tar") == ["y.tar"]
    for pattern in ("x-{08..11}.tar", "z*.tar", "z.tar"):
        with pytest.raises(InputError, match="is not there"):
            tar_files(f"{tmp_path}/{pattern}")


def test_tar_files_need_to_say_what_they_hold(folder: Path, tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", folder, ["p0"])
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(InputError, match=r"holds no dataset\.json"):
        convert([tmp_path / "a.tar"], tmp_path / "out")
