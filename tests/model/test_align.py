from __future__ import annotations

import torch
from torch.nn import functional as F

from skysense.model.align import UpSamplingHead
from skysense.model.config import preset
from skysense.model.vit import ViT


def test_equals_convolution_and_pixel_shuffle() -> None:
    head, x = UpSamplingHead(6, 5, 4), torch.randn(3, 6, 2, 3)
    torch.nn.init.normal_(head.projection.bias)
    expected = F.pixel_shuffle(F.conv2d(x, head.projection.weight[:, :, None, None], head.projection.bias), 4)
    ours = head(x)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_a_cell_begins_with_what_its_own_pixel_shows() -> None:
    """Encoder and head together: a change of one Sentinel pixel is seen in its cell, and hardly in others."""
    torch.manual_seed(0)
    encoder, head = ViT(preset("tiny").s2).eval(), UpSamplingHead(64, 128, 4)
    frame = torch.randn(1, 10, 16, 16)
    changed = frame.clone()
    changed[0, :, 6, 9] += 1
    with torch.inference_mode():
        moved = (head(encoder(changed)[-1]) - head(encoder(frame)[-1]))[0].norm(dim=0)
    assert int(moved.argmax()) == 6 * 16 + 9
    others = moved.flatten()[torch.arange(256) != 6 * 16 + 9]
    assert float(moved[6, 9]) > 5 * float(others.max())


def test_cells_of_a_patch_begin_alike() -> None:
    """The same spectrum gives the same feature wherever in a patch it lies; also in a width without slices."""
    head = UpSamplingHead(16 * 2, 3, 4)
    same = torch.randn(2, 2, 2, 3).repeat(1, 16, 1, 1)
    narrow = UpSamplingHead(6, 3, 4)
    for blocks in (head(same), narrow(torch.randn(2, 6, 2, 3))):
        cells = blocks.unfold(2, 4, 4).unfold(3, 4, 4)
        torch.testing.assert_close(cells, cells[..., :1, :1].expand_as(cells))
        assert cells.std() > 0.1
