"""A tiny Swin and each decoder learn four images, or four pairs, by heart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.model.config import preset
from skysense.model.swin import Swin
from skysense.tasks.decoders import (
    BIT,
    CellDecoder,
    DifferenceUperNet,
    LightDecoder,
    SemanticChangeUperNet,
    UperNet,
    resized,
)

SIDE, IMAGES, CLASSES, WIDTH = 64, 4, 3, 32


def blobs(generator: torch.Generator, classes: int = CLASSES) -> Tensor:
    """Labels ``(B, H, W)``: at every pixel the greatest of as many smooth random maps."""
    coarse = torch.randn(IMAGES, classes, 3, 3, generator=generator)
    return F.interpolate(coarse, (SIDE, SIDE), mode="bicubic").argmax(dim=1)


def image_of(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A colour per class, and noise."""
    colours = torch.tensor([[1.5, 0.0, -1.0], [-1.0, 1.5, 0.0], [0.0, -1.0, 1.5]])
    return colours[labels].permute(0, 3, 1, 2) + 0.5 * torch.randn(IMAGES, 3, SIDE, SIDE, generator=generator)


def mean_iou(logits: Tensor, labels: Tensor) -> float:
    found = logits.argmax(dim=1)
    ious = []
    for one in range(logits.shape[1]):
        both, either = (found == one) & (labels == one), (found == one) | (labels == one)
        ious.append(float(both.sum() / either.sum()))
    return sum(ious) / len(ious)


def encoder(*levels: int) -> Swin:
    return Swin(replace(preset("tiny").hr, out_indices=levels))


def learn(
    parts: list[nn.Module], logits: Callable[[], list[Tensor]], targets: list[Tensor], steps: int, rate: float = 6e-3
) -> list[float]:
    """Train all parts together; then the mean IoU of every output in evaluation mode."""
    parameters = [one for part in parts for one in part.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(steps):
        loss = sum(
            F.cross_entropy(resized(one, target.shape[-2:]), target)
            for one, target in zip(logits(), targets, strict=True)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    for part in parts:
        part.eval()
    with torch.no_grad():
        return [
            mean_iou(resized(one, target.shape[-2:]), target) for one, target in zip(logits(), targets, strict=True)
        ]


@pytest.mark.parametrize("kind", [UperNet, LightDecoder])
def test_a_pyramid(kind: type[UperNet | LightDecoder]) -> None:
    torch.manual_seed(0)
    chance = torch.Generator().manual_seed(0)
    labels = blobs(chance)
    image, swin = image_of(labels, chance), encoder(0, 1, 2, 3)
    decoder = kind(preset("tiny").hr.dims, CLASSES, width=WIDTH)
    assert min(learn([swin, decoder], lambda: [decoder(swin(image))], [labels], steps=40)) >= 0.9


def test_cells() -> None:
    """From one feature per 32 x 32 pixels alone."""
    torch.manual_seed(0)
    chance = torch.Generator().manual_seed(0)
    labels = blobs(chance)
    image, swin = image_of(labels, chance), encoder(3)
    decoder = CellDecoder(preset("tiny").hr.dims[-1], CLASSES, width=64)
    assert min(learn([swin, decoder], lambda: [decoder(swin(image)[-1])], [labels], steps=60, rate=1e-2)) >= 0.9


def pair(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Labels of two dates, and the images of both, those of the first date first."""
    before, after = blobs(generator), blobs(generator)
    return before, after, torch.cat([image_of(before, generator), image_of(after, generator)])


def of_dates(maps: tuple[Tensor, ...]) -> list[list[Tensor]]:
    """The levels of each date, where both were encoded as one batch."""
    return [[level[:IMAGES] for level in maps], [level[IMAGES:] for level in maps]]


@pytest.mark.parametrize("kind", [BIT, DifferenceUperNet])
def test_pairs(kind: type[BIT | DifferenceUperNet]) -> None:
    torch.manual_seed(0)
    before, after, images = pair(torch.Generator().manual_seed(0))
    swin, decoder = encoder(0, 1, 2, 3), kind(preset("tiny").hr.dims, width=WIDTH)
    changed = (before != after).long()
    found = learn(
        [swin, decoder],
        lambda: [decoder(*of_dates(swin(images)))],
        [changed],
        steps=40 if kind is DifferenceUperNet else 30,
    )
    assert min(found) >= 0.9


def test_pairs_and_what_was_there() -> None:
    torch.manual_seed(0)
    before, after, images = pair(torch.Generator().manual_seed(0))
    swin, decoder = encoder(0, 1, 2, 3), SemanticChangeUperNet(preset("tiny").hr.dims, CLASSES, width=WIDTH)
    targets = [before, after, (before != after).long()]
    found = learn([swin, decoder], lambda: list(decoder(*of_dates(swin(images)))), targets, steps=40)
    assert min(found) >= 0.9
