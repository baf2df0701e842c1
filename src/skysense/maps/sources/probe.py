"""A look at some windows of a source before anything is computed: do the values suit the unit?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.source import Source, UnreadableWindow
from skysense.observation import Series
from skysense.sensors import BASELINE_OFFSET, Modality, Unit, looks_offset

_ENOUGH = 36  # observed windows over which unit and offset are judged
_MOST = 4 * _ENOUGH  # windows after which a sensor that was not seen yet is given up, if another one was
_OFFSET_SINCE = np.datetime64("2022-01-25")  # processing baseline 04.00; older days may be reprocessed, newer all are


def probe(source: Source, windows: Iterable[Window]) -> tuple[str, ...]:
    """Look at some windows: is there an observed pixel of every sensor, and do they suit the unit?

    Args:
        source: any.
        windows: in the order to look at; reading stops once enough of them held observed pixels.

    Returns:
        Notes about the values.

    Raises:
        InputError: nothing readable, nothing observed, or values that the unit cannot hold.
    """
    seen: dict[Modality, list[Series]] = defaultdict(list)
    enough = {key: 1 if sensor.unit is Unit.UINT8 else _ENOUGH for key, sensor in source.sensors.items()}
    tried, reason = 0, None
    with source.open() as reader:
        for window in windows:
            tried += 1
            try:
                sample = reader.read(window)
            except UnreadableWindow as error:
                reason = error
                continue
            for key, series in sample.series.items():
                if len(seen[key]) < enough[key] and series.valid.any():
                    seen[key].append(series)
            if all(len(seen[key]) >= enough[key] for key in enough) or (tried >= _MOST and any(seen.values())):
                break
    if not any(seen.values()):
        _nothing(source, tried, reason)
    notes: list[str] = []
    for key in source.sensors:
        if not seen[key]:
            notes.append(f"{key}: none of the {tried} windows looked at shows an observed pixel of it")
            continue
        said = _judge(source, seen[key])
        notes += [f"{key}: {note}" for note in said] if len(source.sensors) > 1 else said
    return tuple(notes)


def _nothing(source: Source, tried: int, reason: UnreadableWindow | None) -> None:
    if reason is not None:
        raise InputError(
            f"none of its {tried} windows could be used; the last one: {reason.what}",
            file=reason.file or source.name,
            fix="The file is truncated or damaged, or its values are not in the declared unit: get it again",
        ) from reason
    raise InputError("holds no observed pixel (all no-data)", file=source.name, fix="Check its no-data")


def _judge(source: Source, seen: list[Series]) -> list[str]:
    sensor = seen[0].sensor
    values = np.concatenate([series.values for series in seen])
    valid = np.concatenate([series.valid for series in seen])
    sensor.check(values, valid, file=source.name)
    if sensor.unit is not Unit.REFLECTANCE_1E4:
        return []
    dates = np.concatenate([series.dates for series in seen])
    newer = dates >= _OFFSET_SINCE
    sides = {"": np.isnat(dates), " before 2022-01-25": dates < _OFFSET_SINCE, " since 2022-01-25": newer}
    some = {name: side for name, side in sides.items() if side.any()}
    return [
        f"every band{name if len(some) > 1 else ''} stays above 900: this looks like the +{BASELINE_OFFSET} offset of "
        "Sentinel-2 processing baseline 04.00 or later; subtract it, or features differ from training"
        for name, side in some.items()
        if looks_offset(values[side], valid[side])
    ]
