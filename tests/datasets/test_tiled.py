"""Copies in blocks: the same pixels, the same data set, gone on with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from skysense.cli import main
from skysense.datasets import tiled
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.tiled import make_tiled
from skysense.errors import InputError, OutputError
from tests.data.labelled.files import rgb, write
from tests.datasets.fakes import isaid, potsdam

WIDE = 2100


@pytest.fixture
def noise() -> np.random.Generator:
    return np.random.default_rng(0)


def test_every_kind_of_large_image_stays_what_it_is(tmp_path: Path, noise: np.random.Generator) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    write(source / "a/rgb.png", rgb(300, WIDE))
    write(source / "a/grey.png", noise.integers(0, 9000, (300, WIDE)).astype(np.uint16))
    write(source / "alpha.png", noise.integers(0, 256, (4, 300, WIDE)).astype(np.uint8))
    write(source / "photo.jpg", rgb(300, WIDE))
    write(source / "bits.png", noise.integers(0, 2, (300, WIDE)).astype(np.uint8), nbits=1)
    with rasterio.open(write(source / "palette.png", noise.integers(0, 3, (300, WIDE)).astype(np.uint8)), "r+") as file:
        file.write_colormap(1, {index: (index, 9, 9, 255) for index in range(3)})
    heights = noise.normal(size=(2, 300, WIDE)).astype(np.float32)
    heights[0, 0, 0] = np.nan
    place = {"crs": "EPSG:32633", "transform": Affine(2, 0, 7, 0, -2, 9)}
    write(source / "strips.tif", heights, names=("low", "high"), tags={"SKYSENSE_UNIT": "dB"}, nodata=-9, **place)
    write(source / "world.tif", rgb(300, WIDE), photometric="RGB")
    (source / "world.tfw").write_text("0.05\n0\n0\n-0.05\n366976.525\n5809761.0\n", "utf-8")
    calls = []
    copied = make_tiled(source, out, lambda done, total: calls.append((done, total)))
    assert (copied.tiled, copied.as_they_are, copied.damaged) == (8, 1, []) and calls[-1] == (9, 9)
    for file in source.rglob("*.*g"):
        assert not (out / file.relative_to(source)).exists()
    for file in [*source.rglob("*.png"), *source.rglob("*.jpg"), *source.rglob("*.tif")]:
        with rasterio.open(file) as one, rasterio.open((out / file.relative_to(source)).with_suffix(".tif")) as other:
            assert set(other.block_shapes) == {(256, 256)} and other.compression.name == "zstd"
            np.testing.assert_array_equal(one.read(), other.read())
            for what in ("crs", "transform", "nodata", "dtypes", "descriptions", "colorinterp", "mask_flag_enums"):
                assert getattr(one, what) == getattr(other, what), (file.name, what)
            assert one.tags().get("SKYSENSE_UNIT") == other.tags().get("SKYSENSE_UNIT")
    assert (out / "world.tfw").read_bytes() == (source / "world.tfw").read_bytes()
    assert not list(out.rglob(".*"))


def test_everything_else_is_copied(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    write(source / "small.png", rgb())
    write(source / "blocks.tif", rgb(300, WIDE), tiled=True, blockxsize=512, blockysize=512)
    write(source / "twice.png", rgb(300, WIDE))
    write(source / "twice.jpg", rgb(300, WIDE))
    whole = write(source / "broken.png", rgb(300, WIDE))
    whole.write_bytes(whole.read_bytes()[:400_000])
    (source / "fake.tif").write_text("no image", "utf-8")
    (source / "lists").mkdir()
    (source / "lists/train.txt").write_text("a\n", "utf-8")
    (source / "elsewhere").symlink_to(tmp_path / "other")
    write(tmp_path / "other/linked.png", rgb())
    (source / "lists/round").symlink_to(source)  # a folder in itself
    copied = make_tiled(source, out)
    assert copied.damaged == [source / "broken.png"] and copied.tiled == 0
    names = ["small.png", "blocks.tif", "twice.png", "twice.jpg", "broken.png", "fake.tif", "lists/train.txt"]
    for name in [*names, "elsewhere/linked.png"]:
        assert (out / name).read_bytes() == (source / name).read_bytes()
    assert copied.as_they_are == len([file for file in out.rglob("*") if file.is_file()]) == 8


def test_a_copy_that_was_cut_off_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for name in "abc":
        write(source / f"{name}.png", rgb(40, WIDE, seed=ord(name)))
    (source / "list.txt").write_text("a", "utf-8")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_tiled(source, out, stop)
    assert sorted(file.name for file in out.iterdir()) == ["a.tif", "b.tif"]
    written = (out / "a.tif").stat().st_mtime_ns
    copied = make_tiled(source, out)
    assert (copied.tiled, copied.as_they_are, copied.before) == (1, 1, 2)
    assert (out / "a.tif").stat().st_mtime_ns == written
    write(source / "a.png", rgb(40, WIDE, seed=9))
    os.utime(source / "a.png", ns=(written + 10**9, written + 10**9))  # newer than its copy
    assert make_tiled(source, out).tiled == 1
    with rasterio.open(out / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), rgb(40, WIDE, seed=9))
    (out / "b.tif").unlink()
    os.utime(source / "a.png", ns=(written, written))
    monkeypatch.setattr(tiled.np, "array_equal", lambda *_: False)
    with pytest.raises(OutputError, match=r"b\.tif: differs from .*b\.png after writing"):
        make_tiled(source, out)
    assert not (out / "b.tif").exists()


def test_a_copy_is_the_same_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "LARGE", 100)
    for name, write_fake, tile in (("isaid", isaid.write, 96), ("potsdam", potsdam.write, 64)):
        source, out = tmp_path / name, tmp_path / f"{name} in blocks"
        write_fake(source, size=320)
        assert make_tiled(source, out).tiled > 10
        before, after = open_dataset(name, source, tile=tile), open_dataset(name, out, tile=tile)
        assert after.items == before.items
        for index in range(0, len(before), 7):
            one, other = before.read(index), after.read(index)
            np.testing.assert_array_equal(one.target, other.target)
            np.testing.assert_array_equal(one.sample.series["hr"].values, other.sample.series["hr"].values)


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for source, out in ((tmp_path, tmp_path / "in"), (tmp_path / "in", tmp_path), (tmp_path, tmp_path)):
        with pytest.raises(InputError, match="Make the copy elsewhere"):
            make_tiled(source, out)
    with pytest.raises(InputError, match="is not a folder"):
        make_tiled(tmp_path / "nowhere", tmp_path / "out")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "source/a.png", rgb(40, WIDE))
    broken = write(tmp_path / "source/b.png", rgb(300, WIDE))
    broken.write_bytes(broken.read_bytes()[:400_000])
    assert main(["datasets", "tile", str(tmp_path / "source"), str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 images in blocks, 1 other files" in said and "damaged, copied as it is:" in said and "b.png" in said
    assert main(["datasets", "tile", str(tmp_path / "source"), str(tmp_path / "out")]) == 0
    assert "2 were there before" in capsys.readouterr().out
