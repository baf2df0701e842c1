"""A graph as an ONNX file."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from skysense.errors import need
from skysense.export.graphs import Graph
from skysense.export.program import program_of
from skysense.model.assembly import SkySense

LARGEST_ALONE = 1 << 30
"""Bytes of weights above which they lie in a file beside the graph: one file of the format holds less than 2 GiB."""
KEY = "skysense"
"""Under which the description is among the metadata of a file."""


def check_installed() -> None:
    """Refuse to begin without what an export takes.

    Raises:
        MissingExtra: a library is not there.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        need(module, "export")


def write_graph(
    graph: Graph, model: SkySense, path: Path, description: Mapping[str, Any], *, largest: int = LARGEST_ALONE
) -> None:
    """Trace a graph, translate it and write it; large weights go into ``path`` with ``.data`` at its end.

    Args:
        graph: of the model.
        model: in evaluation mode, in float32.
        path: the file.
        description: also kept in the file.
        largest: bytes of weights up to which they lie in the file itself.
    """
    with quiet():
        program = program_of(graph, model)
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=[port.name for port in graph.ports],
            output_names=[outlet.name for outlet in graph.outlets],
        )
    assert made is not None
    _forget_origin(made.model)
    _name_axes(made.model, graph)
    made.model.metadata_props[KEY] = json.dumps(description, ensure_ascii=False)
    made.model.producer_name = "skysense"
    save(made.model, path, largest=largest)


def save(model: Any, path: Path, *, largest: int = LARGEST_ALONE) -> None:
    """Write a model of `onnx_ir`, and look whether it keeps to the standard.

    Args:
        model: the model.
        path: the file.
        largest: see `write_graph`.
    """
    import onnx
    import onnx_ir

    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    beside = f"{path.name}.data" if weights > largest else None
    onnx_ir.save(model, path, external_data=beside)
    onnx.checker.check_model(str(path))


def files_of(path: Path) -> list[Path]:
    """A file, and its weights if they lie beside it."""
    return [one for one in (path, path.with_name(f"{path.name}.data")) if one.exists()]


def _forget_origin(model: Any) -> None:
    """Without the lines of code that every node came from: they name folders of this machine, and take a megabyte."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def _name_axes(model: Any, graph: Graph) -> None:
    """Give open axes the names by which the description calls them."""
    import onnx_ir

    for value, port in zip(model.graph.inputs, graph.ports, strict=True):
        value.shape = onnx_ir.Shape(_named(value.shape, port.axes, port.modality or ""))
    for value, outlet in zip(model.graph.outputs, graph.outlets, strict=True):
        value.shape = onnx_ir.Shape(_named(value.shape, outlet.axes, outlet.name))


def _named(shape: Any, axes: tuple[str, ...], owner: str) -> list[int | str]:
    shared = ("batch", "frames_s2", "frames_s1", "boxes")
    return [
        side if isinstance(side, int) else (axis if axis in shared else f"{owner}_{axis}")
        for side, axis in zip(shape, axes, strict=True)
    ]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the hints that tracing and translating give to the authors of libraries."""
    talkers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx", "torch.export")]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
