from __future__ import annotations

import pytest
from torch import nn

from skysense.model.modes import evaluating


def test_every_part_gets_its_own_mode_back_even_after_an_error() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout())).train()
    module[1].eval()
    modes = [one.training for one in module.modules()]

    def look() -> None:
        with evaluating(module):
            assert not any(one.training for one in module.modules())
            raise KeyError

    with pytest.raises(KeyError):
        look()
    assert [one.training for one in module.modules()] == modes == [True, True, False, False]
