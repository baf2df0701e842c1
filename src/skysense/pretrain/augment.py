"""Colour augmentation of the high-resolution image: on the device, in batch, each image by its own numbers.

Letters: V views, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from skysense.pretrain.config import MOST_BLUR
from skysense.pretrain.views import Look

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
_BLUR_RADIUS = round(2 * MOST_BLUR)


def augment(images_V3HW: Tensor, looks: Sequence[Look]) -> Tensor:
    """Brightness, contrast, saturation, blur, solarisation (DINO family; specification 3.4).

    Args:
        images_V3HW: 0 .. 255, any dtype.
        looks: one per image.

    Returns:
        float32, within 0 .. 255.
    """
    device = images_V3HW.device

    def factor(name: str) -> Tensor:
        return torch.tensor([getattr(look, name) for look in looks], dtype=torch.float32, device=device).view(
            -1, 1, 1, 1
        )

    contrast, saturation = factor("contrast"), factor("saturation")
    images = (images_V3HW * factor("brightness")).float()
    red, green, blue = images.split(1, dim=1)
    grey = (_GREY[0] * red).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])
    middle = grey.mean((2, 3), keepdim=True)
    # Contrast moves pixels away from the mean grey, saturation away from their own grey. Both are lerps, and
    # middle + contrast * (grey + saturation * (images - grey) - middle) needs two passes when sorted by images.
    images = images.mul_(contrast * saturation).add_(contrast * (1 - saturation) * grey + (1 - contrast) * middle)
    images = images.clamp_(0, 255)
    blurred = [index for index, look in enumerate(looks) if look.blur > 0]
    if blurred:
        images[blurred] = _blur(images[blurred], torch.tensor([looks[i].blur for i in blurred], device=device))
    solarised = [index for index, look in enumerate(looks) if look.solarise_from is not None]
    if solarised:
        part = images[solarised]
        begin = torch.tensor([looks[index].solarise_from for index in solarised], device=device)[:, None, None, None]
        images[solarised] = torch.where(part >= begin, 255 - part, part)
    return images


def _blur(images_V3HW: Tensor, sigma_V: Tensor) -> Tensor:
    """Separable Gaussian, each image by its own standard deviation in pixels."""
    count, _, height, width = images_V3HW.shape
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=images_V3HW.device)
    kernel = torch.exp(-0.5 * (offsets / sigma_V[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]
    flat = images_V3HW.reshape(1, count * 3, height, width)
    flat = F.pad(flat, (_BLUR_RADIUS,) * 4, mode="replicate" if min(height, width) > _BLUR_RADIUS else "constant")
    flat = F.conv2d(flat, kernel[..., None], groups=count * 3)
    return F.conv2d(flat, kernel[:, :, None], groups=count * 3).view(count, 3, height, width)
