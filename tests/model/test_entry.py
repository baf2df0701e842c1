from __future__ import annotations

import pytest
import torch

from skysense.errors import InputError
from skysense.model.entry import Entry
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A


def test_each_band_is_normalised_with_its_own_statistics() -> None:
    values = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    ours = Entry(OPTICAL_HR)(values, torch.ones(1, 1, 1, dtype=torch.bool)).flatten()
    expected = torch.tensor([(0 / 255 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (255 / 255 - 0.406) / 0.225])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    mean = torch.tensor(SENTINEL2_L2A.mean).view(1, 10, 1, 1)
    values = mean + torch.tensor(SENTINEL2_L2A.std).view(1, 10, 1, 1)
    ours = Entry(SENTINEL2_L2A)(values, torch.ones(1, 1, 1, dtype=torch.bool))
    torch.testing.assert_close(ours, torch.ones_like(ours), rtol=0, atol=1e-5)


def test_pixels_not_observed_become_the_mean_and_the_input_stays() -> None:
    values = torch.full((1, 2, 1, 2), -8.0)
    values[..., 1] = torch.nan
    before = values.clone()
    ours = Entry(SENTINEL1)(values, torch.tensor([[[True, False]]]))
    assert ours[..., 1].tolist() == [[[0.0], [0.0]]]
    assert ours[0, 0, 0, 0].item() == pytest.approx((-8 + 12.54847273) / 5.25697717)
    assert torch.equal(values.nan_to_num(), before.nan_to_num())


def test_other_bands_are_refused() -> None:
    with pytest.raises(InputError, match=r"sentinel-1-grd has 2 bands \(VV, VH\); got 3"):
        Entry(SENTINEL1)(torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool))
