import numpy as np
import pytest
import rasterio

from skysense.curate.rehearsal import read_archive, simulated_archive
from skysense.curate.rehearsal.scenes import Grid, write_cog
from skysense.errors import InputError


def values(folder, layer):
    with rasterio.open(folder / layer.file) as file:
        return file.read()


def of(scenes, sensor):
    return [scene for scene in scenes.values() if scene.sensor == sensor]


def test_what_there_is(scenes):
    optical = of(scenes, "s2")
    assert len(optical) == 4 * 3 + 3
    assert {scene.tile for scene in optical} == {"16TBL", "16TBK", "15TYF"}
    assert {scene.baseline for scene in optical} == {"03.01", "04.00", "05.09", "05.10"}
    assert {scene.satellite for scene in optical} <= {"S2A", "S2B"}
    assert {scene.orbit_state for scene in of(scenes, "s1")} == {"ascending", "descending"}
    assert any(list(scene.layers) == ["VV"] for scene in of(scenes, "s1"))
    assert any(scene.shares["cloud_cover"] > 20 for scene in optical)
    assert any(scene.shares["cloud_cover"] < 20 for scene in optical)
    assert len(of(scenes, "naip")) == 2


def test_every_file_is_a_cog(folder, scenes):
    for scene in scenes.values():
        for layer in scene.layers.values():
            with rasterio.open(folder / layer.file) as file:
                assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert file.block_shapes[0] == (256, 256)
                assert file.crs.to_string() == layer.grid.crs
                assert list(file.transform)[:6] == pytest.approx(layer.grid.transform)
                assert file.shape == layer.grid.shape and file.dtypes[0] == layer.dtype
                assert (file.nodata is None) == (layer.nodata is None)
                assert bool(file.overviews(1)) == (max(file.shape) > 256)
                window = rasterio.windows.Window(5, 7, 40, 30)
                assert np.array_equal(file.read(1, window=window), file.read(1)[7:37, 5:45])


def test_cog_gives_back_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("uint8", "uint16", "float32"):
        written = rng.integers(0, 250, (2, 300, 520)).astype(kind)
        write_cog(tmp_path / f"{kind}.tif", written, Grid("EPSG:32616", 0, 0, 10, (300, 520)), nodata=0)
        with rasterio.open(tmp_path / f"{kind}.tif") as file:
            assert np.array_equal(file.read(), written)
            assert file.overviews(1)[0] == 2


def test_bands_have_their_own_size(scenes):
    for scene in of(scenes, "s2"):
        sizes = {band: layer.grid.size for band, layer in scene.layers.items()}
        assert all(sizes[band] == 10 for band in ("B2", "B3", "B4", "B8"))
        assert all(sizes[band] == 20 for band in ("B5", "B6", "B7", "B8A", "B11", "B12", "SCL"))
        assert len({layer.grid.bounds for layer in scene.layers.values()}) == 1


def test_offset_is_in_the_pixels_from_baseline_4_on(folder, scenes):
    for scene in of(scenes, "s2"):
        assert bool(scene.harmonised) == (scene.baseline >= "04.00") == scene.has_offset
        for band in ("B2", "B12") if scene.harmonised else ():
            with_it = values(folder, scene.layers[band]).astype(int)
            without = values(folder, scene.harmonised[band]).astype(int)
            assert np.array_equal(with_it[with_it > 0] - 1000, without[with_it > 0])
            assert np.array_equal(with_it == 0, without == 0)


def test_neighbours_of_one_zone_share_pixels(folder, scenes):
    for north in (scene for scene in of(scenes, "s2") if scene.tile == "16TBL"):
        south = scenes[north.name.replace("16TBL", "16TBK")]
        assert (south.start, south.absolute_orbit) == (north.start, north.absolute_orbit) and south.seen != north.seen
        for band, shared in (("B4", 48), ("B11", 24)):
            one, other = values(folder, north.layers[band])[0], values(folder, south.layers[band])[0]
            assert np.array_equal(one[-shared:], other[:shared]) and not np.array_equal(one[:shared], other[:shared])


def test_other_zone_shows_the_same_ground(folder, scenes):
    one, other = scenes["S2B_16TBL_20220105_0"], scenes["S2B_15TYF_20220105_0"]
    target = np.zeros(one.layers["B8"].grid.shape, np.uint16)
    with rasterio.open(folder / other.layers["B8"].file) as file, rasterio.open(folder / one.layers["B8"].file) as home:
        rasterio.warp.reproject(
            rasterio.band(file, 1), target, dst_transform=home.transform, dst_crs=home.crs,
            resampling=rasterio.warp.Resampling.nearest,
        )  # fmt: skip
        here = home.read(1)
    both = target > 0
    assert 0.3 < both.mean() < 0.7  # it covers the western half
    assert np.corrcoef(target[both], here[both])[0, 1] > 0.85


def test_edge_of_the_swath(folder, scenes):
    cut = [scene for scene in of(scenes, "s2") if scene.relative_orbit == 83]
    assert {scene.shares["nodata_pixel"] > 5 for scene in cut if scene.tile != "15TYF"} == {True}
    for scene in of(scenes, "s2"):
        classes = values(folder, scene.layers["SCL"])[0]
        for band in ("B4", "B11"):
            empty = values(folder, scene.layers[band])[0] == 0
            step = empty.shape[0] // classes.shape[0]
            blocks = empty.reshape(len(classes), step, -1, step)
            assert np.array_equal(blocks.any((1, 3)), classes == 0) or scene.tile == "15TYF"
            assert not (blocks.all((1, 3)) & (classes > 0)).any()
        assert scene.shares["nodata_pixel"] == pytest.approx(100 * (classes == 0).mean(), abs=1e-5)
        observed = area(scene.ring) / area(boxed(scene))
        assert observed == pytest.approx(1 - scene.shares["nodata_pixel"] / 100, abs=0.02)


def boxed(scene):
    from skysense.curate.rehearsal.footprints import geographic

    grid = scene.layers["B4"].grid
    return geographic(grid.crs, grid.ring)


def area(ring):
    x, y = np.array(ring).T
    return abs(x[:-1] @ y[1:] - y[:-1] @ x[1:]) / 2


def test_products_that_were_made_again(folder, scenes):
    again = [scene for scene in of(scenes, "s2") if scene.sequence == 1]
    assert len(again) == 3
    for scene in again:
        first = scenes[scene.name[:-1] + "0"]
        assert (scene.start, scene.tile) == (first.start, first.tile) and scene.made > first.made
        assert scene.baseline == "05.10" > first.baseline
        assert np.array_equal(values(folder, scene.harmonised["B3"]), values(folder, first.harmonised["B3"]))


def test_slices_of_sentinel_1_meet_without_a_gap(folder, scenes):
    passes = {}
    for scene in of(scenes, "s1"):
        passes.setdefault((scene.start[:10], scene.absolute_orbit), []).append(scene)
    assert {len(slices) for slices in passes.values()} == {2}
    for slices in passes.values():
        grids = [one.layers["VV"].grid for one in slices]
        top, bottom = max(grid.north for grid in grids), min(grid.bounds[1] for grid in grids)
        seen = np.zeros((round((top - bottom) / 10), grids[0].shape[1]), int)
        for one, grid in zip(slices, grids, strict=True):
            row = round((top - grid.north) / 10)
            power = values(folder, one.layers["VV"])[0]
            seen[row : row + len(power)] += power > 0
            assert set(np.unique(power[power <= 0])) == {-32768}
            assert 0.001 < np.median(power[power > 0]) < 1  # linear power, not decibel
        assert (seen == 1).all()


def test_archive_is_made_once_and_whole(folder, tmp_path):
    assert simulated_archive(folder) == folder
    assert not folder.with_name("archive.unfinished").exists()
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        simulated_archive(tmp_path)
    with pytest.raises(InputError, match="multiple of 128"):
        simulated_archive(tmp_path / "new", granule_px=100)
    with pytest.raises(InputError, match="holds no archive"):
        read_archive(tmp_path)


@pytest.mark.long
def test_same_seed_same_archive(folder, tmp_path):
    again = simulated_archive(tmp_path / "again", passes=4, granule_px=128)
    assert (again / "archive.json").read_bytes() == (folder / "archive.json").read_bytes()
    for file in sorted(folder.glob("*/*.tif")):
        assert file.read_bytes() == (again / file.relative_to(folder)).read_bytes()
