"""Small samples to write as places."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skysense.data.places import Legend, write_dataset, write_place
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A

LEGENDS = {
    "scene": Legend("scene", ("forest", "town")),
    "cover": Legend("multilabel", ("trees", "water", "built")),
    "fine": Legend("mask", ("a", "b", "c"), ignore=255),
    "coarse": Legend("mask", ("none", "wheat"), ignore=0),
}
LABELS = {"scene": "town", "cover": ["trees", "built"]}


def make_sample(
    name: str = "p", *, height: int = 4, width: int = 8, frames: int = 5, seed: int = 0, **position
) -> Sample:
    """All three sensors over ``height`` x ``width`` cells; some pixels not valid, some Sentinel-1 pixels NaN."""
    rng = np.random.default_rng(seed)
    shape = (frames, height, width)
    first = np.datetime64("2020-02-27")
    dates = first + 3 * np.arange(frames)
    valid = rng.random(shape) < 0.9
    decibel = rng.normal(-12, 3, (frames, 2, height, width)).astype(np.float32)
    decibel[~valid[:, None].repeat(2, axis=1)] = np.nan
    hr_shape = (1, 32 * height, 32 * width)
    return Sample(
        name,
        {
            "hr": Series(
                OPTICAL_HR,
                rng.integers(0, 256, (1, 3, *hr_shape[1:]), np.uint8),
                np.array(["2019-07-01"], "datetime64[D]"),
                np.ones(hr_shape, bool),
            ),
            "s2": Series(
                SENTINEL2_L2A,
                rng.integers(1, 5000, (frames, 10, height, width)).astype(np.uint16),
                dates,
                np.ones(shape, bool),
                rng.random(shape) < 0.5,
            ),
            "s1": Series(SENTINEL1, decibel, dates, valid),
        },
        **(position or {"lon": 11.58, "lat": 48.14}),
    )


def make_masks(height: int = 4, width: int = 8, seed: int = 1) -> dict[str, np.ndarray]:
    """One mask on each grid."""
    rng = np.random.default_rng(seed)
    fine = rng.integers(0, 3, (32 * height, 32 * width), np.uint8)
    fine[:5] = 255
    return {"fine": fine, "coarse": rng.integers(0, 2, (height, width), np.uint8)}


def write_folder(root: Path, *names: str) -> Path:
    """A folder of places that differ in their pixels."""
    write_dataset(root, title="Test", simulated=True, legends=LEGENDS, source="here", licence="CC0")
    for seed, name in enumerate(names):
        write_place(
            root,
            make_sample(name, seed=seed),
            labels=LABELS,
            masks=make_masks(),
            split="train" if seed % 2 == 0 else "val",
            attributes={"row": seed},
        )
    return root


def assert_same(read: Series, written: Series) -> None:
    """Pixels, types, dates and both masks are equal."""
    assert read.sensor == written.sensor and read.values.dtype == written.values.dtype
    np.testing.assert_array_equal(read.values, written.values)
    np.testing.assert_array_equal(read.dates, written.dates)
    np.testing.assert_array_equal(read.valid, written.valid)
    if written.clear is None:
        assert read.clear is None
    else:
        assert read.clear is not None
        np.testing.assert_array_equal(read.clear, written.clear)
