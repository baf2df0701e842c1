"""Features of places: one file of vectors, or a folder of maps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from skysense.data.places import Places, write_dataset, write_place
from skysense.errors import InputError, OutputError
from skysense.geo import Footprint, Window
from skysense.maps import places as module
from skysense.maps.job import Settings
from skysense.maps.place_vectors import read_vectors
from skysense.maps.places import embed_places
from skysense.maps.product.read import open_product
from skysense.maps.sources.places import are_places
from skysense.model.assembly import SkySense
from skysense.observation import Sample, Series, collate
from skysense.sensors import SENTINEL1, SENTINEL2_L2A
from tests.maps.scenes import s1_values, s2_values

fcntl = pytest.importorskip("fcntl")  # locks of POSIX


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Three places: one of two sensors, one larger than a window, one without a position."""
    root = tmp_path / "places"
    dates = np.array(["2023-05-01", "2023-06-10"], "datetime64[D]")
    s2 = Series(SENTINEL2_L2A, np.stack([s2_values(8, 8)] * 2), dates, np.ones((2, 8, 8), bool))
    s1 = Series(SENTINEL1, s1_values(8, 8)[None], dates[:1], np.ones((1, 8, 8), bool))
    wide = Series(SENTINEL1, s1_values(8, 20)[None], dates[:1], np.ones((1, 8, 20), bool))
    wide.valid[:, :, :3] = False
    write_dataset(root, title="Fields", simulated=True, legends={})
    ground = Footprint((500_000, 5_400_000, 500_080, 5_400_080), "EPSG:32632")  # on the meridian of the zone
    wider = Footprint((500_000, 5_400_000, 500_200, 5_400_080), "EPSG:32632")
    write_place(root, Sample("a", {"s2": s2, "s1": s1}, lon=9.0005, lat=48.7527, footprint=ground))
    write_place(root, Sample("b", {"s1": wide}, lon=9.0013, lat=48.7527, footprint=wider))
    write_place(root, Sample("c", {"s1": s1}))
    return root


def pooled(model: SkySense, sample: Sample) -> np.ndarray:
    with torch.inference_mode():
        found = model(collate([sample]))
    return found.cells_BDhw[0][:, found.occupied_Bhw[0]].mean(dim=1).numpy()


def test_a_vector_is_the_mean_of_the_cells_of_a_place(places: Path, tmp_path: Path, model: SkySense) -> None:
    assert are_places(places)
    assert not are_places(tmp_path)
    told: list[tuple[int, int]] = []
    settings = Settings(window_cells=8, overlap_cells=2)
    result = embed_places(model, places, tmp_path / "v", settings=settings, progress=lambda *at: told.append(at))
    assert (result.path.name, result.places, result.failures) == ("v.safetensors", 3, {})
    assert told[-1] == (3, 3)
    found = read_vectors(result.path)
    assert found.names == ("a", "b", "c")
    np.testing.assert_allclose(found.lonlat_N2, [[9.0005, 48.7527], [9.0013, 48.7527], [np.nan, np.nan]])
    corpus = Places(places)
    for at in (0, 2):
        np.testing.assert_allclose(found.vectors_ND[at], pooled(model, corpus.read_sample(corpus[at])), atol=1e-5)
    embed_places(model, places, tmp_path / "maps", cells=True, settings=settings)
    with open_product(tmp_path / "maps" / "b.tif") as product:
        cells = product.read_values("features", Window(0, 0, 8, 20))
        assert product.grid.bounds == (500_000, 5_400_000, 500_200, 5_400_080)
    assert np.isnan(cells[0, :, :3]).all()
    np.testing.assert_allclose(found.vectors_ND[1], np.nanmean(cells, axis=(1, 2)), atol=1e-5)
    assert found.metadata["bands"] == [f"fused {at}" for at in range(96)]


def test_places_that_cannot_be_used_are_left_out_and_listed(places: Path, tmp_path: Path, model: SkySense) -> None:
    file = places / "b" / "s1.nc"
    file.write_bytes(file.read_bytes()[:200])
    result = embed_places(model, places, tmp_path / "v.safetensors", frames=1)
    assert result.places == 2
    assert list(result.failures) == ["b"]
    assert read_vectors(result.path).names == ("a", "c")
    maps = embed_places(model, places, tmp_path / "maps", cells=True)
    assert set(maps.failures) == {"b", "c"}
    assert maps.failures["c"] == "has no footprint, and a map needs one"
    for name in ("a", "c"):
        (places / name / "s1.nc").write_bytes(b"")
        (places / name / "s2.nc").unlink(missing_ok=True)
    with pytest.raises(InputError, match="none of its places can be used"):
        embed_places(model, places, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_a_run_that_was_cut_off_goes_on(
    places: Path, tmp_path: Path, model: SkySense, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 1)
    whole = embed_places(model, places, tmp_path / "whole.safetensors").path.read_bytes()

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "v.safetensors"
    with pytest.raises(KeyboardInterrupt):
        embed_places(model, places, out, progress=stop)
    with pytest.raises(OutputError, match="another run left its unfinished work"):
        embed_places(model, places, out, frames=1)
    seen: list[int] = []
    embed_places(model, places, out, progress=lambda done, _: seen.append(done))
    assert seen == [2, 3, 3]
    assert out.read_bytes() == whole
    with pytest.raises(OutputError, match="exists already"):
        embed_places(model, places, out)
    with pytest.raises(InputError, match="cannot be read as vectors"):
        read_vectors(places / "dataset.json")


def test_places_that_have_changed_are_noticed(
    places: Path, tmp_path: Path, model: SkySense, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 1)
    out, maps = tmp_path / "v.safetensors", tmp_path / "maps"

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_places(model, places, out, progress=stop)
    embed_places(model, places, maps, cells=True)
    state = (places / "a" / "s1.nc").stat()
    os.utime(places / "a" / "s1.nc", ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    with pytest.raises(OutputError, match="left its unfinished work here, or places have changed since"):
        embed_places(model, places, out)
    with pytest.raises(OutputError, match=r"a\.tif: is of another model, other settings or other imagery"):
        embed_places(model, places, maps, cells=True)
    assert embed_places(model, places, out, overwrite=True).places == 3
    assert read_vectors(out).metadata["simulated"] is True


def test_two_runs_at_once_are_refused(places: Path, tmp_path: Path, model: SkySense) -> None:
    out, maps = tmp_path / "v.safetensors", tmp_path / "maps"
    work = tmp_path / ".v.safetensors.work"
    for folder in (work, maps):
        folder.mkdir()
    handles = [os.open(folder, os.O_RDONLY) for folder in (work, maps)]
    for handle in handles:
        fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(OutputError, match=r"v\.safetensors\.work: another process is at work on it"):
        embed_places(model, places, out)
    with pytest.raises(OutputError, match="maps: another process is at work on it"):
        embed_places(model, places, maps, cells=True)
    for handle in handles:
        os.close(handle)
    assert embed_places(model, places, out).places == 3
    assert embed_places(model, places, maps, cells=True).places == 2
    assert not work.exists()


def test_killed_before_its_work_is_removed_a_run_is_finished_by_the_next(
    places: Path, tmp_path: Path, model: SkySense, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "v.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed_places(model, places, out)
    before = out.read_bytes()
    assert embed_places(model, places, out).places == 3
    assert out.read_bytes() == before and not list(tmp_path.glob(".*"))
    with pytest.raises(OutputError, match="exists already"):
        embed_places(model, places, out)


def test_maps_of_another_model_are_not_taken_for_finished(places: Path, tmp_path: Path, model: SkySense) -> None:
    out = tmp_path / "maps"
    embed_places(model, places, out, cells=True)
    before = (out / "a.tif").read_bytes()
    embed_places(model, places, out, cells=True)
    with pytest.raises(OutputError, match="of another model, other settings or other imagery"):
        embed_places(model, places, out, cells=True, frames=1)
    assert (out / "a.tif").read_bytes() == before
    embed_places(model, places, out, cells=True, frames=1, overwrite=True)
    with open_product(out / "a.tif") as product:
        assert product.metadata["frames"] == 1 and product.metadata["model"]["sha256"]


def test_a_run_that_replaces_maps_goes_on_after_a_cut(places: Path, tmp_path: Path, model: SkySense) -> None:
    out = tmp_path / "maps"
    embed_places(model, places, out, cells=True, frames=1)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_places(model, places, out, cells=True, overwrite=True, progress=stop)
    replaced = (out / "a.tif").stat()
    seen: list[int] = []
    embed_places(model, places, out, cells=True, overwrite=True, progress=lambda done, _: seen.append(done))
    assert (out / "a.tif").stat() == replaced and seen[0] == 2
    for name in ("a", "b"):
        with open_product(out / f"{name}.tif") as product:
            assert product.metadata["frames"] is None
    (out / "a.tif").write_text("something else")
    embed_places(model, places, out, cells=True, overwrite=True)
    with open_product(out / "a.tif") as product:
        assert product.metadata["frames"] is None
