"""The verb ``skysense export``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape

from skysense.sensors import Modality
from skysense.terminal import bar, console, quantity

if TYPE_CHECKING:
    from skysense.export.front import File


def parser() -> ArgumentParser:
    """write a model as ONNX files that run without this package"""
    made = ArgumentParser(
        description="Write ONNX files: one per encoder and one that fuses them, or one of an adapted model. Each is "
        "compared with PyTorch before the folder gets its name; skysense.json and README.md say how to use them."
    )
    made.add_argument(
        "model", type=str, help="model.safetensors of a run, a folder, a hub name; or adapted.safetensors"
    )
    made.add_argument("--out", type=Path, required=True, help="the folder to write")
    made.add_argument("--modalities", type=list[Modality] | None, default=None, help="sensors; all by default")
    made.add_argument("--int8", type=bool, default=False, help="also files with weights in 8 bits, and what they cost")
    made.add_argument("--overwrite", type=bool, default=False, help="replace an export that is there")
    return made


def run(options: Namespace) -> int:
    """Run the verb."""
    from skysense.export.front import to_onnx

    with bar("exporting", late=True) as progress:
        files = to_onnx(
            options.model,
            options.out,
            modalities=options.modalities,
            int8=options.int8,
            overwrite=options.overwrite,
            progress=progress,
        )
    for one in files:
        ports = f"{', '.join(one.inputs)} to {', '.join(one.outputs)}"
        console.print(f"{escape(str(one.path))}: {ports}; {quantity(one.size, 'B')}", soft_wrap=True)
        console.print(f"  {_closeness(one)}", soft_wrap=True)
        if one.int8 is not None and one.loss is not None:
            console.print(f"{escape(str(one.int8))}: weights in 8 bits; {one.loss.words()}", soft_wrap=True)
    console.print(f"{escape(str(options.out / 'README.md'))}: what goes in and what comes out", soft_wrap=True)
    return 0


def _closeness(one: File) -> str:
    """How close a file is to PyTorch."""
    if one.boxes == 0:
        return "no box was found in the made-up imagery: nothing was compared with PyTorch; try imagery of your own"
    of = "the greatest number" if one.boxes is None else f"the side of the image or in scores, {one.boxes} boxes"
    return f"differs from PyTorch by at most {one.difference:.1e} of {of}"
