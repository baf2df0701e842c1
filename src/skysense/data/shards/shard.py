"""One shard, opened: dates at hand, masks and pixels of any frames and window on demand.

Letters: F frames of the shard, T frames of a place, C bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.shards.layout import CLEAR, GROUP_FILE, NO_DATE, UNKNOWN
from skysense.data.shards.store import open_array, parse_json, read_bytes, readable, rows_of
from skysense.errors import InputError
from skysense.geo import Window
from skysense.sensors import SENSORS, Modality, Sensor

Waiting = Callable[[], Any]
"""A read that has begun; calling it waits for what was read."""


class Shard:
    """A Zarr group of places of one size; several threads may read.

    Args:
        folder: of the shard.
        workers: threads that will read at once.
        digest: of its places, by the manifest.

    Attributes:
        cells: height and width of its places.
        sensors: by modality.
        dates: ``(F,)`` of each modality.
        observed: ``(F,)`` share of the pixels of each frame that was observed.

    Raises:
        InputError: missing, truncated, foreign, or another shard than the one meant.
    """

    def __init__(self, folder: str, workers: int, digest: str) -> None:
        self.folder = folder
        file = f"{folder}/{GROUP_FILE}"
        content = parse_json(read_bytes(folder, GROUP_FILE), file)
        try:
            height, width = content["attributes"]["cells"]
            self.cells = (int(height), int(width))
            found_digest = content["attributes"]["digest"]
            said = content["attributes"]["sensors"]
            metadata = content["consolidated_metadata"]["metadata"]
            self.sensors: dict[Modality, Sensor] = {key: SENSORS[one["sensor"]] for key, one in said.items()}
            self._bands = {key: (list(one["whole"]), list(one["halved"])) for key, one in said.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"is no shard, or of sensors this release does not know: {error}", file=file) from error
        if found_digest != digest:
            raise InputError(
                "is another shard than the manifest lists under this name: the hashes differ",
                file=folder,
                fix="Put each shard back where it was",
            )
        with readable(folder):
            self._arrays = {name: open_array(folder, name, one, workers) for name, one in metadata.items()}
            reading = {name: one.read() for name, one in self._arrays.items() if name.endswith(("_date", "_observed"))}
            found = {name: one.result() for name, one in reading.items()}
        try:
            self.dates = {key: _dates(found[f"{key}_date"]) for key in self.sensors}
            self.observed = {key: found[f"{key}_observed"] for key in self.sensors}
            for key, (whole, halved) in self._bands.items():
                _ = whole and self._arrays[key], halved and self._arrays[f"{key}_halved"], self._arrays[f"{key}_valid"]
        except KeyError as error:
            raise InputError(f"lists no array {error}", file=file) from error

    def knows_clouds(self, modality: Modality) -> bool:
        """Whether any series of a sensor says where it is clear."""
        return f"{modality}_clear" in self._arrays

    def nothing(self, modality: Modality) -> NDArray:
        """A zero of the number type of a sensor."""
        name = modality if modality in self._arrays else f"{modality}_halved"
        return np.zeros((), self._arrays[name].dtype.numpy_dtype)

    def masks(self, modality: Modality, rows: NDArray[np.int64] | slice, window: Window | None = None) -> Waiting:
        """Begin to read ``valid`` and ``clear`` of some frames, ``(T, H, W)``; ``clear`` is None if nobody knows it.

        Args:
            modality: a sensor of this shard.
            rows: frames of the shard.
            window: in pixels of the sensor.
        """
        parts = {}
        for name in (f"{modality}_valid", f"{modality}_clear"):
            if name in self._arrays:
                parts[name] = self._part(name, rows, window).read()

        def wait() -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
            with readable(self.folder):
                valid = parts[f"{modality}_valid"].result()
                clear = parts[f"{modality}_clear"].result() if f"{modality}_clear" in parts else None
            if clear is None or (clear == UNKNOWN).any():
                return valid, None
            return valid, np.equal(clear, CLEAR)

        return wait

    def pixels(self, modality: Modality, rows: NDArray[np.int64] | slice, window: Window) -> Waiting:
        """Begin to read some frames of a window, ``(T, C, H, W)``.

        Args:
            modality: a sensor of this shard.
            rows: frames of the shard.
            window: in pixels of the sensor.
        """
        whole, halved = self._bands[modality]
        full = self._part(modality, rows, window).read() if whole else None
        top, left = window.row // 2, window.col // 2
        bottom, right = (window.row + window.height + 1) // 2, (window.col + window.width + 1) // 2
        outer = Window(top, left, bottom - top, right - left)
        coarse = self._part(f"{modality}_halved", rows, outer).read() if halved else None

        def wait() -> NDArray:
            with readable(self.folder):
                if coarse is None:
                    assert full is not None
                    return full.result()
                small = coarse.result()
                values = np.empty((len(small), len(whole) + len(halved), window.height, window.width), small.dtype)
                row, col = np.arange(window.height) + window.row % 2, np.arange(window.width) + window.col % 2
                values[:, halved] = small[:, :, (row // 2)[:, None], col // 2]
                if full is not None:
                    values[:, whole] = full.result()
                return values

        return wait

    def _part(self, name: str, rows: NDArray[np.int64] | slice, window: Window | None) -> Any:
        array = rows_of(self._arrays[name], rows)
        return array if window is None else array[..., *window.slices()]


def _dates(days: NDArray[np.int32]) -> NDArray[np.datetime64]:
    dates = days.astype(np.int64).astype("datetime64[D]")
    dates[days == NO_DATE] = np.datetime64("NaT")
    return dates
