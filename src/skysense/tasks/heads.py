"""From the maps of an encoder to losses and answers, one head per kind of task.

Letters: B examples, K classes, D width, H W pixels of the label grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.data.labelled.example import UNLABELLED, Task
from skysense.errors import ConfigError, need
from skysense.tasks.batches import Labels
from skysense.tasks.config import AdaptConfig
from skysense.tasks.decoders import (
    BIT,
    FCN,
    CellDecoder,
    DifferenceUperNet,
    LightDecoder,
    SemanticChange,
    SemanticChangeUperNet,
    UperNet,
    in_bins,
    resized,
)
from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.config import FasterRcnnConfig, OrientedRcnnConfig
from skysense.tasks.pyramid import Maps, Pyramid

if TYPE_CHECKING:
    from skysense.tasks.detection.faster_rcnn import FasterRcnn
    from skysense.tasks.detection.oriented_rcnn import OrientedRcnn

AUXILIARY_WEIGHT = 0.4
"""Of the loss of the auxiliary head (specification 5.2)."""
RARE = 0.02
"""Share of the pixels that a decoder of changes takes for changed before it has learned anything."""

Answer = dict[str, Tensor] | Found
"""For one image: probabilities by name, ``(K,)`` or ``(K, H, W)``; or what was found."""


class Labelled(Protocol):
    """What of a batch a loss needs, whether its features are frozen or not; see `LabelledBatch`."""

    labels: Labels
    grid: tuple[int, int]
    sizes: list[tuple[int, int]]


class ClassHead(nn.Module):
    """A linear layer on pooled features, which are normalised first: their scale is not known beforehand.

    Args:
        channels: widths of the maps; the coarsest is pooled.
        classes: K.
        multilabel: whether any number of classes may apply.
    """

    def __init__(self, channels: Sequence[int], classes: int, *, multilabel: bool) -> None:
        super().__init__()
        self.multilabel = multilabel
        self.norm = nn.LayerNorm(channels[-1], elementwise_affine=False)
        self.linear = nn.Linear(channels[-1], classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def logits(self, maps: Maps) -> Tensor:
        """``(B, K)``."""
        return self.linear(self.norm(maps.pooled().to(self.linear.weight.dtype)))

    def losses(self, maps: Maps, batch: Labelled) -> dict[str, Tensor]:
        """Cross entropy, of every class for itself if several may apply."""
        logits_BK, labels = self.logits(maps).float(), batch.labels
        if self.multilabel:
            assert labels.classes_BK is not None
            return {"class": F.binary_cross_entropy_with_logits(logits_BK, labels.classes_BK)}
        assert labels.class_B is not None
        return {"class": F.cross_entropy(logits_BK, labels.class_B)}

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Iterator[Answer]:
        """Per image ``classes (K,)``."""
        logits_BK = self.logits(maps).float()
        scores_BK = logits_BK.sigmoid() if self.multilabel else logits_BK.softmax(1)
        return ({"classes": scores_K} for scores_K in scores_BK)


class MaskHead(nn.Module):
    """A decoder that scores every pixel; beside UperNet an auxiliary head reads the level before the last.

    Args:
        decoder: from maps to logits.
        auxiliary: of one map, or None.
    """

    def __init__(self, decoder: nn.Module, auxiliary: FCN | None = None) -> None:
        super().__init__()
        self.decoder, self.auxiliary = decoder, auxiliary

    def losses(self, maps: Maps, batch: Labelled) -> dict[str, Tensor]:
        """Cross entropy over labelled pixels."""
        mask_BHW = batch.labels.mask_BHW
        assert mask_BHW is not None
        found = {"mask": cross_entropy(to_grid(self.decoder(maps.levels), batch.grid), mask_BHW)}
        if self.auxiliary is not None:
            logits = to_grid(self.auxiliary(maps.levels[-2]), batch.grid)
            found["auxiliary"] = AUXILIARY_WEIGHT * cross_entropy(logits, mask_BHW)
        return found

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Iterator[Answer]:
        """Per image ``mask (K, H, W)``."""
        return _probabilities({"mask": self.decoder(maps.levels)}, grid)


class ChangeHead(nn.Module):
    """A decoder of the maps of two dates.

    Args:
        decoder: from the maps of either date to logits of change, or `SemanticChange`.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def logits(self, maps: Maps) -> dict[str, Tensor]:
        """On the grid of the decoder ``changed (B, 2, h, w)``; with classes also ``before``, ``after (B, K, h, w)``."""
        before, after = maps.halves()
        found = self.decoder(before.levels, after.levels)
        if not isinstance(found, SemanticChange):
            return {"changed": found}
        return {"changed": found.change_BCHW, "before": found.first_BKHW, "after": found.second_BKHW}

    def losses(self, maps: Maps, batch: Labelled) -> dict[str, Tensor]:
        """Cross entropy of the change, and of the classes of either date."""
        labels = batch.labels
        truth = {"changed": labels.changed_BHW, "before": labels.before_BHW, "after": labels.after_BHW}
        found = {}
        for name, logits in self.logits(maps).items():
            mask_BHW = truth[name]
            assert mask_BHW is not None
            found[name] = cross_entropy(to_grid(logits, batch.grid), mask_BHW)
        return found

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Iterator[Answer]:
        """Per image ``changed (2, H, W)``, ``before`` and ``after (K, H, W)``."""
        return _probabilities(self.logits(maps), grid)


class BoxHead(nn.Module):
    """A detector.

    Maps that are all equally fine (Sentinel) become a pyramid by resizing: a vector of level i stands for ``2^i`` cells
    of 10 m along each side, which is ``2^i`` label pixels where labels are cells and ``32 * 2^i`` where they are pixels
    of the high-resolution image.

    Args:
        detector: reads four maps.
        strides: label pixels on the side of a vector of each of the maps that it is made for.
        resize: whether maps have to be brought to these.
    """

    def __init__(self, detector: FasterRcnn | OrientedRcnn, strides: Sequence[float], *, resize: bool) -> None:
        super().__init__()
        self.detector, self.strides, self.resize = detector, tuple(strides), resize

    def losses(self, maps: Maps, batch: Labelled) -> dict[str, Tensor]:
        """Those of the detector."""
        found = self.detector(self._levels(maps, batch.grid), batch.sizes, batch.labels.boxes)
        assert isinstance(found, dict)
        return found

    def answers(self, maps: Maps, grid: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Iterator[Answer]:
        """What is found in each image."""
        found = self.detector(self._levels(maps, grid), list(sizes))
        assert isinstance(found, list)
        return iter(found)

    def _levels(self, maps: Maps, grid: tuple[int, int]) -> list[Tensor]:
        if not self.resize:
            return maps.levels
        sizes = [tuple(max(1, round(side / stride)) for side in grid) for stride in self.strides]
        return [to_grid(level, (size[0], size[1])) for level, size in zip(maps.levels, sizes, strict=True)]


Head = ClassHead | MaskHead | ChangeHead | BoxHead


def build_head(task: Task, classes: int, encoder: Pyramid, per_cell: int, config: AdaptConfig) -> Head:
    """The head of a task.

    Args:
        task: kind of labels.
        classes: K.
        encoder: whose maps it reads.
        per_cell: label pixels on the side of a cell.
        config: decoder and its width.

    Raises:
        ConfigError: a decoder that does not answer the task, or one that needs other labels.
    """
    decoder, channels = config.decoder_for(task), encoder.channels
    width = {} if config.decoder_width is None else {"width": config.decoder_width}
    if task in ("classification", "multilabel"):
        return ClassHead(channels, classes, multilabel=task == "multilabel")
    if task == "segmentation":
        if decoder == "linear":
            return MaskHead(_Linear(channels[-1], classes))
        if decoder == "light":
            return MaskHead(LightDecoder(channels, classes, **width))
        if decoder == "cells":
            if per_cell == 1:
                raise ConfigError("decoder 'cells' goes from cells up to pixels, but these labels are one per cell")
            return MaskHead(_OfTop(CellDecoder(channels[-1], classes, per_cell, **width)))
        third = FCN(channels[-2], classes) if len(channels) > 1 else None
        return MaskHead(UperNet(channels, classes, **width), third)
    if task == "change":
        found = BIT(channels, **width) if decoder == "bit" else DifferenceUperNet(channels, **width)
        expect_rarely(found.classifier if isinstance(found, BIT) else found.upernet.classifier)
        return ChangeHead(found)
    if task == "semantic-change":
        semantic = SemanticChangeUperNet(channels, classes, **width)
        expect_rarely(semantic.change.upernet.classifier)
        return ChangeHead(semantic)
    strides = [stride * per_cell for stride in encoder.strides]
    resize = len(set(strides)) < len(strides)
    if resize:
        strides = [per_cell * 2.0**level for level in range(len(strides))]
    return BoxHead(_detector(task, channels, classes, strides, config), strides, resize=resize)


def expect_rarely(classifier: nn.Conv2d) -> None:
    """Begin with the odds of something rare for the second of two classes (focal loss, section 4.1).

    Otherwise all features first learn to say "unchanged", and what changed is where they are silent: there the bias
    alone is left to answer, and it learns slowly.

    Args:
        classifier: the last layer.
    """
    assert classifier.bias is not None
    with torch.no_grad():
        classifier.bias.copy_(torch.tensor([0.0, math.log(RARE / (1 - RARE))]))


def _detector(
    task: Task, channels: Sequence[int], classes: int, strides: Sequence[float], config: AdaptConfig
) -> FasterRcnn | OrientedRcnn:
    need("torchvision", "detect")
    from skysense.tasks.detection.faster_rcnn import FasterRcnn
    from skysense.tasks.detection.oriented_rcnn import OrientedRcnn

    numbers: dict[str, Any] = {} if config.anchor_scale is None else {"anchor_scale": config.anchor_scale}
    if config.decoder_width is not None:
        numbers |= {"channels": config.decoder_width, "hidden": 4 * config.decoder_width}
    if task == "detection":
        return FasterRcnn(channels, classes, strides, FasterRcnnConfig(**numbers))
    return OrientedRcnn(channels, classes, strides, OrientedRcnnConfig(**numbers))


def levels_needed(task: Task, config: AdaptConfig) -> int:
    """How many levels of the encoder the head of a task reads: all of them, or the coarsest."""
    return 1 if config.decoder_for(task) in ("linear", "cells") else 4


class _Linear(nn.Module):
    """One class score per vector of the coarsest map."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.linear = nn.Linear(dim, classes)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        rows_BhwD = levels[-1].permute(0, 2, 3, 1).to(self.linear.weight.dtype)
        return self.linear(self.norm(rows_BhwD)).permute(0, 3, 1, 2)


class _OfTop(nn.Module):
    """A decoder of the coarsest map."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        found: Tensor = self.decoder(levels[-1])
        return found


def to_grid(x_BKHW: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps on another grid: interpolated where it is finer, averaged where it is coarser."""
    height, width = x_BKHW.shape[-2:]
    if (height, width) == grid:
        return x_BKHW
    if height > grid[0] or width > grid[1]:
        return in_bins(x_BKHW, grid)
    return resized(x_BKHW.contiguous(), grid)  # class by class: a softmax over the last axis in memory is much slower


def _probabilities(logits: Mapping[str, Tensor], grid: tuple[int, int]) -> Iterator[Answer]:
    """Probabilities of one image after the other.

    Logits of a batch are small, its probabilities are not: K of a whole label grid. One image at a time they stay in
    the cache, and in memory that is there already.
    """
    for row in range(len(next(iter(logits.values())))):
        yield {name: to_grid(some[row : row + 1], grid)[0].float().softmax(0) for name, some in logits.items()}


def cross_entropy(logits_BKHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Mean over labelled pixels, zero without any."""
    total = F.cross_entropy(logits_BKHW.float(), mask_BHW, ignore_index=UNLABELLED, reduction="sum")
    return total / (mask_BHW != UNLABELLED).sum().clamp_min(1)
