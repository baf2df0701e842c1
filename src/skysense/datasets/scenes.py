"""Scene classification with a folder per class: AID and NWPU-RESISC45."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.folders import SceneReader
from skysense.data.labelled.imagery import Imagery
from skysense.data.labelled.pictures import Picture, image_files, lay_out
from skysense.datasets.card import Card, card
from skysense.datasets.layout import find_root
from skysense.datasets.splits import draw_share
from skysense.errors import InputError
from skysense.sensors import OPTICAL_HR


def read_aid(source: Path, *, share: float = 0.2) -> LabelledData:
    """AID; a share of every class is learned from (the paper: 0.2 and 0.5), all others are for testing."""
    return _read(source, card("aid"), share)


def read_resisc45(source: Path, *, share: float = 0.1) -> LabelledData:
    """NWPU-RESISC45; a share of every class is learned from (the paper: 0.1 and 0.2), all others are for testing."""
    return _read(source, card("resisc45"), share)


def _read(source: Path, about: Card, share: float) -> LabelledData:
    folders: Sequence[str] = about.values or about.classes
    root = find_root(source, folders[:1], about.name)
    files = {folder: image_files(root / folder) for folder in folders}
    empty = [folder for folder, found in files.items() if not found]
    if empty:
        raise InputError(
            f"is no whole copy of {about.name}: no image in {', '.join(empty[:5])}",
            file=root,
            fix=f"Unpack the archive again; see skysense datasets show {about.name}",
        )
    names = {folder: [file.relative_to(root).as_posix() for file in found] for folder, found in files.items()}
    splits = draw_share(names, share)
    labels = {name: index for index, folder in enumerate(folders) for name in names[folder]}
    pictures = [Picture(name, root / name, splits[name]) for each in names.values() for name in each]
    imagery = Imagery(OPTICAL_HR, declared=True)
    items, parts, notes = lay_out(pictures, imagery, None)
    return LabelledData(about.title, about.task, about.classes, items, SceneReader(imagery, parts, labels), notes=notes)
