"""Why a product or a place is left out: a fixed vocabulary, so that an account can count."""

from __future__ import annotations

from enum import StrEnum

from skysense.errors import SkySenseError


class Reason(StrEnum):
    """One line of an account."""

    NOTHING_OBSERVED = "nothing observed"
    OFFSET_UNKNOWN = "offset unknown"
    OFFSET_CONTRADICTED = "offset contradicted"
    NOT_CALIBRATED = "not calibrated"
    WRONG_UNIT = "wrong unit"
    NO_IMAGERY = "no imagery"
    TOO_FEW_S2 = "too few Sentinel-2 dates"
    TOO_FEW_S1 = "too few Sentinel-1 dates"
    NO_IMAGE = "no high-resolution image"


class Refused(SkySenseError):
    """A product or a place that is not used, and why.

    Args:
        reason: what is counted.
        detail: the rest of the sentence, for a person who asks about this one.

    Attributes:
        reason: as given.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
