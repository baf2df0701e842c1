"""Features under a rotated box, on a grid that turns with it.

The box is cut into bins, in each lies a grid of samples, a sample is read between four pixels, and a bin is the mean of
its samples. So a bin is a weighted sum of a few pixels, and all bins are one look-up of weighted sums.

Letters: B images, C channels, H W pixels of the map, R boxes, 6 is (image, cx, cy, w, h, θ), h w bins, s samples of a
bin along each side, S all samples of a box along one side.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from skysense.errors import InputError


def rotated_roi_align(
    features_BCHW: Tensor,
    rois_R6: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int = 2,
    aligned: bool = True,
) -> Tensor:
    """Features of rotated boxes, all of one size (RoIAlign of Mask R-CNN, arXiv 1703.06870, in the frame of the box).

    For θ = 0 the numbers are those of `torchvision.ops.roi_align`. There are gradients for the features and the boxes.

    Args:
        features_BCHW: a map.
        rois_R6: the place in the batch of the image each box is in, and the box in pixels of the image; finite.
        output_size: bins, (height, width) or one number for both: rows along the side h, columns along the side w.
        spatial_scale: pixels of the map per pixel of the image, e.g. 1/8.
        sampling_ratio: samples of a bin along each side.
        aligned: pixel i of the map is centred at i + 0.5, as it should be. False centres it at i, and widens boxes
            about their centre to at least one pixel of the map, as models of before 2019 were trained.

    Returns:
        ``(R, C, h, w)``. A sample more than a pixel outside the map counts as zero; nearer ones have the value of the
        border.

    Raises:
        InputError: shapes that do not fit, or a size or ratio below one.
    """
    rows, columns = (output_size, output_size) if isinstance(output_size, int) else output_size
    if features_BCHW.ndim != 4 or rois_R6.ndim != 2 or rois_R6.shape[1] != 6:
        raise InputError(
            f"features are (B, C, H, W) and boxes (R, 6), not {tuple(features_BCHW.shape)} and {tuple(rois_R6.shape)}"
        )
    if min(rows, columns, sampling_ratio) < 1:
        raise InputError(f"no grid of {rows} x {columns} bins with {sampling_ratio} samples a side")
    channels, height, width = features_BCHW.shape[1:]
    # places on the map need more digits than half precision has
    rois_R6 = rois_R6.to(torch.promote_types(rois_R6.dtype, torch.float32))
    x_RSS, y_RSS = samples_of(rois_R6[:, 1:], (rows, columns), spatial_scale, sampling_ratio, aligned)
    on_RSS = (x_RSS >= -1) & (x_RSS <= width) & (y_RSS >= -1) & (y_RSS <= height)
    left, right, x_share = _neighbours(x_RSS, width)
    upper, lower, y_share = _neighbours(y_RSS, height)
    weight = torch.where(on_RSS, 1 / sampling_ratio**2, 0.0).to(rois_R6.dtype)
    first = rois_R6[:, :1, None].long() * height
    places_4 = torch.stack([(first + y) * width + x for y in (upper, lower) for x in (left, right)], dim=-1)
    weights_4 = torch.stack([weight * y * x for y in (1 - y_share, y_share) for x in (1 - x_share, x_share)], dim=-1)
    pixels_PC = features_BCHW.permute(0, 2, 3, 1).reshape(-1, channels)
    bins = F.embedding_bag(
        _bags(places_4, rows, columns),
        pixels_PC,
        per_sample_weights=_bags(weights_4, rows, columns).to(pixels_PC.dtype),
        mode="sum",
    )
    return bins.view(-1, rows, columns, channels).permute(0, 3, 1, 2)


def samples_of(
    boxes_R5: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> tuple[Tensor, Tensor]:
    """X and y of every sample in pixels of the map, pixel i being centred at i, ``(R, h * s, w * s)`` each."""
    x, y, w, h = ((column * scale)[:, None, None] for column in boxes_R5[:, :4].unbind(-1))
    angle = boxes_R5[:, 4, None, None]
    if aligned:
        x, y = x - 0.5, y - 0.5
    else:
        w, h = w.clamp(min=1), h.clamp(min=1)
    down, along = (_steps(bins * ratio, boxes_R5) for bins in size)
    u, v = w * along, h * down[:, None]
    return x + u * angle.cos() - v * angle.sin(), y + u * angle.sin() + v * angle.cos()


def _steps(count: int, like: Tensor) -> Tensor:
    """Middles of equal parts of [-0.5, 0.5]."""
    return (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count - 0.5


def _neighbours(place: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels on both sides of places along one axis, and how far the places are from the first to the second."""
    place = place.clamp(0, length - 1)
    first = place.detach().floor().long()
    return first, (first + 1).clamp(max=length - 1), place - first


def _bags(samples_4: Tensor, rows: int, columns: int) -> Tensor:
    """What belongs to one bin side by side: ``(R, h * s, w * s, 4)`` to ``(R * h * w, s * s * 4)``."""
    split = samples_4.unflatten(2, (columns, -1)).unflatten(1, (rows, -1))  # (R, h, s, w, s, 4)
    return split.transpose(2, 3).flatten(3).flatten(0, 2)
