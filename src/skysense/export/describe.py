"""What a person or a program must know to use an ONNX file: what goes in, what comes out, what is still to be done."""

from __future__ import annotations

from typing import Any

from skysense import __version__
from skysense.data.labelled.draw import palette
from skysense.export.graphs import Graph, Port
from skysense.geo import CELL_HR_PX
from skysense.model.assembly import SkySense
from skysense.model.exporting import STEP_CELLS
from skysense.model.weights import weights_sha256
from skysense.tasks.adapted import Adapted
from skysense.tasks.pieces import OVERLAP

FORMAT, VERSION = "skysense-onnx", 1


def about_model(model: SkySense, adapted: Adapted | None) -> dict[str, Any]:
    """Where the weights come from, and the hash of what was exported."""
    card = dict(model.card if adapted is None else adapted.card)
    if "adapted" in card:  # where the labels lay on the disk is nobody's business
        card["adapted"] = {name: value for name, value in card["adapted"].items() if name != "opened"}
    state = dict(model.state_dict())
    if adapted is not None:
        state = {f"encoder.{name}": tensor for name, tensor in adapted.encoder.state_dict().items()}
        state |= {f"head.{name}": tensor for name, tensor in adapted.head.state_dict().items()}
    return {"weights_sha256": weights_sha256(state), "licence": card.get("licence", "unknown"), "card": card}


def description(graph: Graph, model: SkySense, adapted: Adapted | None, about: dict[str, Any]) -> dict[str, Any]:
    """Everything about one file, as plain values for JSON.

    Args:
        graph: that is written.
        model: whose sensors it reads.
        adapted: the adapted model, if it is one.
        about: of `about_model`.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"skysense {__version__}",
        "graph": graph.title,
        "inputs": [_input(port, model) for port in graph.ports],
        "outputs": [{"name": outlet.name, "axes": list(outlet.axes), "says": outlet.says} for outlet in graph.outlets],
        "sizes": {
            "step_cells": STEP_CELLS,
            "batch": 1 if graph.one else "open",
            "says": f"sides are multiples of {STEP_CELLS} cells of 10 m: {STEP_CELLS * CELL_HR_PX} px of the "
            f"high-resolution image, {STEP_CELLS} px of Sentinel; all inputs show the same ground; other sizes are not "
            "refused by ONNX Runtime, but what it answers may be wrong",
        },
        "not_observed": "NaN in any band of a pixel; a frame without any observed pixel is no frame, so series of "
        "different lengths are filled up with NaN",
        "model": about,
    }
    if any(port.kind == "region" for port in graph.ports):
        content["regions"] = {
            "rule": model.config.geo_context.region_rule,
            "cells": list(model.region_table.cells),
            "says": "input region: place of the cell's id in this list, -1 for a region that is not in it",
        }
    if adapted is not None:
        content["task"] = _task(graph, adapted)
    return content


def _input(port: Port, model: SkySense) -> dict[str, Any]:
    content: dict[str, Any] = {"name": port.name, "kind": port.kind, "axes": list(port.axes)}
    if port.when:
        content["date"] = port.when
    if port.kind == "region":
        return content | {"type": "int64", "says": "slot of the region of each sample, see regions; -1 for none"}
    if port.kind == "days":
        return content | {"type": "int64", "says": "day of the year - 1 of each frame, 0 to 364; -1 for no date"}
    assert port.modality is not None
    sensor = model.sensor_of(port.modality)
    return content | {
        "type": "float32",
        "modality": port.modality,
        "sensor": sensor.name,
        "bands": list(sensor.bands),
        "unit": str(sensor.unit),
        "plausible": list(sensor.plausible),
        "pixel_metres": sensor.gsd,
        "step_px": STEP_CELLS * port.per_cell,
        "normalisation": {
            "done": "in the graph: (value - mean) / std, 0 where not observed",
            "mean": list(sensor.mean),
            "std": list(sensor.std),
        },
    }


def _task(graph: Graph, adapted: Adapted) -> dict[str, Any]:
    """What the answers mean, and what is still to be done with them."""
    config = adapted.config
    content: dict[str, Any] = {
        "kind": adapted.task,
        "classes": list(adapted.classes),
        "colours": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette(len(adapted.classes)).tolist()],
        "still_to_do": _still_to_do(adapted),
    }
    limits = {"s2": config.frames_s2, "s1": config.frames_s1}
    if most := {key: limits[key] for key in adapted.encoder.modalities if key in limits}:
        content["frames"] = {"most": most, "says": "it read series of at most so many frames, evenly spread in time"}
    if config.clear_only:
        content["clouds"] = "pixels known to be cloudy were not observed for it: make them NaN"
    if adapted.task in ("classification", "multilabel"):
        return content
    content["label_pixels_per_cell"] = adapted.per_cell
    content["windows"] = {
        "side_cells": config.window_cells,
        "overlap_cells": config.window_cells // OVERLAP,
        "says": "the model was judged in windows of this side; larger images are cut into overlapping ones",
    }
    if config.flips:
        content["flips"] = "the model was judged by the mean over the image and its three mirror images"
    if graph.thresholds is not None:
        content["thresholds"] = dict(graph.thresholds)
        if (best := adapted.card.get("adapted", {}).get("least_score")) is not None:
            content["thresholds"]["least_score"] = best
            content["still_to_do"] += "; of all scores, boxes from least_score on have the best F1 in validation"
    return content


def _still_to_do(adapted: Adapted) -> str:
    if adapted.task in ("classification", "segmentation"):
        return "softmax is done; the class is the place of the greatest probability"
    if adapted.task == "multilabel":
        return "sigmoid is done; a class applies above a probability of 0.5"
    if adapted.task == "change":
        return "softmax is done; a pixel changed above a probability of 0.5"
    if adapted.task == "semantic-change":
        return (
            "softmax is done; a pixel changed above a probability of 0.5, and then its classes are the two dates' own"
        )
    if adapted.task == "detection":
        return "nothing: the score threshold and non-maximum suppression are done"
    return (
        "rotated non-maximum suppression class by class with nms_iou of thresholds, then the best detections; "
        "the score threshold is done"
    )
