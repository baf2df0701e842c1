"""LEVIR-CD: pairs of aerial images with what was built between them; whole images, or crops of 256 px."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.imagery import Imagery
from skysense.data.labelled.pairs import Pair, PairReader
from skysense.data.labelled.pictures import Picture, lay_out
from skysense.data.places_layout import Split
from skysense.datasets.card import card
from skysense.datasets.changes import PaintedChange
from skysense.datasets.layout import find_root, images_below, need_files, read_list, see
from skysense.errors import InputError
from skysense.sensors import OPTICAL_HR

CROPS = "crops of 256 px"
"""Name of the version that holds crops instead of whole images."""
_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_FOLDERS = ("A", "B", "label")
_NAME = re.compile(r"((train|val|test)_\d+)(_\d+)*")


@dataclass(frozen=True)
class _Part:
    """Images of one split.

    Attributes:
        base: the folder with ``A``, ``B`` and ``label``.
        files: of each of them, by stem.
        stems: of the images of the split.
    """

    base: Path
    files: Mapping[str, Mapping[str, Path]]
    stems: Iterable[str]

    def paths(self, stem: str) -> list[Path]:
        """The earlier image, the later one and the mask; one that is missing is looked for where it should be."""
        return [self.files[folder].get(stem, self.base / folder / f"{stem}.png") for folder in _FOLDERS]


def read_levir(source: Path, *, tile: int | None = None) -> LabelledData:
    """LEVIR-CD.

    Args:
        source: the folder with ``train``, ``val`` and ``test``; the one with ``A``, ``B`` and ``label`` if all archives
            were unpacked into one place; or the one of crops, which holds lists of their names besides.
        tile: side in pixels of the tiles that images are cut into, side by side; 256 gives the published crops.

    Raises:
        InputError: no copy, one of which files are missing, or LEVIR-CD+.
    """
    about = card("levir-cd")
    root, found = _found(source)
    pictures: list[Picture] = []
    pairs: dict[str, Pair] = {}
    masks: list[Path] = []
    cropped = False
    for split, part in found.items():
        for stem in sorted(part.stems):
            known = _NAME.fullmatch(stem)
            if known is None or known[2] != split:
                raise InputError(
                    f"holds {stem!r} for {split}; {about.title} has names as {split}_1 or {split}_1_1", file=part.base
                )
            before, after, mask = part.paths(stem)
            pictures.append(Picture(f"{stem}.png", before, split, known[1]))
            pairs[f"{stem}.png"] = Pair(after, mask, None)
            masks.append(mask)
            cropped |= known[3] is not None
    need_files([picture.file for picture in pictures], "earlier images (A)", root, about.name)
    need_files([pair.after for pair in pairs.values()], "later images (B)", root, about.name)
    need_files(masks, "masks of change (label)", root, about.name)
    imagery = Imagery(OPTICAL_HR, declared=True)
    items, parts, notes = lay_out(pictures, imagery, tile)
    reader = PairReader(imagery, parts, pairs, PaintedChange(), None)
    version = CROPS if cropped else None
    return LabelledData(about.title, about.task, about.classes, items, reader, notes=notes, version=version)


def _found(source: Path) -> tuple[Path, dict[Split, _Part]]:
    """The folder of a copy, and its images by split."""
    name = "levir-cd"
    inside = [source, *source.iterdir()] if source.is_dir() else []
    if any((folder / split / "A").is_dir() for folder in inside for split in _SPLITS):
        _refuse_successor(inside)
        root = find_root(source, [f"{split}/A" for split in _SPLITS], name)
        by_split = {split: _files(root / split) for split in _SPLITS}
        return root, {split: _Part(root / split, files, _stems(files)) for split, files in by_split.items()}
    root = find_root(source, _FOLDERS, name)
    files = _files(root)
    if (root / "list").is_dir():
        lists = {split: read_list(root / "list" / f"{split}.txt") for split in _SPLITS}
        return root, {
            split: _Part(root, files, {Path(line.split()[0]).stem for line in lists[split]}) for split in lists
        }
    stems = _stems(files)
    foreign = sorted(stem for stem in stems if not _NAME.fullmatch(stem))
    if foreign:
        fix = f"Which split is it for? {see(name)}"
        raise InputError(f"holds {foreign[0]!r}, whose name says no split", file=root, fix=fix)
    return root, {split: _Part(root, files, {one for one in stems if one.startswith(f"{split}_")}) for split in _SPLITS}


def _files(base: Path) -> dict[str, dict[str, Path]]:
    return {folder: images_below(base / folder, 0) for folder in _FOLDERS}


def _stems(files: Mapping[str, Mapping[str, Path]]) -> set[str]:
    return {stem for each in files.values() for stem in each}


def _refuse_successor(folders: Iterable[Path]) -> None:
    """Refuse LEVIR-CD+, which has no images for validation, and whose names all begin alike."""
    for folder in folders:
        if (folder / "val").is_dir():
            continue
        if any(stem.startswith("train_") for stem in images_below(folder / "test/A", 0)):
            raise InputError(
                "is LEVIR-CD+, another data set: 985 pairs, none for validation", file=folder, fix=see("levir-cd")
            )
