"""Colour augmentation in batch equals the same, image by image, in plain arithmetic."""

from __future__ import annotations

import torch

from skysense.pretrain.augment import augment
from skysense.pretrain.views import Look

NONE = Look(brightness=1, contrast=1, saturation=1, blur=0, solarise_from=None)


def images(count: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 24, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def look(**changes: float | bool) -> Look:
    return Look(**(vars(NONE) | changes))  # type: ignore[arg-type]


def test_no_change_is_no_change() -> None:
    assert torch.allclose(augment(images(), [NONE]), images().float(), atol=1e-3)


def test_each_image_has_its_own_numbers() -> None:
    pictures = images(5)
    looks = [look(brightness=0.5), look(contrast=0.0), look(saturation=0.0), look(solarise_from=100.0), NONE]
    result = augment(pictures, looks)
    grey = (pictures.float() * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
    assert torch.allclose(result[0], pictures[0].float() * 0.5, atol=1e-3)
    assert torch.allclose(result[1], grey[1].mean().expand(3, 24, 32), atol=1e-2)
    assert torch.allclose(result[2], grey[2].expand(3, -1, -1), atol=1e-2)
    bright = pictures[3].float()
    assert torch.allclose(result[3], torch.where(bright >= 100, 255 - bright, bright), atol=1e-3)
    assert torch.allclose(result[4], pictures[4].float(), atol=1e-3)


def test_blur_equals_a_plain_weighted_mean() -> None:
    picture = images()
    result = augment(picture, [look(blur=1.2)])[0]
    offsets = torch.arange(-4, 5)
    kernel = torch.exp(-(offsets**2) / (2 * 1.2**2))
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    for row, col in ((10, 12), (0, 0), (23, 31)):
        expected = torch.zeros(3)
        for i in range(9):
            for j in range(9):
                y, x = min(max(row + i - 4, 0), 23), min(max(col + j - 4, 0), 31)
                expected += kernel[i, j] * picture[0, :, y, x].float()
        assert torch.allclose(result[:, row, col], expected, atol=1e-2)


def test_blurring_one_leaves_the_other() -> None:
    both = augment(images(2), [look(blur=2.0), NONE])
    assert torch.equal(both[0], augment(images(2)[:1], [look(blur=2.0)])[0])
    assert torch.allclose(both[1], images(2)[1].float(), atol=1e-3)
