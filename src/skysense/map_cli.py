"""The verb ``skysense map``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape

from skysense.maps_cli import device_of, print_notes, print_skipped, unit
from skysense.sensors import SENSORS, Modality, Unit
from skysense.terminal import bar, console

if TYPE_CHECKING:
    from skysense.maps.predict import MapResult

_PASSED_ON = ("area", "grid", "sensor", "unit", "date", "probabilities", "uncertainty", "score", "overwrite")
_SETTINGS = ("window_cells", "overlap_cells", "batch_size", "flips", "workers", "engine", "cluster")


def parser() -> ArgumentParser:
    """turn imagery into a map of classes, changes or objects with an adapted model"""
    made = ArgumentParser(
        description="Write what an adapted model says of imagery of any size: classes, changes or objects. "
        "The same command goes on with a run that was cut off."
    )
    made.add_argument("source", type=str, help="a GeoTIFF, a folder, STAC items, '{hr: a.tif, s2: b/}'; see the docs")
    made.add_argument("out", type=Path, help=".tif or .zarr; objects: .gpkg or .geojson. A picture goes beside it")
    made.add_argument("--model", type=Path, required=True, help="adapted.safetensors of a run of skysense adapt")
    made.add_argument("--area", type=str, default=None, help="W,S,E,N in degrees, or a GeoJSON file of polygons")
    made.add_argument("--grid", type=Modality | None, default=None, help="whose lattice the map has")
    made.add_argument("--probabilities", type=bool, default=False, help="also store those of all classes")
    made.add_argument("--uncertainty", type=bool, default=False, help="also store how uncertain the answers are")
    made.add_argument(
        "--score",
        type=float | None,
        default=None,
        help="least score of objects, 0 .. 1; that of the best F1 in validation, 0.3 if the model does not know",
    )
    made.add_argument("--flips", type=bool | None, default=None, help="average over mirror images")
    made.add_argument("--sensor", type=str, default=None, help=f"if the files do not say: {', '.join(SENSORS)}")
    made.add_argument("--unit", type=unit, default=None, help=f"if the files do not say: {', '.join(Unit)}")
    made.add_argument("--date", type=str, default=None, help="YYYY-MM-DD, if the files do not say")
    made.add_argument("--window_cells", type=int | None, default=None, help="side of a window; that of the model")
    made.add_argument("--overlap_cells", type=int | None, default=None, help="shared by neighbours; a quarter")
    made.add_argument("--batch_size", type=int | None, default=None, help="windows at once; that of the model")
    made.add_argument("--workers", type=int, default=1, help="processes that share the work")
    made.add_argument("--engine", type=Literal["local", "ray"], default="local", help="who runs these processes")
    made.add_argument("--cluster", type=str, default=None, help="address of a Ray cluster that is there")
    made.add_argument("--device", type=str, default=None, help="cpu, cuda, cuda:1; a GPU if there is one")
    made.add_argument("--overwrite", type=bool, default=False, help="replace existing outputs")
    return made


def run(options: Namespace) -> int:
    """Run the verb."""
    from skysense.maps.predict import MapSettings, predict

    with bar("mapping", late=True) as progress:
        made = predict(
            options.model,
            options.source,
            options.out,
            settings=MapSettings(**{name: options[name] for name in _SETTINGS}),
            device=device_of(options),
            progress=progress,
            say=lambda words: console.print(escape(words), soft_wrap=True),
            **{name: options[name] for name in _PASSED_ON},
        )
    _print(made)
    return 0


def _print(made: MapResult) -> None:
    print_notes(made.notes)
    print_skipped(tuple(made.account.skipped))
    if made.layers:
        size, names = "{} x {} px".format(*made.shape), [layer.name for layer in made.layers]
        held = [f"{name}, {size}" for name in (names if len(made.outputs) > 1 else [", ".join(names)])]
    else:
        held = [", ".join(f"{count} {name}" for name, count in made.objects.items()) or "nothing found"]
    for path, words in zip(made.outputs, held, strict=True):
        console.print(f"{escape(str(path))}: {escape(words)}", soft_wrap=True)
    if made.quicklook is not None:
        console.print(f"{escape(str(made.quicklook))}: a picture of it", soft_wrap=True)
