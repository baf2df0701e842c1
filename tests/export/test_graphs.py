"""Graphs answer as the package does, before they are written: gaps, missing frames, missing dates, all heads."""

from __future__ import annotations

import pytest
import torch

from skysense.export.check import box_difference
from skysense.export.front import graphs_of
from skysense.export.graphs import EncoderGraph, FusedGraph, Graph
from skysense.export.program import made_up
from skysense.export.tasks import TaskGraph
from skysense.model.assembly import SkySense
from skysense.sensors import Modality
from tests.export.models import adapted, model

MASKS = [
    ("segmentation", ["s2"], 1, "upernet"),
    ("segmentation", ["hr"], 32, "upernet"),
    ("segmentation", ["hr"], 1, "light"),
    ("segmentation", ["hr", "s2"], 32, "cells"),
    ("segmentation", ["s2", "s1"], 1, "linear"),
    ("classification", ["s2", "s1"], 1, None),
    ("multilabel", ["hr", "s1"], 32, None),
    ("change", ["hr"], 32, "bit"),
    ("change", ["s2", "s1"], 1, None),
    ("semantic-change", ["hr"], 32, None),
]


def agrees(graph: Graph, held: SkySense, atol: float = 2e-5, *, batch: int = 3) -> None:
    for cells, frames in (((8, 16), 2), ((16, 8), 1)):
        inputs = made_up(graph, held, batch=batch, cells=cells, frames=frames, seed=5)
        with torch.inference_mode():
            found, wanted = graph(*inputs), graph.expected(*inputs)
        assert len(found) == len(wanted) == len(graph.outlets)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=atol * float(other.double().abs().max()))


@pytest.mark.parametrize("key", ["hr", "s2", "s1"])
def test_an_encoder(key: Modality) -> None:
    graph = EncoderGraph(model(), key)
    names = [outlet.name for outlet in graph.outlets]
    assert names == (
        ["features_4", "features_8", "features_16", "features_32"] if key == "hr" else ["features_4", "cells"]
    )
    agrees(graph, model())


def test_all_sensors_fused_beside_their_context() -> None:
    graph = FusedGraph(model())
    assert [port.name for port in graph.ports] == ["hr", "hr_days", "s2", "s2_days", "s1", "s1_days", "region"]
    agrees(graph, model())


def test_made_up_regions_and_cells_are_all_kinds() -> None:
    """A learned region even of a single sample, and cells of the image of which more and less than half is seen."""
    graph = FusedGraph(model())
    assert made_up(graph, model(), batch=1, cells=(8, 8), frames=1, seed=0)[-1].tolist() == [0]
    hr, *_, regions = made_up(graph, model(), batch=3, cells=(8, 8), frames=1, seed=0)
    assert regions.tolist() == [0, -1, 1]
    seen = (~hr[0].isnan().any(dim=0)).float().unfold(0, 32, 32).unfold(1, 32, 32).mean((2, 3))
    assert {0.0, 0.5, 1.0} <= set(seen.flatten().tolist()) and ((seen > 0) & (seen < 0.5)).any()


def test_an_image_that_is_not_there() -> None:
    graph = FusedGraph(model())
    hr, *others = made_up(graph, model(), batch=2, cells=(8, 8), frames=2, seed=0)
    hr[1] = torch.nan
    with torch.inference_mode():
        found, wanted = graph(hr, *others), graph.expected(hr, *others)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5 * float(wanted[0].abs().max()))


def test_what_is_missing_is_left_out() -> None:
    """A frame of NaN is no frame: the answer is that without it, whatever its date."""
    part = model().part(["s2", "s1", "align_s2", "align_s1", "dates", "fusion"])
    graph = FusedGraph(part)
    s2, s2_days, s1, s1_days, region = made_up(graph, part, batch=2, cells=(8, 8), frames=3, seed=0)
    s2, s1 = s2.nan_to_num(1000.0), s1.nan_to_num(-15.0)
    with torch.inference_mode():
        whole, _ = graph(s2, s2_days, s1, s1_days, region)
        gone = s2.clone()
        gone[:, 1] = torch.nan
        less, _ = graph(gone, s2_days, s1, s1_days, region)
        short, _ = graph(s2[:, [0, 2]], s2_days[:, [0, 2]], s1, s1_days, region)
        nothing, seen = graph(s2 * torch.nan, s2_days, s1 * torch.nan, s1_days, region)
    torch.testing.assert_close(less, short, rtol=0, atol=1e-5)
    assert (whole - less).abs().max() > 1e-2
    assert not seen.any() and not nothing.any()


@pytest.mark.parametrize(("task", "modalities", "per_cell", "decoder"), MASKS)
def test_a_task(task, modalities, per_cell, decoder) -> None:
    made = adapted(task, modalities, per_cell, decoder)
    agrees(TaskGraph(made), made.encoder.model, batch=1 if "change" in task else 2)


def test_an_encoder_of_series_without_fusion() -> None:
    made = adapted("segmentation", ["s2"], 1, fuses=False)
    assert not made.encoder.fused
    agrees(TaskGraph(made), made.encoder.model)
    made = adapted("classification", ["s2"], 1, fuses=False)
    agrees(TaskGraph(made), made.encoder.model)


@pytest.mark.parametrize("task", ["detection", "oriented-detection"])
@pytest.mark.parametrize(
    ("modalities", "per_cell", "fuses"), [(["hr"], 32, True), (["s2"], 1, True), (["s2"], 1, False)]
)
def test_boxes(task, modalities, per_cell, fuses) -> None:
    pytest.importorskip("torchvision")
    made = adapted(task, modalities, per_cell, fuses=fuses)
    (graph,) = graphs_of(made.encoder.model, made)
    inputs = made_up(graph, made.encoder.model, batch=1, cells=(8, 8), frames=2, seed=3)
    with torch.inference_mode():
        found, wanted = graph.finished(graph(*inputs)), graph.expected(*inputs)
    assert len(wanted[1]) >= 3 and len(wanted[2].unique()) > 1
    assert box_difference(found, wanted, max(graph.grid(inputs))) < 1e-5
    moved = (found[0] + torch.tensor(1.0), *found[1:])
    assert box_difference(moved, wanted, max(graph.grid(inputs))) > 1e-3
