"""Masks whose classes are colours.

Letters: C the three channels, V values 0 .. 255, N colours, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.classes import read_mask_bands
from skysense.data.labelled.example import UNLABELLED
from skysense.errors import InputError
from skysense.geo import Window

Colour = Sequence[int]
"""Red, green, blue, 0 .. 255."""
_NOTHING = -1


@dataclass(frozen=True)
class MaskColours:
    """What the colours of masks stand for.

    Attributes:
        colours: of the classes, by class index.
        ignore: colours that mean "no label".
        threshold: channels are either 0 or 255, and values above this one are taken for 255: for masks that went
            through a lossy format. None: colours are exact.
    """

    colours: tuple[Colour, ...]
    ignore: tuple[Colour, ...] = ()
    threshold: int | None = None

    def read(self, file: Path, area: Window, whole: tuple[int, int]) -> NDArray[np.uint8]:
        """See `skysense.data.labelled.classes.MaskCode.read`."""
        mask_CHW = read_mask_bands(file, area, whole)
        if len(mask_CHW) != 3:
            raise InputError(f"has {len(mask_CHW)} bands; its classes are colours of three", file=file)
        return self.decode(mask_CHW, file)

    def decode(self, mask_CHW: NDArray[np.uint8], file: Path) -> NDArray[np.uint8]:
        """Class indices ``(H, W)``, 255 for no label.

        Raises:
            InputError: a colour that stands for nothing.
        """
        steps_CV, index_N = self._tables
        code_HW = sum(steps_V.take(channel_HW) for steps_V, channel_HW in zip(steps_CV, mask_CHW, strict=True))
        decoded_HW = index_N.take(code_HW)
        if (decoded_HW == _NOTHING).any():
            foreign_CN = np.unique(mask_CHW[:, decoded_HW == _NOTHING], axis=1)
            shown = ", ".join(str(tuple(map(int, colour))) for colour in foreign_CN.T[:5])
            raise InputError(f"holds {foreign_CN.shape[1]} colours that stand for no class, e.g. {shown}", file=file)
        return decoded_HW.astype(np.uint8)

    @cached_property
    def _tables(self) -> tuple[NDArray[np.uint16], NDArray[np.int16]]:
        """Numbers of colours without a search per pixel: what each value 0 .. 255 of each channel adds ``(C, 256)``.

        Colours use few values; a value's place among them is a digit, the last digit stands for all others. The second
        table holds the class of every number.
        """
        every_NC = np.array([*self.colours, *self.ignore], np.int64)
        if self.threshold is None:
            scale = np.unique(every_NC)
            digit_V = np.full(256, len(scale), np.uint16)
            digit_V[scale] = np.arange(len(scale))
        else:
            scale = np.array([0, 255])
            digit_V = (np.arange(256) > self.threshold).astype(np.uint16)
        base = len(scale) + 1
        weight_C = np.array([base * base, base, 1], np.uint16)
        index_N = np.full(base**3, _NOTHING, np.int16)
        index_N[np.searchsorted(scale, every_NC) @ weight_C] = [
            *range(len(self.colours)),
            *[UNLABELLED] * len(self.ignore),
        ]
        return weight_C[:, None] * digit_V, index_N
