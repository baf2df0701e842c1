"""Stochastic depth: branches left out for some samples while training.

Which ones may be a function of the samples alone, whatever batch, piece or process they are in: each sample then brings
a random word, from which every block draws its own number.

Letters: S samples (images, frames or sequences).
"""

from __future__ import annotations

from torch import Tensor, nn

_BITS = 0xFFFFFFFF  # words have 32 bits; in int64 no product below overflows


class DropPath(nn.Module):
    """Leave a branch out for some samples while training.

    Args:
        rate: probability of leaving it out; what stays is scaled up by ``1 / (1 - rate)``.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; the first axis is the samples."""
        return scaled(x, self.factor(x))

    def factor(self, x: Tensor, words_S: Tensor | None = None) -> Tensor | None:
        """What to multiply the samples of a branch with, ``(S, 1, ...)``; None for nothing.

        Args:
            x: like the branch; the first axis is the samples.
            words_S: of the samples, from `stir`; torch's generator draws if None.
        """
        if not self.training or self.rate == 0:
            return None
        keep = 1 - self.rate
        shape = x.shape[0], *[1] * (x.ndim - 1)
        if words_S is None:
            return x.new_empty(shape).bernoulli_(keep).div_(keep)
        return (words_S < keep * (_BITS + 1)).to(x.dtype).div_(keep).view(shape)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"rate={self.rate:g}"


def scaled(x: Tensor, factor: Tensor | None) -> Tensor:
    """A branch with some samples left out."""
    return x if factor is None else x * factor


def stir(words: Tensor, number: int | Tensor) -> Tensor:
    """Other random words from random words, for the ``number``-th use of them: int64 within 0 .. 2^32 - 1."""
    mixed = (words + (number + 1) * 0x9E3779B9) & _BITS
    for _ in range(2):
        mixed = (((mixed >> 16) ^ mixed) * 0x45D9F3B) & _BITS
    return (mixed >> 16) ^ mixed


def stir_all(words: list[Tensor] | None, number: int) -> list[Tensor] | None:
    """`stir` of the words of each piece of a batch."""
    return None if words is None else [stir(piece, number) for piece in words]
