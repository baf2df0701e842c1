"""A tiny OSCD: two dates of Sentinel-2 for each city, a file for each band, masks of change in two encodings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.data.labelled.files import write as save
from tests.datasets.fakes import drawing
from tests.datasets.truth import Truth

CLASSES = ("no change", "change")
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_METRES = dict.fromkeys(BANDS, 20) | dict.fromkeys(("B02", "B03", "B04", "B08"), 10)
_METRES |= dict.fromkeys(("B01", "B09", "B10"), 60)
IMAGES, TRAIN_LABELS, TEST_LABELS = (
    f"Onera Satellite Change Detection dataset - {part}" for part in ("Images", "Train Labels", "Test Labels")
)
# Width and height of the registered images, dates; in the order of the published lists.
TRAIN = {
    "aguasclaras": (525, 471, 20150916, 20171015), "bercy": (360, 395, 20161130, 20170829),
    "bordeaux": (461, 517, 20160504, 20171026), "nantes": (582, 522, 20150821, 20171014),
    "paris": (390, 408, 20161130, 20171107), "rennes": (563, 339, 20150821, 20170621),
    "saclay_e": (688, 639, 20160315, 20170829), "abudhabi": (785, 799, 20160120, 20180328),
    "cupertino": (788, 1015, 20150918, 20180326), "pisa": (718, 776, 20150704, 20180211),
    "beihai": (772, 902, 20161209, 20180309), "hongkong": (540, 695, 20160927, 20180323),
    "beirut": (1070, 1180, 20150820, 20171003), "mumbai": (557, 858, 20151130, 20180319),
}  # fmt: skip
TEST = {
    "brasilia": (469, 433, 20150916, 20171017), "montpellier": (451, 426, 20150812, 20171030),
    "norcia": (385, 241, 20150711, 20171018), "rio": (426, 353, 20160424, 20171011),
    "saclay_w": (688, 639, 20160315, 20170829), "valencia": (476, 458, 20160730, 20171107),
    "dubai": (634, 774, 20151211, 20180330), "lasvegas": (716, 824, 20150820, 20180205),
    "milano": (558, 545, 20161228, 20180122), "chongqing": (544, 730, 20170414, 20180402),
}  # fmt: skip
_SHORT_NAMES_SINCE = 20161206  # of the products of Sentinel-2; older ones have the long names


def write(
    root: Path, *, seed: int = 0, train: int = 3, test: int = 2, scale: float = 0.1, merged: bool = False
) -> Truth:  # fmt: skip
    """Write cities: the registered images of both dates, the unregistered ones on their own grids, previews, masks.

    Truth: keys are names of cities; pixels are those of the registered images ``(2, 13, H, W)``, bands in the order of
    `BANDS`; labels are masks.

    Args:
        root: folder that then holds the three folders of the archives or, ``merged``, cities and lists.
        seed: of everything random.
        train: how many cities, in the order of the list; 14 in the original.
        test: how many cities, in the order of the list; 10 in the original.
        scale: sides as a share of the true ones.
        merged: images and masks of a city in one folder.
    """
    truth = Truth(CLASSES)
    images = root if merged else root / IMAGES
    cities = {"train": dict(list(TRAIN.items())[:train]), "test": dict(list(TEST.items())[:test])}
    lists = {split: ",".join(of) for split, of in cities.items()}
    lists["all"] = ",".join(of for of in lists.values() if of)  # of this one only the name is described
    images.mkdir(parents=True, exist_ok=True)
    for name, line in lists.items():
        (images / f"{name}.txt").write_text(f"{line}\n", "utf-8")
    for split, label_folder in (("train", TRAIN_LABELS), ("test", TEST_LABELS)):
        labels = root if merged else root / label_folder
        labels.mkdir(exist_ok=True)
        for folder in {images, labels}:
            (folder / "README.txt").write_text("Onera Satellite Change Detection dataset\n", "utf-8")
        for index, (city, (width, height, *dates)) in enumerate(cities[split].items()):
            rng = np.random.default_rng([seed, split == "test", index])
            pixels, mask = _pair(rng, max(round(height * scale), 12), max(round(width * scale), 12))
            truth.pixels[city], truth.labels[city], truth.splits[city] = pixels, mask, split
            _images(images / city, rng, pixels, dates)
            if index % 2 == 0:  # some have one and some have none
                _place(images / city / f"{city}.geojson", rng)
            save(labels / city / "cm/cm.png", mask * np.uint8(255))
            # Most who looked found 1 and 2 in this one, though what comes with the data set says 0 and 1.
            save(labels / city / f"cm/{city}-cm.tif", mask + np.uint8(1))
    return truth


def _pair(rng: np.random.Generator, height: int, width: int) -> tuple[NDArray, NDArray]:
    """Reflectance x 10^4 ``(2, 13, H, W)`` uint16 and mask ``(H, W)``."""
    before = drawing.smooth(rng, len(BANDS), height, width, low=600, high=3000, dtype=np.float32, grain=8)
    after = before * rng.uniform(0.9, 1.1, (len(BANDS), 1, 1))
    mask = np.zeros((height, width), np.uint8)
    for index, corners in enumerate(drawing.scattered(rng, 6, height, width, turned=True)):
        surface = rng.uniform(800, 4000, len(BANDS))
        drawing.paint(after, corners, surface)
        if index % 2:
            drawing.paint(before, corners, surface)
        else:
            drawing.paint(mask, corners, 1)
    pixels = np.stack([before, after]).astype(np.uint16)
    pixels[:, BANDS.index("B10")] //= 120  # nothing but the clouds high up
    return pixels, mask


def _images(folder: Path, rng: np.random.Generator, pixels: NDArray, dates: list[int]) -> None:
    for number, (scene, date) in enumerate(zip(pixels, dates, strict=True), start=1):
        tile = "T31UDQ"
        minute = f"{date}T1043{rng.integers(10, 60)}"
        stem = f"{tile}_{minute}" if date >= _SHORT_NAMES_SINCE else (
            f"S2A_OPER_MSI_L1C_TL_{'MTI_' if number == 1 else 'SGS_'}_{minute}_A00{rng.integers(1000, 9999)}_{tile}"
        )  # fmt: skip
        for band, values in zip(BANDS, scene, strict=True):
            # Neither has a CRS nor a transform: said of the registered ones, likely of the others.
            save(folder / f"imgs_{number}_rect/{band}.tif", values)
            save(folder / f"imgs_{number}/{stem}_{band}.tif", _on_its_grid(values, _METRES[band] // 10))
        shown = np.clip(scene[[BANDS.index(b) for b in ("B04", "B03", "B02")]] / 12, 0, 255).astype(np.uint8)
        save(folder / f"pair/img{number}.png", shown)
    (folder / "dates.txt").write_text("".join(f"date_{n}: {date}\n" for n, date in enumerate(dates, start=1)), "utf-8")


def _on_its_grid(values: NDArray, factor: int) -> NDArray:
    """Not registered: a few pixels more on every side, then each ``factor``-th pixel."""
    height, width = (-(-(side + 6) // 6) * 6 for side in values.shape)
    wide = np.pad(values, [(3, height - values.shape[0] - 3), (3, width - values.shape[1] - 3)], mode="edge")
    return wide[::factor, ::factor]


def _place(path: Path, rng: np.random.Generator) -> None:
    """A polygon in longitude and latitude; that it lies in a collection is likely, not verified."""
    x, y = rng.uniform(-60, 60, 2).round(4)
    ring = [[x, y], [x + 0.05, y], [x + 0.05, y + 0.05], [x, y + 0.05], [x, y]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {}, "geometry": polygon}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), "utf-8")
