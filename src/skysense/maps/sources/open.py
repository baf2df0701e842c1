"""From what a person names to a source on one grid.

source = open_source("scene.tif", reads={"hr": OPTICAL_HR})
source = open_source({"hr": "a.tif", "s2": "s2/", "s1": ["x.tif", "y.tif"]}, area=(11.2, 48.0, 11.9, 48.3), ...)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from skysense.data.geotiff import scale_note
from skysense.errors import InputError
from skysense.maps.grid import Grid
from skysense.maps.sources.area import Area, Cut, as_area
from skysense.maps.sources.array import array_stack
from skysense.maps.sources.cube_open import cube_stack, is_cube
from skysense.maps.sources.cubes import cube_series
from skysense.maps.sources.extent import choose_grid
from skysense.maps.sources.imagery import Imagery
from skysense.maps.sources.named import Entry, What, named, named_pair
from skysense.maps.sources.places import are_places
from skysense.maps.sources.recognise import file_stack, rasters_in
from skysense.maps.sources.stack import Stack
from skysense.sensors import Modality, Sensor, Unit

AreaLike = str | Path | Sequence[float] | Area
"""West, south, east, north in degrees, as numbers or text, or a GeoJSON file of polygons."""


def open_source(
    what: What,
    *,
    area: AreaLike | None = None,
    grid: Modality | None = None,
    reads: Mapping[Modality, Sensor],
    sensor: Sensor | str | None = None,
    unit: Unit | str | None = None,
    date: str | None = None,
    frames: Mapping[Modality, int] | None = None,
) -> Imagery:
    """Understand imagery and put it on one grid of cells; no pixel is read.

    Args:
        what: a GeoTIFF; a folder or a list of GeoTIFFs of one sensor; a Zarr or NetCDF cube, or a list of them; STAC
            items; an array of xarray; or a mapping from ``hr``, ``s2`` and ``s1`` to any of these, also as a YAML file
            or text. See docs/sources.md.
        area: what part of the ground is wanted; what every sensor covers if None. Outside of polygons there is no-data.
        grid: whose lattice the map has; if None that of Sentinel-2, else of Sentinel-1, else of the image.
        reads: the sensors that the model reads, by modality.
        sensor: what the imagery is, where the files do not say it.
        unit: of its numbers, where the files do not say it.
        date: ``YYYY-MM-DD``, where the files do not say it.
        frames: most frames of a sensor in a window; all of a sensor that is not named.

    Raises:
        InputError: something cannot be used; the message names the file and what to do.
        ConfigError: a grid of a sensor that is not there.
        MissingExtra: what reads cubes or polygons is not installed.
    """
    where = None if area is None else as_area(area)
    stacks = _stacks(named(what), reads, sensor=sensor, unit=unit, date=date)
    return _on_grid(stacks, choose_grid([stacks], area=where, grid=grid), where, frames)


def open_pair(
    what: What,
    *,
    area: AreaLike | None = None,
    grid: Modality | None = None,
    reads: Mapping[Modality, Sensor],
    sensor: Sensor | str | None = None,
    unit: Unit | str | None = None,
    date: str | None = None,
    frames: Mapping[Modality, int] | None = None,
) -> tuple[Imagery, Imagery]:
    """Imagery before and after a change, ``{before: ..., after: ...}``, on one grid; otherwise as `open_source`."""
    where = None if area is None else as_area(area)
    stacks = [_stacks(entry, reads, sensor=sensor, unit=unit, date=date) for entry in named_pair(what)]
    cells = choose_grid(stacks, area=where, grid=grid)
    before, after = (_on_grid(one, cells, where, frames) for one in stacks)
    return before, after


def _stacks(
    entries: Entry | dict[Modality, Entry],
    reads: Mapping[Modality, Sensor],
    *,
    sensor: Sensor | str | None,
    unit: Unit | str | None,
    date: str | None,
) -> dict[Modality, Stack]:
    if isinstance(entries, Entry):
        said = replace(entries, sensor=entries.sensor or sensor, unit=entries.unit or unit, date=entries.date or date)
        return _stack(said, reads)
    given = {"sensor": sensor, "unit": unit, "date": date}
    for name, value in given.items():
        if value is not None and len(entries) > 1:
            raise InputError(
                f"{name} {str(value)!r} could be of any of {', '.join(entries)}",
                fix=f"Say it where the sensor is named: {{{next(iter(entries))}: {{files: ..., {name}: {value}}}}}",
            )
    stacks: dict[Modality, Stack] = {}
    for key, entry in entries.items():
        if key not in reads:
            file = entry.paths[0] if entry.paths else None
            raise InputError(f"this model reads {', '.join(reads) or 'nothing'}, not {key}", file=file)
        said = replace(entry, sensor=entry.sensor or sensor, unit=entry.unit or unit, date=entry.date or date)
        stacks |= _stack(said, {key: reads[key]})
    return stacks


def _stack(entry: Entry, reads: Mapping[Modality, Sensor]) -> dict[Modality, Stack]:
    """What one name stands for, whatever it is kept in: one sensor, or of STAC items all that there are."""
    if entry.data is not None:
        stack = array_stack(entry, reads)
        return {stack.sensor.modality: stack}
    first = entry.paths[0]
    if len(entry.paths) == 1 and first.suffix.lower() in (".json", ".geojson"):
        from skysense.maps.sources.stac import stac_stacks  # reads the table of archives

        return dict(stac_stacks(first, entry, reads))
    kept = _of_one_sensor(entry, reads)
    return {kept.sensor.modality: kept}


def _of_one_sensor(entry: Entry, reads: Mapping[Modality, Sensor]) -> Stack:
    first = entry.paths[0]
    if len(entry.paths) == 1 and are_places(first):
        raise InputError("is a folder of places, or a corpus of them: each is a map of its own", file=first)
    if len(entry.paths) == 1 and is_cube(first):
        return cube_stack(first, entry, reads)
    if any(map(is_cube, entry.paths)):
        if not all(map(is_cube, entry.paths)):
            raise InputError(
                "is one of several files, of which some are cubes and some are not; a series is kept in one way",
                file=next(path for path in entry.paths if not is_cube(path)),
                fix="Name only rasters or only cubes (Zarr, NetCDF); convert the others",
            )
        return cube_series(entry.paths, entry, reads)
    if len(entry.paths) > 1:
        return file_stack(entry.paths, first.parent, entry, reads)
    return file_stack(rasters_in(first) if first.is_dir() else [first], first, entry, reads)


def _on_grid(
    stacks: Mapping[Modality, Stack], grid: Grid, area: Area | None, frames: Mapping[Modality, int] | None
) -> Imagery:
    several = len(stacks) > 1
    notes: list[str] = []
    for key, stack in stacks.items():
        pixels = grid.finer(stack.sensor.cell_px)
        said = [*stack.notes, *stack.hows(pixels)]
        if not stack.hows(pixels):
            said += scale_note(pixels, stack.sensor)
        notes += [f"{key}: {note}" for note in said] if several else said
    return Imagery(
        name=" + ".join(Path(stack.name).name for stack in stacks.values()),
        grid=grid,
        stacks=stacks,
        notes=tuple(notes),
        frames=frames or {},
        cut=Cut.of(area, grid) if area is not None and area.cuts else None,
        area=None if area is None else area.digest,
    )
