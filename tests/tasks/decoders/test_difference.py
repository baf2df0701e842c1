from __future__ import annotations

import pytest
import torch

from skysense.errors import InputError
from skysense.tasks.decoders import DifferenceUperNet, SemanticChangeUperNet, UperNet
from tests.tasks.decoders import by_hand
from tests.tasks.decoders.exports import plain, traced

CHANNELS = (6, 8, 10, 12)


def pair(batch: int = 2, size: tuple[int, int] = (16, 24)) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return by_hand.pyramid(CHANNELS, batch, size), by_hand.pyramid(CHANNELS, batch, size)


@pytest.mark.parametrize("training", [False, True])
def test_the_difference_is_decoded(training: bool) -> None:
    torch.manual_seed(0)
    decoder = by_hand.randomised(DifferenceUperNet(CHANNELS, width=16, dropout=0.0)).train(training)
    first, second = pair()
    state = {name: value.clone() for name, value in by_hand.sub(decoder.state_dict(), "upernet").items()}
    levels = [torch.where(a > b, a - b, b - a) for a, b in zip(first, second, strict=True)]
    ours = decoder(first, second)
    assert ours.shape == (2, 2, 16, 24) and ours.std() > 0.05
    torch.testing.assert_close(ours, by_hand.upernet(state, levels, training), rtol=0, atol=1e-9)
    torch.testing.assert_close(decoder(second, first), ours, rtol=0, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_both_dates_are_segmented_and_compared(training: bool) -> None:
    torch.manual_seed(0)
    decoder = by_hand.randomised(SemanticChangeUperNet(CHANNELS, 5, width=16, dropout=0.0)).train(training)
    first, second = pair()
    state = {name: value.clone() for name, value in decoder.state_dict().items()}
    found = decoder(first, second)
    assert [one.shape[1] for one in found] == [5, 5, 2]
    both = [torch.cat([a, b]) for a, b in zip(first, second, strict=True)]
    before, after = by_hand.upernet(by_hand.sub(state, "segmentation"), both, training).chunk(2)
    levels = [(a - b).abs() for a, b in zip(first, second, strict=True)]
    change = by_hand.upernet(by_hand.sub(state, "change.upernet"), levels, training)
    torch.testing.assert_close(found.first_BKHW, before, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.second_BKHW, after, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.change_BCHW, change, rtol=0, atol=1e-9)


def test_in_evaluation_each_date_is_segmented_by_itself() -> None:
    torch.manual_seed(0)
    decoder = by_hand.randomised(SemanticChangeUperNet(CHANNELS, 5, width=16)).eval()
    first, second = pair()
    found = decoder(first, second)
    torch.testing.assert_close(found.first_BKHW, decoder.segmentation(first), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.second_BKHW, decoder.segmentation(second), rtol=0, atol=1e-9)


def test_number_of_parameters() -> None:
    one, two = (by_hand.count(UperNet(CHANNELS, classes, width=16)) for classes in (5, 2))
    assert by_hand.count(DifferenceUperNet(CHANNELS, width=16)) == two
    assert by_hand.count(SemanticChangeUperNet(CHANNELS, 5, width=16)) == one + two


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    decoder = SemanticChangeUperNet(CHANNELS, 5, width=16).double()
    sum(one.square().sum() for one in decoder(*pair(batch=1))).backward()
    assert not by_hand.without_gradient(decoder)


def test_a_program_for_any_batch_and_size() -> None:
    torch.manual_seed(0)
    decoder = SemanticChangeUperNet(CHANNELS[:2], 3, width=8)
    program = traced(decoder, (plain(CHANNELS[:2], 2, (16, 24)), plain(CHANNELS[:2], 2, (16, 24))), (2, 1))
    dates = plain(CHANNELS[:2], 1, (10, 2)), plain(CHANNELS[:2], 1, (10, 2))
    for ours, theirs in zip(decoder(*dates), program(*dates), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


def test_dates_of_different_sizes_are_refused() -> None:
    for decoder in (DifferenceUperNet(CHANNELS, width=8), SemanticChangeUperNet(CHANNELS, 2, width=8)):
        with pytest.raises(InputError, match="same shapes"):
            decoder(by_hand.pyramid(CHANNELS, batch=1), by_hand.pyramid(CHANNELS))
