"""A model of this package as a folder of ONNX files: written, checked, described; all of it or nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from skysense.errors import ConfigError, InputError, OutputError
from skysense.export.check import Outcome, check, inputs_of_check, run
from skysense.export.describe import about_model, description
from skysense.export.graphs import EncoderGraph, FusedGraph, Graph
from skysense.export.int8 import write_int8
from skysense.export.loss import Loss, loss_of
from skysense.export.page import page
from skysense.export.tasks import TaskGraph
from skysense.export.writing import check_installed, files_of, write_graph
from skysense.files import atomic_folder, output_error, write_json, write_text
from skysense.model.assembly import SkySense
from skysense.model.loading import find, load
from skysense.sensors import Modality
from skysense.tasks.adapted import FORMAT as ADAPTED
from skysense.tasks.adapted import Adapted, load_adapted
from skysense.tasks.pyramid import can_fuse

DESCRIPTION, PAGE = "skysense.json", "README.md"
_WRITTEN = (".onnx", ".onnx.data")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class File:
    """One file that was written.

    Attributes:
        path: of the ONNX file.
        size: bytes, weights beside it included.
        inputs: names.
        outputs: names.
        difference: greatest from PyTorch, as a share of the greatest number.
        int8: the file with weights in 8 bits, if it was asked for.
        loss: what they cost.
        boxes: of a detector, how many boxes were compared; None for other files.
    """

    path: Path
    size: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float
    int8: Path | None = None
    loss: Loss | None = None
    boxes: int | None = None


def to_onnx(
    model: SkySense | Adapted | str | Path,
    out: str | Path,
    *,
    modalities: Sequence[Modality] | None = None,
    int8: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[File]:
    """Write a model as ONNX files with their description, ``skysense.json`` and ``README.md``.

    Of a model there is a file per encoder and, if it can fuse, ``fused.onnx``; of an adapted model ``task.onnx``. Every
    file is run by ONNX Runtime on made-up imagery and compared with PyTorch before the folder gets its name.

    Args:
        model: a model, or a file, a folder or a name on the hub as `skysense.load` takes it, or a file of
            ``skysense adapt``.
        out: the folder to write.
        modalities: sensors whose encoders are written and fused; all of the model by default.
        int8: also write files with weights in 8 bits, and measure what they cost.
        overwrite: replace an export that is there.
        progress: called with steps done, all steps, and what comes next.

    Raises:
        InputError: no such model, or one that lacks a sensor that is wanted.
        ConfigError: sensors of an adapted model, which has those of its task.
        OutputError: the folder exists, or cannot be written.
        MissingExtra: a library is not there.
        SkySenseError: a file does not say what the model says.
    """
    check_installed()
    out = Path(out)
    _check_out(out, overwrite)
    held, adapted = _opened(model, modalities)
    graphs = graphs_of(held, adapted)
    say = progress or _silent
    steps = len(graphs) * (3 if int8 else 2)
    about, done = about_model(held, adapted), 0
    contents, files = [], []
    with atomic_folder(out) as folder:
        for graph in graphs:
            say(done, steps, f"writing {graph.title}.onnx")
            path = folder / f"{graph.title}.onnx"
            content = description(graph, held, adapted, about)
            write_graph(graph, held, path, content)
            say(done + 1, steps, f"checking {graph.title}.onnx")
            outcome = check(path, graph, held)
            loss, small = None, None
            if int8:
                say(done + 2, steps, f"weights of {graph.title}.onnx in 8 bits")
                small, loss = _in_int8(path, graph, held, outcome)
            done += 3 if int8 else 2
            contents.append(_measured(content, path, outcome, small, loss))
            inputs, outputs = (tuple(one.name for one in ports) for ports in (graph.ports, graph.outlets))
            final = None if small is None else out / small.name
            names = (out / path.name, _size(path), inputs, outputs)
            files.append(File(*names, outcome.difference, final, loss, outcome.boxes))
        write_json(folder / DESCRIPTION, {"files": contents})
        write_text(folder / PAGE, page(contents))
    say(steps, steps, "")
    return files


def graphs_of(model: SkySense, adapted: Adapted | None) -> list[Graph]:
    """What is written of a model.

    Args:
        model: in float32 and evaluation mode.
        adapted: the adapted model it belongs to, if it does.

    Raises:
        InputError: a model without an encoder.
    """
    if adapted is not None:
        if "detection" not in adapted.task:
            return [TaskGraph(adapted)]
        from skysense.export.boxes import BoxGraph  # it takes torchvision

        return [BoxGraph(adapted)]
    graphs: list[Graph] = [EncoderGraph(model, key) for key in model.modalities]
    if not graphs:
        raise InputError(f"the model has no encoder; it has {', '.join(model.pieces) or 'nothing'}")
    return [*graphs, FusedGraph(model)] if can_fuse(model, model.modalities) else graphs


def _opened(
    model: SkySense | Adapted | str | Path, modalities: Sequence[Modality] | None
) -> tuple[SkySense, Adapted | None]:
    """A model of its own in float32 and evaluation mode on the CPU, and the adapted model around it."""
    if isinstance(model, str | Path):
        path = find(model)
        model = load_adapted(path) if _is_adapted(path) else load(path, modalities=modalities)
    else:
        model = copy.deepcopy(model)
        if isinstance(model, SkySense) and modalities is not None:
            model = _part(model, modalities)
    if isinstance(model, SkySense):
        return model.float().cpu().eval(), None
    if modalities is not None and tuple(modalities) != model.encoder.modalities:
        held = ", ".join(model.encoder.modalities)
        raise ConfigError(f"an adapted model is written with the sensors of its task, {held}: leave modalities out")
    model.encoder.float().cpu().eval()
    model.head.float().cpu().eval()
    return model.encoder.model, model


def _part(model: SkySense, modalities: Sequence[Modality]) -> SkySense:
    missing = [key for key in modalities if key not in model.modalities]
    if missing or not modalities:
        held = ", ".join(model.modalities) or "none"
        raise InputError(f"the model has no encoder for {', '.join(missing) or 'nothing'}; it has {held}")
    others = [key for key in model.modalities if key not in modalities]
    return model.part([piece for piece in model.pieces if piece.removeprefix("align_") not in others])


def _is_adapted(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == ADAPTED
    except (SafetensorError, OSError):
        return False


def _check_out(out: Path, overwrite: bool) -> None:
    """Refuse a place that holds anything but an export, or an export that is not to be replaced."""
    try:
        if not out.exists():
            return
        names = sorted(path.name for path in out.iterdir()) if out.is_dir() else None
        here = out.samefile(Path.cwd())
    except OSError as error:
        raise output_error(error, out) from error
    if names is None or (names and DESCRIPTION not in names):
        raise OutputError("is no folder of an export, so it is not replaced", file=out, fix="Choose another name")
    others = [name for name in names if name not in (DESCRIPTION, PAGE) and not name.endswith(_WRITTEN)]
    if others:
        what = f"also holds {others[0]}, which no export wrote, so it is not replaced"
        raise OutputError(what, file=out, fix="Move that elsewhere, or choose another name")
    if not overwrite:
        raise OutputError("exists already", file=out, fix="Choose another name, or --overwrite true replaces it")
    if here:
        raise OutputError("is the folder this runs in, so it is not replaced", file=out, fix="Go to another first")


def _in_int8(path: Path, graph: Graph, model: SkySense, outcome: Outcome) -> tuple[Path, Loss]:
    small = path.with_name(f"{path.stem}.int8.onnx")
    write_int8(path, small)
    found = graph.finished(run(small, graph, inputs_of_check(graph, model)))
    return small, loss_of(graph, found, outcome.wanted, _size(small) / _size(path))


def _measured(
    content: dict[str, Any], path: Path, outcome: Outcome, small: Path | None, loss: Loss | None
) -> dict[str, Any]:
    what = "greatest difference over greatest number"
    if outcome.boxes is not None:
        what = f"of boxes in sides of the image, and of scores, {outcome.boxes} boxes"
    if outcome.boxes == 0:
        what = "nothing was compared: no box was found"
    checked = {
        "difference": outcome.difference,
        "inputs": {name: list(shape) for name, shape in outcome.inputs.items()},
        "says": f"{what}, made-up imagery, ONNX Runtime on a CPU",
    }
    if outcome.boxes is not None:
        checked["boxes"] = outcome.boxes
    content = {"file": path.name, **content, "checked": checked}
    if small is not None and loss is not None:
        content["int8"] = {"file": small.name, **asdict(loss), "says": f"{loss.words()}, on made-up imagery"}
    return content


def _size(path: Path) -> int:
    return sum(one.stat().st_size for one in files_of(path))


def _silent(done: int, total: int, words: str) -> None:
    pass
