from __future__ import annotations

import pytest
import torch
from torch import Tensor

from skysense.errors import InputError
from skysense.tasks.decoders import BIT
from tests.tasks.decoders import by_hand
from tests.tasks.decoders.exports import plain, traced

CHANNELS = (6, 8, 10, 12)


def closed_form(channels: tuple[int, ...], classes: int, width: int, tokens: int) -> int:
    """Levels and neck; tokenizer and positions; one layer of heads 64 wide, eight of heads 8 wide; the classifier."""

    def layer(inner: int) -> int:
        attention = 3 * width * inner + inner * width + width
        mlp = width * 2 * width + 2 * width + 2 * width * width + width
        return attention + mlp + 2 * 2 * width

    neck = sum(channels) * width + 9 * width * width + width
    tokens_of_both = width * tokens + 2 * tokens * width
    last = 9 * width * width + 2 * width + 9 * width * classes + classes
    return neck + tokens_of_both + layer(8 * 64) + 8 * layer(8 * 8) + last


def layer_norm(state: by_hand.State, name: str, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + by_hand.EPS).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def layer(state: by_hand.State, name: str, x: Tensor, memory: Tensor) -> Tensor:
    """One head after the other, on one sample: ``(N, C)`` and ``(M, C)``."""
    of = by_hand.sub(state, name)
    queries, known = layer_norm(of, "attention_norm", x), layer_norm(of, "attention_norm", memory)
    found = torch.zeros_like(x) + of["attention.out.bias"]
    heads = zip(
        *(of[f"attention.{part}.weight"].chunk(8) for part in ("query", "key", "value")),
        of["attention.out.weight"].chunk(8, dim=1),
        strict=True,
    )
    for query, key, value, out in heads:
        logits = (queries @ query.T) @ (known @ key.T).T / query.shape[0] ** 0.5
        weights = logits.exp() / logits.exp().sum(1, keepdim=True)
        found = found + weights @ (known @ value.T) @ out.T
    x = x + found
    hidden = layer_norm(of, "mlp_norm", x) @ of["mlp.up.weight"].T + of["mlp.up.bias"]
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    return x + hidden @ of["mlp.down.weight"].T + of["mlp.down.bias"]


def slow_bit(state: by_hand.State, first: list[Tensor], second: list[Tensor], scale: int, training: bool) -> Tensor:
    """Pair by pair and date by date."""
    size = first[0].shape[-2:]
    differences = []
    for pair in range(len(first[0])):
        grids, tokens = [], []
        for date in (first, second):
            levels = [by_hand.conv(state, f"projections.{i}", one[pair : pair + 1]) for i, one in enumerate(date)]
            grid = by_hand.conv(state, "neck", sum(by_hand.resize(one, size) for one in levels))
            weights = by_hand.conv(state, "tokenizer", grid)[0].exp().flatten(1)
            pixels = grid[0].flatten(1).T
            grids.append(pixels)
            tokens.append(torch.stack([(row[:, None] * pixels).sum(0) / row.sum() for row in weights]))
        count = len(tokens[0])
        both = torch.cat(tokens) + state["position"][0]
        both = layer(state, "encoder.0", both, both)
        for depth in range(8):
            grids[0] = layer(state, f"decoder.{depth}", grids[0], both[:count])
            grids[1] = layer(state, f"decoder.{depth}", grids[1], both[count:])
        differences.append((grids[0] - grids[1]).abs().T.reshape(-1, *size))
    fine = by_hand.resize(torch.stack(differences), [scale * side for side in size])
    return by_hand.conv(state, "classifier", by_hand.conv_norm_relu(state, "compare", fine, training))


@pytest.mark.parametrize(("width", "tokens"), [(32, 4), (16, 3)])
def test_number_of_parameters(width: int, tokens: int) -> None:
    decoder = BIT(CHANNELS, 2, width=width, tokens=tokens)
    assert by_hand.count(decoder) == closed_form(CHANNELS, 2, width, tokens)


def test_number_of_parameters_at_the_published_size() -> None:
    # levels 168,960 and neck 9,248; tokenizer and positions 384; layers 69,888 and 8 x 12,544; the classifier 9,858
    assert by_hand.count(BIT((352, 704, 1408, 2816))) == 168_960 + 9_248 + 384 + 69_888 + 8 * 12_544 + 9_858 == 358_690


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("channels", "scale"), [(CHANNELS, 4), ((5,), 1)])
def test_equals_the_arithmetic_by_hand(channels: tuple[int, ...], scale: int, training: bool) -> None:
    torch.manual_seed(0)
    decoder = by_hand.randomised(BIT(channels, 3, width=16, tokens=3, scale=scale)).train(training)
    first, second = (by_hand.pyramid(channels, finest=(10, 7)) for _ in range(2))
    state = {name: value.clone() for name, value in decoder.state_dict().items()}
    ours = decoder(first, second)
    assert ours.shape == (2, 3, 10 * scale, 7 * scale) and ours.std() > 0.1
    torch.testing.assert_close(ours, slow_bit(state, first, second, scale, training), rtol=0, atol=1e-9)


def test_the_order_of_dates_matters_only_through_the_positions_of_their_tokens() -> None:
    torch.manual_seed(0)
    decoder = by_hand.randomised(BIT(CHANNELS, width=16)).eval()
    first, second = (by_hand.pyramid(CHANNELS) for _ in range(2))
    with torch.no_grad():
        before, swapped = decoder(first, second), decoder(second, first)
    assert float((swapped - before).abs().max()) > 1e-3
    with torch.no_grad():
        decoder.position.copy_(decoder.position.roll(4, dims=1))
    torch.testing.assert_close(decoder(second, first), before, rtol=0, atol=1e-9)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    decoder = BIT(CHANNELS).double()
    pairs = [[one.requires_grad_() for one in by_hand.pyramid(CHANNELS)] for _ in range(2)]
    decoder(*pairs).square().sum().backward()
    assert not by_hand.without_gradient(decoder)
    assert all(one.grad is not None and one.grad.any() for date in pairs for one in date)


def test_a_program_for_any_batch_and_size() -> None:
    torch.manual_seed(0)
    decoder = BIT(CHANNELS[:2], width=16)
    program = traced(decoder, (plain(CHANNELS[:2], 2, (16, 24)), plain(CHANNELS[:2], 2, (16, 24))), (2, 1))
    for batch, size in ((1, (2, 2)), (3, (10, 4))):
        dates = plain(CHANNELS[:2], batch, size), plain(CHANNELS[:2], batch, size)
        torch.testing.assert_close(program(*dates), decoder(*dates), rtol=1e-4, atol=1e-5)


def test_what_is_refused() -> None:
    maps = by_hand.pyramid(CHANNELS)
    with pytest.raises(InputError, match="got 6, 8"):
        BIT(CHANNELS)(maps[:2], maps[:2])
    with pytest.raises(InputError, match="same shapes"):
        BIT(CHANNELS)(maps, by_hand.pyramid(CHANNELS, batch=4))
