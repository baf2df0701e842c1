from __future__ import annotations

import torch
from torch.nn import functional as F

from skysense.model.align import UpSamplingHead


def test_equals_convolution_and_pixel_shuffle() -> None:
    head, x = UpSamplingHead(6, 5, 4), torch.randn(3, 6, 2, 3)
    torch.nn.init.normal_(head.projection.bias)
    expected = F.pixel_shuffle(F.conv2d(x, head.projection.weight[:, :, None, None], head.projection.bias), 4)
    ours = head(x)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_cells_of_a_patch_begin_alike() -> None:
    head = UpSamplingHead(6, 3, 4)
    blocks = head(torch.randn(2, 6, 2, 3)).unfold(2, 4, 4).unfold(3, 4, 4)
    assert torch.equal(blocks, blocks[..., :1, :1].expand_as(blocks))
    assert blocks.std() > 0.1
