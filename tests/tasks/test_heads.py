"""Heads: what they begin with."""

from __future__ import annotations

import pytest
import torch

from skysense.data.labelled.example import Task
from skysense.tasks.config import AdaptConfig, Decoder
from skysense.tasks.heads import RARE, ChangeHead, build_head
from skysense.tasks.pyramid import Maps, Pyramid
from tests.tasks.labelled_samples import tiny


@pytest.mark.parametrize(
    ("task", "decoder"), [("change", "upernet"), ("change", "bit"), ("semantic-change", "upernet")]
)
def test_a_decoder_of_changes_expects_few_before_it_has_learned(task: Task, decoder: Decoder) -> None:
    torch.manual_seed(0)
    encoder = Pyramid(tiny(), ["hr"])
    head = build_head(task, 3, encoder, 32, AdaptConfig(decoder=decoder, decoder_width=16)).eval()
    assert isinstance(head, ChangeHead)
    levels = [torch.randn(4, width, 64 >> level, 64 >> level) for level, width in enumerate(encoder.channels)]
    with torch.no_grad():
        logits = head.logits(Maps(levels, torch.ones(4, 8, 8, dtype=torch.bool)))["changed"]
    assert RARE / 2 < float(logits.softmax(1)[:, 1].mean()) < 2 * RARE
