"""What a corpus of shards holds: in numbers, and as a picture of some of its places.

Letters: C bands, H W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.shards.layout import ENDING, GROUP_FILE, SPLITS
from skysense.data.shards.read import ShardedPlace, Shards
from skysense.data.shards.store import parse_json, read_bytes
from skysense.errors import InputError
from skysense.files import atomic_path
from skysense.observation import Series
from skysense.report import picture_sheet
from skysense.sensors import MODALITIES, Modality

PICTURED = 6
"""Places in a picture."""
_SIDE = 512  # pixels that an image is thinned out to
_DECIBEL = ((-22.0, 0.0), (-28.0, -6.0), (2.0, 14.0))  # VV, VH and VV - VH: what becomes black and full colour
_WHITE = 1500.0  # reflectance x 10^4 that is white in dark scenes; the brighter ones are stretched
_GREY = 128  # where nothing was observed


@dataclass(frozen=True)
class Stored:
    """Bytes of one array in all shards.

    Attributes:
        stored: as they lie there.
        raw: of the values.
    """

    stored: int
    raw: int

    @property
    def ratio(self) -> float:
        """How many times smaller it is stored."""
        return self.raw / max(self.stored, 1)


@dataclass(frozen=True)
class Summary:
    """What a corpus holds.

    Attributes:
        places: number of places.
        splits: places by split, ``none`` for those without.
        modalities: places that have a sensor.
        frames: least, median and most frames of those.
        sizes: places by height and width in cells.
        months: frames by year, month and sensor; frames without date are not in it.
        shards: number of shards.
        bytes: of all of them.
        arrays: what each array takes, by name.
        unreadable: shards that could not be opened, and why; their frames are not counted in ``months``.
    """

    places: int
    splits: dict[str, int]
    modalities: dict[Modality, int]
    frames: dict[Modality, tuple[int, int, int]]
    sizes: dict[tuple[int, int], int]
    months: dict[tuple[int, int, Modality], int]
    shards: int
    bytes: int
    arrays: dict[str, Stored]
    unreadable: dict[str, str]


def summary(corpus: Shards, progress: Callable[[int, int], None] | None = None) -> Summary:
    """Count what a corpus holds; of the shards only sizes and dates are read.

    Args:
        corpus: all of it, or a view on some places; bytes are those of all shards.
        progress: called with (shards done, shards in all).
    """
    rows = corpus.index
    counted = {modality: rows[f"{modality}_frames"][rows[f"{modality}_frames"] > 0] for modality in MODALITIES}
    sizes, number = np.unique(rows["cells"], axis=0, return_counts=True)
    months: Counter[tuple[int, int, Modality]] = Counter()
    arrays: dict[str, Stored] = {}
    unreadable: dict[str, str] = {}
    order = np.argsort(rows["shard"], kind="stable")
    by_shard = np.searchsorted(rows["shard"][order], np.arange(len(corpus.manifest.shards) + 1))
    for at, shard in enumerate(corpus.manifest.shards):
        try:
            _add_sizes(f"{corpus.root}/{shard.name}{ENDING}", arrays)
            for index in order[by_shard[at] : by_shard[at + 1]].tolist():
                months += _months(corpus, corpus[index])
        except InputError as error:
            unreadable[shard.name] = str(error)
        if progress is not None:
            progress(at + 1, len(corpus.manifest.shards))
    return Summary(
        places=len(rows),
        splits={split or "none": int((rows["split"] == code).sum()) for code, split in enumerate(SPLITS)},
        modalities={modality: len(found) for modality, found in counted.items()},
        frames={
            modality: (int(found.min()), int(np.median(found)), int(found.max()))
            for modality, found in counted.items()
            if len(found)
        },
        sizes={(int(height), int(width)): int(count) for (height, width), count in zip(sizes, number, strict=True)},
        months=dict(sorted(months.items())),
        shards=len(corpus.manifest.shards),
        bytes=sum(shard.bytes for shard in corpus.manifest.shards),
        arrays=dict(sorted(arrays.items())),
        unreadable=unreadable,
    )


def _add_sizes(folder: str, arrays: dict[str, Stored]) -> None:
    group = parse_json(read_bytes(folder, GROUP_FILE), f"{folder}/{GROUP_FILE}")
    try:
        metadata, stored = group["consolidated_metadata"]["metadata"], group["attributes"]["bytes_of_arrays"]
        for name, size in stored.items():
            raw = int(np.prod(metadata[name]["shape"])) * np.dtype(metadata[name]["data_type"]).itemsize
            before = arrays.get(name, Stored(0, 0))
            arrays[name] = Stored(before.stored + int(size), before.raw + raw)
    except (KeyError, TypeError) as error:
        raise InputError(f"is no shard: lacks or misstates {error}", file=folder) from error


def _months(corpus: Shards, place: ShardedPlace) -> Counter[tuple[int, int, Modality]]:
    found: Counter[tuple[int, int, Modality]] = Counter()
    for modality in place.modalities:
        dates = corpus.read_dates(place, modality)
        months = dates[~np.isnat(dates)].astype("datetime64[M]").astype(int)
        found.update((1970 + month // 12, month % 12 + 1, modality) for month in months.tolist())
    return found


def draw(corpus: Shards, picture: str | Path) -> None:
    """Draw some places side by side: the high-resolution image, the clearest Sentinel-2 frame, a Sentinel-1 frame.

    They are taken at even distances among those that have the most sensors.

    Args:
        corpus: at least one place.
        picture: the PNG.

    Raises:
        InputError: no place at all can be read.
        MissingExtra: matplotlib is not installed.
        OutputError: no space, no permission.
    """
    rows = corpus.index
    count = np.sum([rows[f"{modality}_frames"] > 0 for modality in MODALITIES], axis=0)
    richest = np.flatnonzero(count == count.max(initial=0))
    chosen = np.unique(np.linspace(0, len(richest) - 1, min(PICTURED, len(richest))).astype(int))
    pictures, names, failed = [], [], []
    for index in richest[chosen].tolist():
        place = corpus[index]
        try:
            shown = {modality: _picture(corpus, place, modality) for modality in place.modalities}
        except InputError as error:
            failed.append(str(error))
            continue
        nothing = np.full((1, 1, 3), 255, np.uint8), ""
        found = [shown.get(modality, nothing) for modality in MODALITIES]
        pictures.append([image for image, _ in found])
        names.append("\n".join([place.name, *(f"{key} {day}" for key, (_, day) in shown.items())]))
    if not pictures:
        raise InputError(
            f"no place can be read{''.join(f'; the first: {one}' for one in failed[:1])}", file=corpus.root
        )
    titles = ["high resolution", "Sentinel-2", "Sentinel-1 (VV, VH, VV - VH)"]
    figure = picture_sheet(pictures, titles, names, side=2.4)
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _picture(corpus: Shards, place: ShardedPlace, modality: Modality) -> tuple[NDArray[np.uint8], str]:
    """The frame of a sensor that shows the most, as ``(H, W, 3)``, and its day."""
    masks = corpus.outline(place).sample.series[modality]
    seen = masks.valid if masks.clear is None else masks.valid & masks.clear
    best = int(seen.mean((1, 2)).argmax())
    series = corpus.read_sample(place, [modality], frames={modality: [best]}).series[modality]
    step = max(1, -(-max(series.values.shape[2:]) // _SIDE))
    thin = series.values[..., ::step, ::step], series.dates, series.valid[:, ::step, ::step]
    series = Series(series.sensor, *thin)
    day = "no date" if np.isnat(series.dates[0]) else str(series.dates[0])
    colours = {"hr": _true_colour_hr, "s2": _true_colour_s2, "s1": _radar}[modality](series)
    colours[~series.valid[0]] = _GREY
    return colours, day


def _true_colour_hr(series: Series) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.moveaxis(series.values[0, :3], 0, -1))


def _true_colour_s2(series: Series) -> NDArray[np.uint8]:
    bands = [series.sensor.bands.index(band) for band in ("B4", "B3", "B2")]
    rgb_CHW = series.values[0, bands].astype(np.float32)
    seen = rgb_CHW[:, series.valid[0]]
    white = max(_WHITE, float(np.percentile(seen, 98))) if seen.size else _WHITE
    return _colours(rgb_CHW, np.array([[0, white]] * 3))


def _radar(series: Series) -> NDArray[np.uint8]:
    vv, vh = np.nan_to_num(series.values[0].astype(np.float32))
    return _colours(np.stack([vv, vh, vv - vh]), np.array(_DECIBEL))


def _colours(values_CHW: NDArray[np.float32], limits_C2: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = limits_C2.T[:, :, None, None]
    return np.moveaxis(255 * ((values_CHW - low) / (high - low)).clip(0, 1), 0, -1).round().astype(np.uint8)
