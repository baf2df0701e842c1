"""Masks of published data sets that say where something changed.

Letters: C bands, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.classes import read_mask_bands
from skysense.errors import InputError
from skysense.geo import Window


@dataclass(frozen=True)
class PaintedChange:
    """0 where nothing changed, 1 or 255 where something did; copies in colour hold that three times."""

    def read(self, file: Path, area: Window, whole: tuple[int, int]) -> NDArray[np.uint8]:
        """See `skysense.data.labelled.classes.MaskCode.read`."""
        mask_CHW = read_mask_bands(file, area, whole)
        mask_HW = mask_CHW[0]
        if not np.isin(mask_HW, (0, 1, 255)).all():
            foreign = ", ".join(map(str, np.setdiff1d(mask_HW, (0, 1, 255))[:5]))
            raise InputError(f"holds {foreign}; a mask of change holds 0 and 255", file=file)
        return (mask_HW > 0).astype(np.uint8)
