"""What can go wrong between an archive and us, by what has to be done about it."""

from __future__ import annotations

from typing import Literal

from skysense.errors import SkySenseError

Reason = Literal["missing", "refused", "unreadable", "contradictory"]
"""Why a product is left out; what is left out is counted under these words."""


class Unavailable(SkySenseError):
    """An archive does not answer as it should, and went on so through all tries: stop, and go on another day."""


class BudgetSpent(SkySenseError):
    """The next request could take more bytes than were granted: stop; what was finished stays."""


class Gone(SkySenseError):
    """This product or file cannot be used, now or later: leave it out, count it, go on with the others.

    Args:
        reason: ``missing`` is not there, ``refused`` is there but not for us, ``unreadable`` is broken or no raster,
            ``contradictory`` is another raster than the catalogue says.
        what: the file, and what is the matter with it.
    """

    def __init__(self, reason: Reason, what: str) -> None:
        self.reason: Reason = reason
        super().__init__(what)
