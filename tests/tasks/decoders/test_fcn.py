from __future__ import annotations

import pytest
import torch

from skysense.errors import InputError
from skysense.tasks.decoders import FCN
from tests.tasks.decoders import by_hand
from tests.tasks.decoders.exports import traced


def test_number_of_parameters() -> None:
    assert by_hand.count(FCN(6, 5, width=8)) == 9 * 6 * 8 + 2 * 8 + 8 * 5 + 5
    with torch.device("meta"):
        published = FCN(1408, 16)
    assert by_hand.count(published) == 9 * 1408 * 256 + 512 + 256 * 16 + 16 == 3_248_656
    assert published.dropout.p == 0.1


@pytest.mark.parametrize("training", [False, True])
def test_equals_the_arithmetic_by_hand(training: bool) -> None:
    torch.manual_seed(0)
    head = by_hand.randomised(FCN(6, 5, width=8, dropout=0.0)).train(training)
    x, state = torch.randn(2, 6, 7, 9, dtype=torch.float64), {k: v.clone() for k, v in head.state_dict().items()}
    expected = by_hand.conv(state, "classifier", by_hand.conv_norm_relu(state, "conv", x, training))
    torch.testing.assert_close(head(x), expected, rtol=0, atol=1e-9)
    head(x).square().sum().backward()
    assert not by_hand.without_gradient(head)


def test_a_program_for_any_batch_and_size() -> None:
    head = FCN(6, 3, width=8)
    program = traced(head, (torch.randn(2, 6, 5, 7),), (1,))
    x = torch.randn(1, 6, 9, 4)
    torch.testing.assert_close(program(x), head(x), rtol=1e-4, atol=1e-5)


def test_another_width_is_refused() -> None:
    with pytest.raises(InputError, match="width 6, the finest first; got 5"):
        FCN(6, 3)(torch.zeros(1, 5, 4, 4))
