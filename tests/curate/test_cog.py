from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile

from skysense.curate.acquisition import Asset
from skysense.curate.cog import opened, read_stack, read_window, web_address
from skysense.curate.faults import BudgetSpent, Gone, Unavailable
from skysense.curate.grid import PlaceGrid
from skysense.curate.http import Session
from skysense.curate.remote import AHEAD
from tests.curate.archive import Archive, Fault

pytest.importorskip("requests")

UTM = "EPSG:32632"
ORIGIN = (500_000.0, 5_200_000.0)
NEAREST, BILINEAR = Resampling.nearest, Resampling.bilinear


def ramp(size: int = 600, step: int = 1) -> np.ndarray:
    """Values that tell row and column apart, never 0."""
    rows, cols = np.mgrid[:size, :size]
    return (1 + rows * step * 50 + cols * step).astype(np.uint16)


def cog(values: np.ndarray, pixel: float = 10, **how) -> bytes:
    bands = values[None] if values.ndim == 2 else values
    profile = {
        "driver": "COG",
        "count": len(bands),
        "height": bands.shape[1],
        "width": bands.shape[2],
        "dtype": bands.dtype,
        "crs": UTM,
        "transform": Affine(pixel, 0, ORIGIN[0], 0, -pixel, ORIGIN[1]),
        "blocksize": 256,
        "compress": "deflate",
        "overviews": "none",
    }
    with MemoryFile() as memory:
        with memory.open(**(profile | how)) as dataset:
            dataset.write(bands)
        return memory.read()


def noisy(size: int = 600) -> np.ndarray:
    """Values that do not compress, so that a file is much longer than what is fetched at least."""
    return np.random.default_rng(0).integers(1, 60_000, (size, size), dtype=np.uint16)


def place(col: int, row: int, cells: int = 16, crs: str = UTM) -> PlaceGrid:
    return PlaceGrid(crs, ORIGIN[0] + col * 10, ORIGIN[1] - row * 10, (cells, cells))


@pytest.fixture
def archive():
    with Archive() as archive:
        yield archive


@pytest.fixture
def session():
    with Session(sleep=lambda seconds: None) as session:
        yield session


def test_pixels_of_the_same_grid_come_as_they_are(archive, session):
    values = ramp()
    archive.files["/a.tif"] = cog(values, nodata=0)
    asset = Asset(archive.url("/a.tif"))
    read, observed = read_window(asset, place(250, 100), 10, resampling=BILINEAR, session=session)
    np.testing.assert_array_equal(read, values[100:116, 250:266])
    assert read.dtype == np.uint16 and observed.all()


def test_a_small_window_takes_two_requests(archive, session):
    values = noisy()
    archive.files["/a.tif"] = cog(values)
    read, _ = read_window(Asset(archive.url("/a.tif")), place(20, 20), 10, resampling=NEAREST, session=session)
    np.testing.assert_array_equal(read, values[20:36, 20:36])
    assert archive.asked[0].range == f"bytes=0-{AHEAD - 1}"
    assert session.traffic.requests == 2
    assert session.traffic.bytes < AHEAD + 256 * 256 * 2 + 1024


def test_tiles_side_by_side_take_one_request(archive, session):
    values = noisy()
    archive.files["/a.tif"] = cog(values)
    read, _ = read_window(Asset(archive.url("/a.tif")), place(250, 100), 10, resampling=NEAREST, session=session)
    np.testing.assert_array_equal(read, values[100:116, 250:266])
    assert session.traffic.requests == 2


def test_a_head_longer_than_what_is_fetched_at_first(archive, session):
    values = noisy(1024)
    archive.files["/a.tif"] = cog(values, blocksize=128, driver="GTiff", tiled=True, blockxsize=16, blockysize=16)
    read, _ = read_window(Asset(archive.url("/a.tif")), place(1000, 1000), 10, resampling=NEAREST, session=session)
    np.testing.assert_array_equal(read, values[1000:1016, 1000:1016])
    assert session.traffic.requests <= 4
    assert session.traffic.bytes < len(archive.files["/a.tif"]) / 2


def test_beyond_the_edge_nothing_was_observed(archive, session):
    values = ramp()
    archive.files["/a.tif"] = cog(values)
    asset = Asset(archive.url("/a.tif"))
    read, observed = read_window(asset, place(-6, 590), 10, resampling=NEAREST, session=session)
    inside = np.zeros((16, 16), bool)
    inside[:10, 6:] = True
    np.testing.assert_array_equal(observed, inside)
    np.testing.assert_array_equal(read[:10, 6:], values[590:, :10])
    assert not read[~inside].any()


def test_a_place_outside_costs_the_head_alone(archive, session):
    archive.files["/a.tif"] = cog(noisy())
    asset = Asset(archive.url("/a.tif"))
    for grid in (place(700, 0), place(0, -16), PlaceGrid("EPSG:32660", *ORIGIN, (16, 16))):
        read, observed = read_window(asset, grid, 10, resampling=BILINEAR, session=session)
        assert not observed.any() and not read.any() and read.shape == (16, 16)
    assert session.traffic.requests == 3


@pytest.mark.parametrize("kind", ["file", "catalogue", "mask", "nan"])
def test_what_was_not_observed(archive, session, kind):
    values = ramp().astype(np.float32)
    values[100, 255] = np.nan if kind == "nan" else -1
    asset = Asset(archive.url("/a.tif"), nodata=-1 if kind == "catalogue" else None)
    if kind == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
            with memory.open(
                driver="GTiff", width=600, height=600, count=1, dtype="float32", crs=UTM, tiled=True,
                transform=Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]),
            ) as dataset:  # fmt: skip
                dataset.write(values, 1)
                dataset.write_mask(values != -1)
            archive.files["/a.tif"] = memory.read()
    else:
        archive.files["/a.tif"] = cog(values, nodata=-1 if kind == "file" else None)
    _, observed = read_window(asset, place(250, 100), 10, resampling=NEAREST, session=session)
    assert np.argwhere(~observed).tolist() == [[0, 5]]


def test_coarse_pixels_are_repeated(archive, session):
    values = ramp(300, step=2)
    archive.files["/a.tif"] = cog(values, pixel=20)
    read, observed = read_window(Asset(archive.url("/a.tif")), place(31, 41), 10, resampling=NEAREST, session=session)
    fine = values.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(read, fine[41:57, 31:47])
    assert observed.all()


def test_another_zone_is_resampled(archive, session):
    """A plane in metres of zone 32 is read on the grid of zone 31: values follow from the coordinates."""
    archive.files["/a.tif"] = cog(ramp(), nodata=0)
    east, north = rasterio.warp.transform(UTM, "EPSG:32631", [ORIGIN[0] + 3000], [ORIGIN[1] - 3000])
    grid = PlaceGrid("EPSG:32631", round(east[0] / 10) * 10.0, round(north[0] / 10) * 10.0, (16, 16))
    read, observed = read_window(Asset(archive.url("/a.tif")), grid, 10, resampling=BILINEAR, session=session)
    xs, ys = np.meshgrid(grid.west + (np.arange(16) + 0.5) * 10, grid.north - (np.arange(16) + 0.5) * 10)
    there_x, there_y = rasterio.warp.transform("EPSG:32631", UTM, xs.ravel(), ys.ravel())
    cols = (np.array(there_x) - ORIGIN[0]) / 10 - 0.5
    rows = (ORIGIN[1] - np.array(there_y)) / 10 - 0.5
    expected = (1 + rows * 50 + cols).reshape(16, 16)
    assert observed.all()
    assert np.abs(read - expected).max() < 0.125 * 51 + 1  # GDAL transforms to an eighth of a pixel


@pytest.mark.parametrize("resampling", [BILINEAR, Resampling.cubic, Resampling.average])
def test_nodata_does_not_bleed(archive, session, resampling):
    values = np.full((300, 300), 500, np.uint16)
    values[:, 150:] = 0
    archive.files["/a.tif"] = cog(values, pixel=10, nodata=0)
    grid = place(140, 100)
    read, observed = read_window(Asset(archive.url("/a.tif")), grid, 2.5, resampling=resampling, session=session)
    assert set(np.unique(read[observed])) == {500} and not read[~observed].any()
    np.testing.assert_array_equal(observed.any(axis=0), np.arange(64) < 40)


def test_bands_of_one_file_are_read_together(archive, session):
    values = np.stack([noisy(), noisy() // 2, noisy() // 4, noisy() // 8])
    archive.files["/a.tif"] = cog(values, interleave="pixel")
    archive.files["/b.tif"] = cog(ramp())
    assets = [Asset(archive.url("/a.tif"), 4), Asset(archive.url("/b.tif")), Asset(archive.url("/a.tif"), 1)]
    read, observed = read_stack(assets, place(20, 20), 10, resampling=NEAREST, session=session)
    np.testing.assert_array_equal(read[0], values[3, 20:36, 20:36])
    np.testing.assert_array_equal(read[1], ramp()[20:36, 20:36])
    np.testing.assert_array_equal(read[2], values[0, 20:36, 20:36])
    assert observed.all() and archive.times("/a.tif") == 2


def test_near_infrared_marked_as_alpha_is_no_mask(archive, session):
    values = np.full((4, 300, 300), 90, np.uint8)
    values[3, :, 150:] = 0
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=300, height=300, count=4, dtype="uint8", crs=UTM, tiled=True,
            transform=Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]),
        ) as dataset:  # fmt: skip
            dataset.colorinterp = colours
            dataset.write(values)
        archive.files["/a.tif"] = memory.read()
    assets = [Asset(archive.url("/a.tif"), band, imagery=(1, 2, 3, 4)) for band in (1, 2, 3, 4)]
    grid = place(142, 100)
    read, observed = read_stack(assets, grid, 10, resampling=NEAREST, session=session)
    assert observed.all() and read[3].sum() == 90 * 16 * 8
    assert read_stack(assets[:3], grid, 10, resampling=NEAREST, session=session)[1].all()
    colours = [replace(asset, imagery=()) for asset in assets[:3]]
    _, observed = read_stack(colours, grid, 10, resampling=NEAREST, session=session)
    assert observed.sum() == 3 * 16 * 8  # it is a mask, if nobody calls it a band


def test_a_raster_that_contradicts_its_catalogue_is_gone(archive, session):
    archive.files["/a.tif"] = cog(ramp())
    there = Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1])
    told = Asset(archive.url("/a.tif"), crs=UTM, transform=there, shape=(600, 600))
    grid = place(20, 20)
    _, observed = read_window(told, grid, 10, resampling=NEAREST, session=session)
    assert observed.all()
    for other, message in (
        (replace(told, crs="EPSG:32633"), "lies in EPSG:32632, the catalogue says EPSG:32633"),
        (replace(told, crs="EPSG:none"), "the catalogue says EPSG:none"),
        (replace(told, shape=(600, 601)), r"has \(600, 600\) rows and columns"),
        (replace(told, transform=Affine(10, 0, ORIGIN[0] + 10, 0, -10, ORIGIN[1])), "not where the catalogue says"),
        (replace(told, transform=Affine.scale(0)), "not where the catalogue says"),
        (replace(told, transform=Affine(10.01, 0, ORIGIN[0], 0, -10, ORIGIN[1])), "not where the catalogue says"),
        (replace(told, band=2), "has 1 bands, not 2"),
    ):
        with pytest.raises(Gone, match=message) as raised:
            read_window(other, grid, 10, resampling=NEAREST, session=session)
        assert raised.value.reason == "contradictory"
    rounded = replace(told, transform=Affine(10.001, 0, ORIGIN[0], 0, -10, ORIGIN[1]))
    read_window(rounded, grid, 10, resampling=NEAREST, session=session)


@pytest.mark.parametrize(
    "broken",
    [b"", b"not a raster at all" * 10, cog(ramp())[:200], cog(noisy())[:100_000]],
    ids=["empty", "text", "head cut", "tiles cut"],
)
def test_a_broken_file_is_gone(archive, session, broken):
    archive.files["/a.tif"] = broken
    with pytest.raises(Gone, match=r"a.tif: cannot be read \(.+\)") as raised:
        read_window(Asset(archive.url("/a.tif")), place(590, 580), 10, resampling=NEAREST, session=session)
    assert raised.value.reason == "unreadable" and "asset.tif" not in str(raised.value)


def test_a_damaged_tile_is_gone(archive, session):
    data = bytearray(cog(noisy()))
    for at in range(AHEAD, len(data), 5000):
        data[at : at + 64] = bytes(64)
    archive.files["/a.tif"] = bytes(data)
    with pytest.raises(Gone, match="cannot be read") as raised:
        read_window(Asset(archive.url("/a.tif")), place(300, 300), 10, resampling=NEAREST, session=session)
    assert raised.value.reason == "unreadable"


def test_a_raster_without_a_place_is_gone(archive, session):
    archive.files["/a.tif"] = cog(ramp(), crs=None, driver="GTiff")
    with pytest.raises(Gone, match="no reference system") as raised:
        read_window(Asset(archive.url("/a.tif")), place(0, 0), 10, resampling=NEAREST, session=session)
    assert raised.value.reason == "unreadable"


def test_a_catalogue_may_know_what_a_file_lacks(archive, session):
    values = ramp()
    archive.files["/a.tif"] = cog(values, crs=None, driver="GTiff")
    asset = Asset(archive.url("/a.tif"), crs=UTM)
    read, observed = read_window(asset, place(20, 20), 10, resampling=NEAREST, session=session)
    np.testing.assert_array_equal(read, values[20:36, 20:36])
    assert observed.all()


@pytest.mark.parametrize("request_number", [0, 1], ids=["head", "tiles"])
@pytest.mark.parametrize(
    ("faults", "error"),
    [([Fault(status=404)], Gone), ([Fault(status=403)], Gone), ([Fault(status=503)] * 8, Unavailable)],
    ids=["404", "403", "503"],
)
def test_faults_of_the_network_are_raised_and_never_become_pixels(archive, session, request_number, faults, error):
    archive.files["/a.tif"] = cog(noisy())
    archive.faults["/a.tif"] = [Fault()] * request_number + faults
    with pytest.raises(error, match="HTTP"):
        read_window(Asset(archive.url("/a.tif")), place(250, 250), 10, resampling=NEAREST, session=session)


@pytest.mark.parametrize("fault", [Fault(cut=9000), Fault(short=5), Fault(reset=True), Fault(status=503)])
def test_faults_that_pass_leave_no_trace(archive, session, fault):
    values = noisy()
    archive.files["/a.tif"] = cog(values)
    archive.faults["/a.tif"] = [fault, Fault(), fault, fault]
    read, _ = read_window(Asset(archive.url("/a.tif")), place(250, 250), 10, resampling=NEAREST, session=session)
    np.testing.assert_array_equal(read, values[250:266, 250:266])


def test_an_interrupt_comes_through(archive):
    archive.files["/a.tif"] = cog(noisy())
    archive.faults["/a.tif"] = [Fault(), Fault(status=503)]

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with Session(sleep=interrupt) as session, pytest.raises(KeyboardInterrupt):
        read_window(Asset(archive.url("/a.tif")), place(250, 250), 10, resampling=NEAREST, session=session)


def test_a_spent_budget_comes_through(archive):
    archive.files["/a.tif"] = cog(noisy())
    with Session(budget=AHEAD + 1000) as session, pytest.raises(BudgetSpent):
        read_window(Asset(archive.url("/a.tif")), place(250, 250), 10, resampling=NEAREST, session=session)


def test_many_threads_read_many_files(archive, session):
    """GDAL, one file object to a thread, under faults that pass."""
    values = [np.roll(noisy(), shift) for shift in range(8)]
    for number, one in enumerate(values):
        archive.files[f"/{number}.tif"] = cog(one)
        archive.faults[f"/{number}.tif"] = [Fault(), Fault(cut=500), Fault(), Fault(status=503)] * 3

    def read(number: int) -> bool:
        row, col = number * 7 % 580, number * 13 % 580
        asset = Asset(archive.url(f"/{number % 8}.tif"))
        got, observed = read_window(asset, place(col, row), 10, resampling=NEAREST, session=session)
        return observed.all() and (got == values[number % 8][row : row + 16, col : col + 16]).all()

    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(read, range(160)))
    assert session.traffic.retries == 8 * 6


def test_local_files_are_read_too(tmp_path, session):
    values = ramp()
    (tmp_path / "an image.tif").write_bytes(cog(values))
    for href in (str(tmp_path / "an image.tif"), (tmp_path / "an image.tif").as_uri()):
        read, _ = read_window(Asset(href), place(20, 20), 10, resampling=NEAREST, session=session)
        np.testing.assert_array_equal(read, values[20:36, 20:36])
    with pytest.raises(Gone, match="is not there") as raised, opened(str(tmp_path / "no.tif"), session):
        pass
    assert raised.value.reason == "missing"
    (tmp_path / "bad.tif").write_bytes(b"no raster")
    with pytest.raises(Gone, match="cannot be read") as raised, opened(str(tmp_path / "bad.tif"), session):
        pass
    assert raised.value.reason == "unreadable" and session.traffic.requests == 0


def test_addresses_of_public_buckets():
    assert web_address("s3://sentinel-cogs/a/B 04.tif") == "https://sentinel-cogs.s3.amazonaws.com/a/B%2004.tif"
    assert web_address("s3://a.dotted.bucket/b.tif") == "https://s3.amazonaws.com/a.dotted.bucket/b.tif"
    assert web_address("gs://bucket/b.tif") == "https://storage.googleapis.com/bucket/b.tif"
    assert web_address("https://host/b.tif?x=1") == "https://host/b.tif?x=1"
    assert web_address("images/b.tif") is None and web_address("/images/b.tif") is None
    assert web_address(r"C:\images\b.tif") is None
    with pytest.raises(Gone, match="ftp://"):
        web_address("ftp://host/b.tif?token=1")


def slope(size: int) -> np.ndarray:
    """A smooth slope with noise that averages out: it does not compress, and only an overview is free of it."""
    rows = np.arange(size)[:, None]
    noise = np.random.default_rng(0).choice([-40.0, 40.0], (size // 2, size)).repeat(2, axis=0)
    noise[1::2] *= -1  # one above the other they are zero on average
    return np.round(60 + rows * 130 / size + noise).astype(np.uint8)


def test_an_image_much_finer_than_the_place_is_read_through_its_overview(archive, session):
    values = slope(3200)
    image = cog(values, 0.1, overviews="auto", overview_resampling="average", nodata=0)
    archive.files["/a.tif"] = image
    grid = PlaceGrid(UTM, ORIGIN[0] + 80, ORIGIN[1] - 80, (16, 16))
    read, observed = read_window(Asset(archive.url("/a.tif")), grid, 0.3125, resampling=BILINEAR, session=session)
    assert observed.all() and read.shape == (512, 512)
    expected = 60 + (800 + (np.arange(512) + 0.5) * 3.125) * 130 / 3200
    assert np.abs(read - expected[:, None]).max() <= 2
    full = 1600 * 1600  # bytes of the window, which is a quarter of them in the overview
    assert session.traffic.bytes < 0.6 * full


def test_memory_of_a_fine_image_without_overviews_is_that_of_the_place(tmp_path, session, monkeypatch):
    rows, cols = np.mgrid[:3200, :3200]
    (tmp_path / "a.tif").write_bytes(cog((1 + 50 * rows + cols).astype(np.float32), 0.1))
    grid, largest = PlaceGrid(UTM, ORIGIN[0] + 80, ORIGIN[1] - 80, (16, 16)), []
    usual = rasterio.DatasetReader.read

    class Watched:
        def __init__(self, dataset):
            self._dataset = dataset

        def __getattr__(self, name):
            return getattr(self._dataset, name)

        def read(self, *how, **more):
            largest.append((found := usual(self._dataset, *how, **more)).size)
            return found

    from skysense.curate import cog as module

    onto = module._on_grid
    monkeypatch.setattr(module, "_on_grid", lambda dataset, *more: onto(Watched(dataset), *more))
    read, observed = read_window(Asset(str(tmp_path / "a.tif")), grid, 0.3125, resampling=BILINEAR, session=session)
    assert observed.all() and max(largest) < 560 * 560
    at = (800 + (np.arange(512) + 0.5) * 3.125) - 0.5
    assert np.abs(read - (1 + at[:, None] * 50 + at)).max() <= 51


def test_what_was_not_observed_of_a_fine_image(archive, session):
    values = np.full((3200, 3200), 90, np.uint8)
    values[:, :1600] = 0
    archive.files["/a.tif"] = cog(values, 0.1, overviews="auto", overview_resampling="average", nodata=0)
    grid = PlaceGrid(UTM, ORIGIN[0] + 80, ORIGIN[1] - 80, (16, 16))
    read, observed = read_window(Asset(archive.url("/a.tif")), grid, 0.3125, resampling=BILINEAR, session=session)
    assert not observed[:, :255].any() and observed[:, 257:].all()
    assert (read[observed] == 90).all()
