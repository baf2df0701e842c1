"""What decoders are made of: a convolution with its norm, resize, means in bins, classifier; and what they refuse.

Letters: B batch, D width, H W grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.errors import ConfigError, InputError
from skysense.model.blocks import reshaped

_CLASSIFIER_STD = 0.01


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that also takes a single value per channel in training.

    One image pooled to 1 x 1 has no variance, and torch refuses it. Such a batch is normalised by the running
    statistics, as in evaluation, and leaves them as they are: it is mostly the last batch of an epoch. A run of such
    batches alone keeps the mean of 0 and the variance of 1 that these begin with, so that the norm is a learned scale
    and shift, the same in training and evaluation.

    `torch.nn.SyncBatchNorm.convert_sync_batchnorm` replaces it like any other; several ranks have several values.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, D, H, W)`` to the same."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class ConvNormReLU(nn.Module):
    """A convolution that keeps the size, without bias since a norm follows; batch normalisation; ReLU.

    Args:
        in_dim: width of what comes in.
        out_dim: width of what goes out.
        kernel: side of the kernel, odd.
    """

    def __init__(self, in_dim: int, out_dim: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, out_dim, kernel, padding=kernel // 2, bias=False)
        self.norm = BatchNorm(out_dim)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BDHW: Tensor) -> Tensor:
        """``(B, in_dim, H, W)`` to ``(B, out_dim, H, W)``."""
        return F.relu(self.norm(self.conv(x_BDHW)))


def classifier(dim: int, classes: int, kernel: int = 1) -> nn.Conv2d:
    """The last convolution, to one score per class; it begins near zero, so that all classes begin about equal.

    Args:
        dim: width of what comes in.
        classes: how many scores.
        kernel: side of the kernel, odd.

    Raises:
        ConfigError: no class.
    """
    if classes < 1:
        raise ConfigError(f"a decoder needs at least one class; got {classes}")
    layer = nn.Conv2d(dim, classes, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=_CLASSIFIER_STD)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def resized(x_BDHW: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation between the centres of pixels (``align_corners=False``).

    Args:
        x_BDHW: maps of features, or logits that are to have the size of the labels.
        size: height and width to come to. The size that it has already changes nothing.
    """
    return F.interpolate(x_BDHW, size=tuple(size), mode="bilinear", align_corners=False)


def in_bins(x_BDHW: Tensor, bins: Sequence[int]) -> Tensor:
    """Means over a grid of bins that cover a map and may share rows: adaptive average pooling, ``(B, D, *bins)``.

    In an exported graph, whose sizes are open, by a product with the shares of every row and column.

    Args:
        x_BDHW: maps.
        bins: rows and columns of the grid.
    """
    rows, columns = bins
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x_BDHW, (rows, columns))
    return _binned(_binned(x_BDHW, columns).transpose(2, 3), rows).transpose(2, 3)


def _binned(x: Tensor, bins: int) -> Tensor:
    """Means in bins along the last axis, by one plain product: others would be tied to a length of more than one."""
    return (reshaped(x, -1, x.shape[-1]) @ _shares(bins, x.shape[-1], x).T).view(*x.shape[:-1], bins)


def _shares(bins: int, length: int, like: Tensor) -> Tensor:
    """Share of every place along an axis in the mean of each bin ``(bins, length)``."""
    number = torch.arange(bins, device=like.device)[:, None]
    place = torch.arange(length, device=like.device)
    first, end = number * length // bins, ((number + 1) * length + bins - 1) // bins
    inside = ((place >= first) & (place < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def check_levels(maps: Sequence[Tensor], channels: Sequence[int]) -> None:
    """Refuse maps of other widths, or of another number, than a decoder was made for.

    Args:
        maps: levels ``(B, D_i, H_i, W_i)``, the finest first.
        channels: the width of every level.

    Raises:
        InputError: they differ.
    """
    found = tuple(level.shape[1] for level in maps)
    if found != tuple(channels):
        raise InputError(
            f"this decoder reads levels of width {_listed(channels)}, the finest first; got {_listed(found)}",
            fix="Build it with the widths of the encoder's levels, encoder.feature_info",
        )


def check_dates(first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
    """Refuse two dates whose maps differ in shape.

    Args:
        first: levels of the first date.
        second: those of the second.

    Raises:
        InputError: they differ.
    """
    shapes = [[tuple(level.shape) for level in date] for date in (first, second)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"the two dates of a pair must have maps of the same shapes; got {shapes[0]} and {shapes[1]}",
            fix="Bring both images to one grid first",
        )


def _listed(widths: Sequence[int]) -> str:
    return ", ".join(str(width) for width in widths) or "nothing"
