"""An archive of satellite scenes on this machine, with the two catalogues people use and the faults they know.

With it, curation is tested, shown and measured without the internet::

    folder = simulated_archive("runs/archive")
    with Rehearsal(folder, faults=Faults(unavailable=When(first=1))) as archive:
        archive.url("earth-search"), archive.url("planetary"), archive.counts.requests["file"]
"""

from skysense.curate.rehearsal.apart import Apart
from skysense.curate.rehearsal.faults import ALWAYS, Faults, When
from skysense.curate.rehearsal.kit import kit_archive
from skysense.curate.rehearsal.scenes import Scene, read_archive
from skysense.curate.rehearsal.server import Rehearsal
from skysense.curate.rehearsal.simulated import simulated_archive

__all__ = [
    "ALWAYS",
    "Apart",
    "Faults",
    "Rehearsal",
    "Scene",
    "When",
    "kit_archive",
    "read_archive",
    "simulated_archive",
]
