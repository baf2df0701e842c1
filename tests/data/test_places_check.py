"""Every rule of docs/places.md, broken on purpose: the message names the file and the rule, in bulk nothing stops."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from netCDF4 import Dataset as NetCDF

from skysense.data.places import Places, Problem, check
from skysense.errors import InputError
from skysense.geo import Window
from tests.data.places_samples import write_folder


def edit_json(file: str, **changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return apply


def cut(file: str, share: float) -> Callable[[Path], None]:
    """Keep only the beginning of a file."""

    def apply(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(len(content) * share)])

    return apply


def overwrite(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(content) and None


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def edit_cube(file: str, change: Callable[[NetCDF], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        with NetCDF(folder / file, "a") as cube:
            cube.set_auto_maskandscale(False)
            change(cube)

    return apply


def fill(variable: str, where: Any, value: Any) -> Callable[[NetCDF], None]:
    def change(cube: NetCDF) -> None:
        cube[variable][where] = value

    return change


def edit_tif(file: str, **tags: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        with rasterio.open(folder / file, "r+") as tif:
            tif.update_tags(**tags)

    return apply


def rewrite_tif(file: str, bands: tuple[str, ...], rows: int, cols: int, *, value: int = 0, **profile: Any) -> Any:
    """Another GeoTIFF in place of one, with the same tags."""

    def apply(folder: Path) -> None:
        with rasterio.open(folder / file) as old:
            tags = old.tags()
            same = {"driver": "GTiff", "dtype": "uint8", "crs": old.crs, "transform": old.transform} | profile
        with rasterio.open(folder / file, "w", width=cols, height=rows, count=len(bands), **same) as tif:
            tif.write(np.full((len(bands), rows, cols), value, tif.dtypes[0]))
            tif.descriptions = bands
            tif.update_tags(**tags)

    return apply


def unobserved_image(folder: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(folder / "hr.tif", "r+") as tif:
        tif.write_mask(np.zeros((128, 256), bool))


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: [change(folder) for change in changes] and None


UTM = {"bounds": [0, 0, 80, 40], "crs": "EPSG:32632"}

# what to break, the file that is named, the rule
BROKEN: dict[str, tuple[Callable[[Path], None], str, str]] = {
    # place.json
    "no json": (remove("place.json"), "place.json", "could not be read: no such file"),
    "truncated json": (cut("place.json", 0.5), "place.json", "is not valid JSON (truncated or foreign)"),
    "foreign json": (overwrite("place.json", b"[1, 2]"), "place.json", "must be a JSON object"),
    "binary json": (overwrite("place.json", b"\xff\xfe\x00"), "place.json", "is not valid JSON"),
    "newer version": (edit_json("place.json", version=2), "place.json", "is version 2; this program reads version 1"),
    "other name": (edit_json("place.json", name="q"), "place.json", "name 'q' differs from the folder's"),
    "lon": (edit_json("place.json", lon=181.0), "place.json", "outside lon -180..180, lat -90..90"),
    "lat": (edit_json("place.json", lat=-91), "place.json", "outside lon -180..180, lat -90..90"),
    "lon not a number": (edit_json("place.json", lon=float("nan")), "place.json", "outside lon -180..180"),
    "lon text": (edit_json("place.json", lon="11"), "place.json", "lon must be a number or null; got '11'"),
    "half a position": (edit_json("place.json", lat=None), "place.json", "has only one of lon and lat"),
    "position elsewhere": (edit_json("place.json", lon=48.14, lat=11.58), "place.json", "km outside of its bounds"),
    "cells": (edit_json("place.json", cells=[4]), "place.json", "cells must be [height, width]"),
    "no cells": (edit_json("place.json", cells=[0, 8]), "place.json", "cells must be [height, width]"),
    "split": (edit_json("place.json", split="training"), "place.json", "split 'training' is none of train, val, test"),
    "no legend": (edit_json("place.json", labels={"soil": "clay"}), "place.json", "label 'soil' has no legend"),
    "unknown class": (
        edit_json("place.json", labels={"cover": ["trees", "sea"]}),
        "place.json",
        "label 'cover' names 'sea', which its legend does not know. Known: trees, water, built",
    ),
    "scene list": (
        edit_json("place.json", labels={"scene": ["town"]}),
        "place.json",
        "must be a class name; got ['town']",
    ),
    "cover text": (edit_json("place.json", labels={"cover": "trees"}), "place.json", "must be a list of class names"),
    "mask in json": (edit_json("place.json", labels={"fine": "a"}), "place.json", "is a mask: store it as fine.tif"),
    "footprint keys": (
        edit_json("place.json", footprint={"crs": "EPSG:4326"}),
        "place.json",
        "footprint must hold bounds",
    ),
    "bounds turned": (
        edit_json("place.json", footprint={"bounds": [80, 0, 0, 40], "crs": "EPSG:32632"}),
        "place.json",
        "footprint must hold bounds [left, bottom, right, top]",
    ),
    "crs": (
        edit_json("place.json", footprint=UTM | {"crs": "EPSG:1"}),
        "place.json",
        "reference system 'EPSG:1' is not",
    ),
    "no imagery": (both(remove("hr.tif"), remove("s2.nc"), remove("s1.nc")), "place.json", "holds no imagery"),
    # hr.tif
    "truncated image": (cut("hr.tif", 0.5), "hr.tif", "is truncated or not a GeoTIFF"),
    "foreign image": (overwrite("hr.tif", b"<html>"), "hr.tif", "is truncated or not a GeoTIFF"),
    "empty image": (overwrite("hr.tif", b""), "hr.tif", "is truncated or not a GeoTIFF"),
    "no sensor": (edit_tif("hr.tif", SKYSENSE_SENSOR=""), "hr.tif", "does not declare its sensor"),
    "no unit": (edit_tif("hr.tif", SKYSENSE_UNIT=""), "hr.tif", "does not declare its unit; units are declared, never"),
    "unknown sensor": (
        edit_tif("hr.tif", SKYSENSE_SENSOR="spot"),
        "hr.tif",
        "sensor 'spot' is not known. Known: optical-hr",
    ),
    "wrong sensor": (edit_tif("hr.tif", SKYSENSE_SENSOR="sentinel-1-grd"), "hr.tif", "does not belong under hr.tif"),
    "wrong unit": (edit_tif("hr.tif", SKYSENSE_UNIT="dB"), "hr.tif", "unit 'dB' is not that of optical-hr, 'uint8'"),
    "date": (
        edit_tif("hr.tif", SKYSENSE_DATE="30.06.2021"),
        "hr.tif",
        "date '30.06.2021' is not of the form 2021-06-30",
    ),
    "bands": (rewrite_tif("hr.tif", ("R", "G"), 128, 256), "hr.tif", "missing or doubled: B; found: R, G"),
    "no band names": (rewrite_tif("hr.tif", ("", "", ""), 128, 256), "hr.tif", "missing or doubled: R, G, B"),
    "16 bit": (rewrite_tif("hr.tif", ("R", "G", "B"), 128, 256, dtype="uint16"), "hr.tif", "is 8-bit; got uint16"),
    "image grid": (rewrite_tif("hr.tif", ("R", "G", "B"), 128, 128), "hr.tif", "needs 128 x 256 px (32 per cell)"),
    "image all no-data": (unobserved_image, "hr.tif", "holds no observed pixel (all no-data)"),
    "image without crs": (
        rewrite_tif("hr.tif", ("R", "G", "B"), 128, 256, crs=None),
        "hr.tif",
        "has no coordinate reference system, but place.json has a footprint",
    ),
    "image elsewhere": (
        rewrite_tif("hr.tif", ("R", "G", "B"), 128, 256, transform=rasterio.Affine(0.3125, 0, 5, 0, -0.3125, 9)),
        "hr.tif",
        "covers (5, -31, 85, 9), but place.json says",
    ),
    # series
    "truncated series": (cut("s2.nc", 0.5), "s2.nc", "is truncated or not a NetCDF file"),
    "foreign series": (overwrite("s1.nc", b"CDF\x01"), "s1.nc", "is truncated or not a NetCDF file"),
    "corrupt chunk": (lambda folder: flip(folder / "s2.nc"), "s2.nc", "is truncated or not a NetCDF file"),
    "series no unit": (edit_cube("s2.nc", lambda cube: cube.delncattr("unit")), "s2.nc", "does not declare its unit"),
    "series unit": (
        edit_cube("s1.nc", lambda cube: cube.setncattr("unit", "power")),
        "s1.nc",
        "unit 'power' is not that of",
    ),
    "series sensor": (
        edit_cube("s1.nc", lambda cube: cube.setncatts({"sensor": "sentinel-2-l2a", "unit": "reflectance*1e4"})),
        "s1.nc",
        "holds sentinel-2-l2a, which does not belong under s1.nc",
    ),
    "no valid": (edit_cube("s2.nc", lambda cube: cube.renameVariable("valid", "v")), "s2.nc", "no variable 'valid'"),
    "band names": (edit_cube("s2.nc", fill("band", 7, "B9")), "s2.nc", "missing or doubled: B8A; found: B2, B3"),
    "unsorted dates": (edit_cube("s2.nc", fill("time", 0, 19000)), "s2.nc", "dates are not in ascending order"),
    "missing date": (
        edit_cube("s2.nc", fill("time", 2, np.iinfo("i4").min)),
        "s2.nc",
        "frames without a date in a series",
    ),
    "time unit": (
        edit_cube("s2.nc", lambda cube: cube["time"].setncattr("units", "days since 1950-01-01")),
        "s2.nc",
        "time is in 'days since 1950-01-01'. Write it in 'days since 1970-01-01'",
    ),
    "scaled": (edit_cube("s2.nc", lambda cube: cube["values"].setncattr("scale_factor", 1e-4)), "s2.nc", "not scaled"),
    "series no-data": (edit_cube("s2.nc", fill("valid", ..., 0)), "s2.nc", "holds no observed pixel (all no-data)"),
    "nan": (
        edit_cube("s1.nc", fill("valid", ..., 1)),
        "s1.nc",
        "holds NaN or infinite values among its observed pixels",
    ),
    "infinite": (edit_cube("s1.nc", fill("values", ..., np.inf)), "s1.nc", "holds NaN or infinite values"),
    "linear power": (edit_cube("s1.nc", fill("values", ..., 0.05)), "s1.nc", "looks like linear power, not decibel"),
    "zero to one": (edit_cube("s2.nc", fill("values", ..., 1)), "s2.nc", "looks like reflectance between 0 and 1"),
    "series grid": (
        both(remove("hr.tif"), edit_json("place.json", cells=[8, 8])),
        "s2.nc",
        "is 4 x 8 px; a place of 8 x 8 cells needs 8 x 8 px (1 per cell)",
    ),
    "series elsewhere": (edit_cube("s2.nc", fill("x", ..., np.arange(8) * 10)), "s2.nc", "but place.json says"),
    "south first": (
        edit_cube("s2.nc", lambda cube: fill("y", ..., cube["y"][::-1])(cube)),
        "s2.nc",
        "but place.json says",
    ),
    # masks
    "mask value": (
        rewrite_tif("fine.tif", ("fine",), 128, 256, value=3),
        "fine.tif",
        "mask 'fine' holds the values 3; its legend ends at 2 and ignores 255",
    ),
    "mask grid": (rewrite_tif("fine.tif", ("fine",), 64, 128), "fine.tif", "is 64 x 128 px on a place of 4 x 8 cells"),
    "mask type": (
        rewrite_tif("coarse.tif", ("coarse",), 4, 8, dtype="int16"),
        "coarse.tif",
        "one band of uint8; got 1 of int16",
    ),
    "mask truncated": (cut("fine.tif", 0.3), "fine.tif", "is truncated or not a GeoTIFF"),
}


def flip(file: Path) -> None:
    """Damage the compressed pixels, not the structure."""
    content = bytearray(file.read_bytes())
    start = content.find(b"\x78", len(content) // 3)
    for place in range(start, start + 400):
        content[place] ^= 0x5A
    file.write_bytes(content)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("good"), "a", "b")


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    for file in good.rglob("*"):
        if file.is_file():
            copy = tmp_path / file.relative_to(good)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
    return tmp_path


def test_a_good_folder_has_no_problem(good: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = check(good, progress=lambda *step: steps.append(step))
    assert report.problems == [] and (report.places, report.ok) == (2, 2) and steps == [(1, 2), (2, 2)]


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore:.*left out 1 places", "ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_broken_rule_is_named_with_its_file(root: Path, name: str) -> None:
    damage, file, rule = BROKEN[name]
    damage(root / "a")
    report = check(root)
    assert (report.places, report.ok) == (2, 1) and {problem.place for problem in report.problems} == {"a"}
    rules = [problem.rule for problem in report.problems if problem.file == file]
    assert any(rule in found for found in rules), report.problems


READ_TOO = [
    name
    for name, (_, file, rule) in BROKEN.items()
    if file != "place.json"
    and not re.search("place.json says|has a footprint|on a place of|one band of|mask|truncated or not a GeoTIFF", rule)
]


@pytest.mark.parametrize("name", READ_TOO)
def test_reading_refuses_it_too(root: Path, name: str) -> None:
    damage, file, rule = BROKEN[name]
    damage(root / "a")
    places = Places(root)
    with pytest.raises(InputError, match=re.escape(rule)) as caught:
        places.read_sample(places[0])
    assert str(root / "a" / file) in str(caught.value) or (root / "a" / file) == caught.value.file
    assert places.read_sample(places[1]).name == "b"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (remove("dataset.json"), "is not a folder of places: it holds no dataset.json"),
        (cut("dataset.json", 0.5), "is not valid JSON (truncated or foreign)"),
        (edit_json("dataset.json", format="geojson"), "format is 'geojson', not 'skysense-places'"),
        (edit_json("dataset.json", version=3), "is version 3; this program reads version 1"),
        (edit_json("dataset.json", simulated="no"), "must say whether it is simulated"),
        (edit_json("dataset.json", legends={"x": {"kind": "map", "classes": ["a"]}}), "legend kind 'map' is none of"),
        (edit_json("dataset.json", legends={"x": {"kind": "mask", "classes": ["a", "a"]}}), "class names, each once"),
        (edit_json("dataset.json", legends={"x": {"kind": "scene", "classes": ["a"], "ignore": 0}}), "of a mask"),
        (edit_json("dataset.json", legends={"x": {"kind": "mask"}}), "needs 'kind' and a list of 'classes'"),
        (edit_json("dataset.json", legends={"hr": {"kind": "mask", "classes": ["a"]}}), "name of a sensor's file"),
        (edit_json("dataset.json", legends={"../x": {"kind": "mask", "classes": ["a"]}}), "must be made of letters"),
    ],
)
def test_a_broken_dataset_json(root: Path, change: Callable[[Path], None], rule: str) -> None:
    change(root)
    with pytest.raises(InputError, match=re.escape(rule)):
        Places(root)
    report = check(root)
    assert report.ok == report.places == 2, "places are looked at all the same"
    (problem,) = report.problems
    assert (problem.place, problem.file) == ("", "dataset.json") and rule in problem.rule


def test_what_an_interrupted_write_leaves_is_listed(root: Path) -> None:
    for name in (".c.1a2b.unfinished", ".b.3c4d.replaced", ".git"):
        (root / name).mkdir()
    report = check(root)
    assert report.problems == [
        Problem("", name, "is left from an interrupted write. Remove it")
        for name in (".b.3c4d.replaced", ".c.1a2b.unfinished")
    ]
    assert len(Places(root)) == report.ok == 2


def test_several_problems_of_several_places(root: Path) -> None:
    cut("hr.tif", 0.5)(root / "a")
    edit_cube("s2.nc", fill("time", 0, 19000))(root / "a")
    remove("place.json")(root / "b")
    report = check(root)
    assert [(problem.place, problem.file) for problem in report.problems] == [
        ("a", "hr.tif"),
        ("a", "s2.nc"),
        ("b", "place.json"),
    ]
    assert (report.places, report.ok) == (2, 0)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: is not a folder"):
        check(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere: is not a folder of places"):
        Places(tmp_path / "nowhere")


def test_a_mask_that_is_no_class_is_refused_when_read(root: Path) -> None:
    rewrite_tif("fine.tif", ("fine",), 128, 256, value=3)(root / "a")
    places = Places(root)
    for window in (None, Window(0, 0, 4, 4)):
        with pytest.raises(InputError, match=r"fine\.tif: mask 'fine' holds the values 3"):
            places.read_mask(places[0], "fine", window)
    remove("coarse.tif")(root / "a")
    with pytest.raises(InputError, match=r"coarse\.tif: is missing"):
        places.read_mask(places[0], "coarse")
    with pytest.raises(InputError, match="label 'soil' is none of scene, cover, fine, coarse"):
        places.read_mask(places[0], "soil")


def test_windows_and_frames_that_do_not_exist(good: Path) -> None:
    places = Places(good)
    for window in (Window(0, 0, 5, 4), Window(0, 5, 4, 4), Window(-1, 0, 4, 4), Window(0, 0, 0, 4)):
        with pytest.raises(InputError, match="leaves the place of 4 x 8 cells"):
            places.read_sample(places[0], window=window)
    for frames in ([5], [-1], [2, 1], [1, 1], []):
        with pytest.raises(InputError, match=r"s2\.nc: frames .* must ascend within 0 .. 4"):
            places.read_sample(places[0], frames={"s2": frames})


def test_sensors_the_place_does_not_have(root: Path) -> None:
    remove("s1.nc")(root / "a")
    places = Places(root)
    assert list(places.read_sample(places[0], ["s1", "s2"]).series) == ["s2"]
    with pytest.raises(InputError, match="a: holds none of s1, only hr, s2"):
        places.read_sample(places[0], ["s1"])
    with pytest.raises(InputError, match=r"s1\.nc: is missing"):
        places.read_dates(places[0], "s1")
