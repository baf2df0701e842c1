"""From passes to frames: read what is needed of every pass, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType

from skysense.curate import optical, sentinel1, sentinel2
from skysense.curate.acquisition import Acquisition
from skysense.curate.faults import Gone
from skysense.curate.frame import WHOLE, Frame, Reading
from skysense.curate.merge import Pass, combine
from skysense.curate.refusal import Refused
from skysense.sensors import Modality

HARMONISED_BY: dict[Modality, ModuleType] = {"hr": optical, "s2": sentinel2, "s1": sentinel1}
"""The module that knows a modality: its ``frame``, and the ``METRES_PER_PX`` and ``RESAMPLING`` to read it with."""

Read = Callable[[Acquisition], Reading]


@dataclass(frozen=True)
class Seen:
    """What became of a pass.

    Attributes:
        frame: None if none of its acquisitions could be used.
        dropped: items that could not be used, and the word that an account counts them under.
        unread: acquisitions that were not needed because others showed the whole place.
    """

    frame: Frame | None
    dropped: tuple[tuple[str, str], ...] = ()
    unread: int = 0


def see_pass(one: Pass, read: Read) -> Seen:
    """Read a pass until the whole place is seen: the first acquisition, its holes from the second, and so on.

    Args:
        one: which pass.
        read: fetches the pixels of an acquisition over the place.

    Raises:
        Unavailable: the archive does not answer, which stops a run.
    """
    frame: Frame | None = None
    dropped: list[tuple[str, str]] = []
    for at, acquisition in enumerate(one.acquisitions):
        try:
            new = HARMONISED_BY[acquisition.modality].frame(read(acquisition))
        except (Gone, Refused) as fault:
            dropped.append((acquisition.item, str(fault.reason)))
            continue
        frame = new if frame is None else combine(frame, new)
        if frame.share >= WHOLE:
            return Seen(frame, tuple(dropped), len(one.acquisitions) - at - 1)
    return Seen(frame, tuple(dropped))


def see_images(passes: Sequence[Pass], read: Read, near: datetime | None) -> list[Seen]:
    """Read high-resolution images, the most wanted first, until one shows the whole place.

    `skysense.curate.optical.choose_image` chooses among these as it would among all of them.

    Args:
        passes: of the high-resolution image.
        read: fetches the pixels of an acquisition over the place.
        near: the time the image should be close to; the most recent if None.

    Raises:
        Unavailable: the archive does not answer, which stops a run.
    """
    seen: list[Seen] = []
    for at in optical.reading_order([one.time for one in passes], near):
        seen.append(see_pass(passes[at], read))
        frame = seen[-1].frame
        if frame is not None and frame.share >= WHOLE:
            break
    return seen
