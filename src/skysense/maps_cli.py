"""The verbs that make maps: parse, call, print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape

from skysense.errors import ConfigError
from skysense.sensors import SENSORS, Modality, Unit
from skysense.terminal import bar, console

if TYPE_CHECKING:
    from skysense.maps.account import Skipped
    from skysense.maps.job import Settings

_SHOWN = 20  # windows that are listed one by one; the map's metadata has all of them


_OF_IMAGERY = ("area", "grid", "sensor", "unit", "date", "dims", "precision", "workers", "engine", "cluster")
"""Options that mean nothing where places are embedded."""


def embed_parser() -> ArgumentParser:
    """turn imagery into a map of features, or places into vectors"""
    parser = ArgumentParser(
        description="Write the features of every 10 m cell of some imagery, on its own grid. The same command goes on "
        "with a run that was cut off."
    )
    parser.add_argument("source", type=str, help="imagery, see docs/sources.md; or places, see docs/maps.md")
    parser.add_argument(
        "out",
        type=Path,
        help="name.tif or name.zarr; a picture goes beside it. Of places: name.safetensors, or a folder",
    )
    parser.add_argument("--model", type=str, required=True, help="model.safetensors of a run, a folder, or a hub name")
    add_source(parser)
    parser.add_argument("--dims", type=int, default=None, help="principal components to keep instead of all features")
    parser.add_argument(
        "--precision", type=Literal["float32", "float16", "int8"], default="float32", help="of the numbers on disk"
    )
    parser.add_argument("--cells", type=bool, default=False, help="of places: a map of each, not one vector")
    add_settings(parser)
    return parser


def add_source(parser: ArgumentParser) -> None:
    """Options that say how imagery is to be understood."""
    parser.add_argument("--area", type=str, default=None, help="W,S,E,N in degrees, or a GeoJSON file of polygons")
    parser.add_argument("--grid", type=Modality, default=None, help="whose grid the map has: s2, s1 or hr")
    parser.add_argument("--sensor", type=str, default=None, help=f"if the files do not say: {', '.join(SENSORS)}")
    parser.add_argument("--unit", type=unit, default=None, help=f"if the files do not say: {', '.join(Unit)}")
    parser.add_argument("--date", type=str, default=None, help="YYYY-MM-DD, if the files do not say")
    parser.add_argument("--frames", type=int, default=None, help="most frames of a Sentinel series in a window")


def add_settings(parser: ArgumentParser) -> None:
    """Options that say how windows are laid out and computed."""
    parser.add_argument("--window_cells", type=int, default=16, help="side of a window in cells, a multiple of 4")
    parser.add_argument("--overlap_cells", type=int, default=None, help="shared by neighbours; an eighth by default")
    parser.add_argument("--batch_size", type=int, default=8, help="windows at once")
    parser.add_argument("--device", type=str, default=None, help="cpu, cuda, cuda:1; a GPU if there is one")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the work")
    parser.add_argument("--engine", type=Literal["local", "ray"], default="local", help="whose processes")
    parser.add_argument("--cluster", type=str, default=None, help="address of a Ray cluster; one of this machine's own")
    parser.add_argument("--overwrite", type=bool, default=False, help="replace outputs, begin unfinished ones anew")


def unit(text: str) -> Unit:
    """A unit as files declare it, ``reflectance*1e4``, or by its name in Python, ``REFLECTANCE_1E4``."""
    return Unit[text] if text in Unit.__members__ else Unit(text)


def source_options(options: Namespace) -> dict[str, Any]:
    """What `add_source` asked for, by name."""
    return {name: options[name] for name in ("area", "grid", "sensor", "unit", "date", "frames")}


def settings_of(options: Namespace) -> Settings:
    """What `add_settings` asked for."""
    from skysense.maps.job import Settings

    names = ("window_cells", "overlap_cells", "batch_size", "workers", "engine", "cluster")
    return Settings(**{name: options[name] for name in names})


def device_of(options: Namespace) -> str:
    """The device that was asked for, or a GPU if there is one."""
    import torch

    return options.device or ("cuda" if torch.cuda.is_available() else "cpu")


def embed(options: Namespace) -> int:
    """Run the verb."""
    from skysense.maps.sources.places import are_places

    return _embed_places(options) if are_places(options.source) else _embed_imagery(options)


def _embed_imagery(options: Namespace) -> int:
    from skysense.maps.embed import embed

    with bar("embedding", late=True) as progress:
        result = embed(
            options.model,
            options.source,
            options.out,
            **source_options(options),
            dims=options.dims,
            precision=options.precision,
            settings=settings_of(options),
            device=device_of(options),
            overwrite=options.overwrite,
            progress=progress,
            say=lambda words: console.print(escape(words), soft_wrap=True),
        )
    print_notes(result.notes)
    print_skipped(result.skipped)
    if result.resumed:
        console.print(f"went on with {result.resumed} finished parts")
    dims, height, width = result.shape
    sensors = " and ".join(result.sensors)
    console.print(
        f"{escape(str(result.path))}: {dims} features on {height} x {width} cells of {sensors}", soft_wrap=True
    )
    if result.quicklook is not None:
        console.print(f"{escape(str(result.quicklook))}: their three principal components", soft_wrap=True)
    return 0


def _embed_places(options: Namespace) -> int:
    from skysense.maps.places import embed_places
    from skysense.model.loading import load

    usual = {"precision": "float32", "workers": 1, "engine": "local"}
    foreign = [name for name in _OF_IMAGERY if options[name] != usual.get(name)]
    if foreign:
        raise ConfigError(f"places are embedded without --{', --'.join(foreign)}: leave it out")
    with bar("embedding places", late=True) as progress:
        result = embed_places(
            load(options.model, device=device_of(options)),
            options.source,
            options.out,
            cells=options.cells,
            frames=options.frames,
            settings=settings_of(options),
            overwrite=options.overwrite,
            progress=progress,
        )
    for place, reason in result.failures.items():
        console.print(f"[yellow]left out {escape(place)}: {escape(reason)}[/yellow]", soft_wrap=True)
    what = "maps" if options.cells else "vectors"
    console.print(f"{escape(str(result.path))}: {what} of {result.places:,} places", soft_wrap=True)
    return 0


def print_notes(notes: Iterable[str]) -> None:
    """What a person should know."""
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)


def print_skipped(skipped: tuple[Skipped, ...]) -> None:
    """Windows that could not be used."""
    for one in skipped[:_SHOWN]:
        console.print(f"[yellow]no-data: {escape(str(one))}[/yellow]", soft_wrap=True)
    if len(skipped) > _SHOWN:
        console.print(f"[yellow]no-data: {len(skipped) - _SHOWN:,} more windows, see the map's metadata[/yellow]")
