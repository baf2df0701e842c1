"""The page for people beside exported files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def page(files: Sequence[Mapping[str, Any]]) -> str:
    """What every file takes and gives, in Markdown.

    Args:
        files: descriptions, with what was measured.
    """
    about = files[0]["model"]
    lines = [
        "# SkySense as ONNX",
        "",
        f"Written by {files[0]['made_by']}. Licence of the weights: {about['licence']}. Weights: sha256",
        f"`{about['weights_sha256']}`. `skysense.json` says the same to programs, as does the metadata `skysense` of",
        "every file.",
        "",
        f"Not observed: {files[0]['not_observed']}. Sizes: {files[0]['sizes']['says']}.",
    ]
    for one in files:
        lines += ["", *_section(one)]
    return "\n".join(lines) + "\n"


def _section(one: Mapping[str, Any]) -> list[str]:
    lines = [f"## {one['file']}", "", "| input | type | axes | what |", "|---|---|---|---|"]
    for port in one["inputs"]:
        what = port.get("says") or f"{port['sensor']} in {port['unit']}: {', '.join(port['bands'])}"
        lines.append(f"| `{port['name']}` | {port['type']} | {', '.join(port['axes'])} | {what} |")
    lines += ["", "| output | axes | what |", "|---|---|---|"]
    lines += [f"| `{outlet['name']}` | {', '.join(outlet['axes'])} | {outlet['says']} |" for outlet in one["outputs"]]
    if one["sizes"]["batch"] == 1:
        lines += ["", "One sample at a time: the batch is 1."]
    if "task" in one:
        task = one["task"]
        lines += ["", f"Task: {task['kind']}. Still to do: {task['still_to_do']}.", ""]
        lines += [f"{number}. {name} {colour}" for number, (name, colour) in _numbered(task)]
    checked = one["checked"]
    lines += ["", f"Greatest difference from PyTorch: {checked['difference']:.1e} ({checked['says']})."]
    if "int8" in one:
        lines += ["", f"`{one['int8']['file']}` has its weights in 8 bits: {one['int8']['says']}."]
    lines += ["", "```python", *_example(one), "```"]
    return lines


def _numbered(task: Mapping[str, Any]) -> list[tuple[int, tuple[str, str]]]:
    return list(enumerate(zip(task["classes"], task["colours"], strict=True)))


def _example(one: Mapping[str, Any]) -> list[str]:
    """Lines that run a file on numbers of the right shape."""
    rows = ["import numpy as np", "import onnxruntime", "", f'session = onnxruntime.InferenceSession("{one["file"]}")']
    rows.append("inputs = {")
    shapes = one["checked"]["inputs"]
    for port in one["inputs"]:
        shape = tuple(shapes[port["name"]])
        if port["kind"] == "imagery":
            mean = [round(value, 1) for value in port["normalisation"]["mean"]]
            rows.append(f'    "{port["name"]}": np.full({shape}, {mean[0]}, np.float32),  # {port["unit"]}')
        else:
            rows.append(f'    "{port["name"]}": np.full({shape}, -1, np.int64),')
    names = ", ".join(outlet["name"] for outlet in one["outputs"])
    return [*rows, "}", f"{names}{',' if len(one['outputs']) == 1 else ''} = session.run(None, inputs)"]
