"""BigEarthNet, version 1 and 2 (reBEN): which of 19 classes of land cover patches of 1.2 km hold.

v1   BigEarthNet-v1.0/<patch>/<patch>_B02.tif       BigEarthNet-S1-v1.0/<patch of S1>/<patch of S1>_VV.tif
v2   BigEarthNet-S2/<tile>/<patch>/<patch>_B02.tif   BigEarthNet-S1/<scene>/<patch of S1>/<patch of S1>_VV.tif

There are half a million patches: what the published lists name is believed and not looked for. Letters: N patches.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.dataset import Item, ItemTable, LabelledData, split_code
from skysense.data.labelled.example import Example
from skysense.data.labelled.padding import pad_sample
from skysense.data.labelled.survey import Progress
from skysense.datasets.bigearthnet_lists import Patches, bits, labels_of, read_lists, read_metadata
from skysense.datasets.card import Card, card
from skysense.datasets.index import UNKNOWN, gathered
from skysense.datasets.layout import find_root
from skysense.datasets.sentinel import read_bands
from skysense.datasets.splits import keep_share
from skysense.errors import InputError
from skysense.files import read_json
from skysense.observation import Sample, Series
from skysense.sensors import SENTINEL1, SENTINEL2_L2A, Modality


@dataclass(frozen=True)
class Form:
    """How a version lies on disk.

    Attributes:
        s2, s1: folders of the sensors.
        nested: whether patches lie in a folder of their tile or scene.
    """

    s2: str
    s1: str
    nested: bool

    def s2_folder(self, patch: str) -> str:
        """Of a Sentinel-2 patch, below the root."""
        return f"{self.s2}/{patch.rsplit('_', 2)[0]}/{patch}" if self.nested else f"{self.s2}/{patch}"

    def s1_folder(self, patch: str) -> str:
        """Of a Sentinel-1 patch, below the root."""
        return f"{self.s1}/{patch.rsplit('_', 3)[0]}/{patch}" if self.nested else f"{self.s1}/{patch}"


V1 = Form("BigEarthNet-v1.0", "BigEarthNet-S1-v1.0", nested=False)
V2 = Form("BigEarthNet-S2", "BigEarthNet-S1", nested=True)


@dataclass(frozen=True)
class PatchReader:
    """Reads one patch.

    Attributes:
        root: of the copy.
        form: how it lies there.
        items: all of its patches.
        label_N: a bit for each class that applies, or `UNKNOWN`.
        s1_N: names of their Sentinel-1 patches; None to read Sentinel-2 alone.
    """

    root: str
    form: Form
    items: ItemTable
    label_N: NDArray[np.int64]
    s1_N: NDArray[np.bytes_] | None

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        row = self.items.row(item.name)
        label = int(self.label_N[row])
        if label == UNKNOWN:
            label = _label(self.root, item.name)
        files = [self._file(self.form.s2_folder(item.name), _file_band(band)) for band in SENTINEL2_L2A.bands]
        s2, head = read_bands(files, SENTINEL2_L2A, _day(item.name, 2))
        series: dict[Modality, Series] = {"s2": s2}
        if self.s1_N is not None:
            name = self.s1_N[row].decode()
            files = [self._file(self.form.s1_folder(name), band) for band in SENTINEL1.bands]
            series["s1"], _ = read_bands(files, SENTINEL1, _day(name, 4))
        lon, lat = head.position(head.whole)
        sample = Sample(item.name, series, lon=lon, lat=lat, footprint=head.footprint(head.whole))
        return Example(item.name, pad_sample(sample), labels_of(label), 1, (head.height, head.width))

    def paths(self, item: Item) -> tuple[str, ...]:
        """Folders of an item; see `skysense.datasets.listed.Listed`."""
        folders = [self.form.s2_folder(item.name)]
        if self.s1_N is not None:
            folders.append(self.form.s1_folder(self.s1_N[self.items.row(item.name)].decode()))
        return tuple(os.path.join(self.root, folder) for folder in folders)

    def _file(self, folder: str, band: str) -> Path:
        return Path(self.root, folder, f"{folder.rsplit('/', 1)[1]}_{band}.tif")


def read_bigearthnet_s2(source: Path, *, share: float = 1.0, progress: Progress | None = None) -> LabelledData:
    """Sentinel-2 alone, ten bands; a share of the published training list is learned from (the paper: 0.1 and 1)."""
    return _read(source, card("bigearthnet-s2"), False, share, progress)


def read_bigearthnet_mm(source: Path, *, share: float = 1.0, progress: Progress | None = None) -> LabelledData:
    """Sentinel-2 and Sentinel-1; a share of the published training list is learned from."""
    return _read(source, card("bigearthnet-mm"), True, share, progress)


def _read(source: Path, about: Card, with_s1: bool, share: float, progress: Progress | None) -> LabelledData:
    root, form = _find(source, about.name, with_s1)
    if form is V2:
        patches = read_metadata(root, with_s1)
    else:
        patches = read_lists(root, with_s1)
        read = partial(_label, str(root))
        of = f"labels of BigEarthNet {patches.version}"
        patches.label_N = gathered(root / form.s2, patches.name_N, read, of=of, progress=progress)
    notes = list(patches.notes)
    unread = int((patches.label_N == UNKNOWN).sum())
    if unread:
        notes.append(f"the labels of {unread:,} patches cannot be read; reading one of them says why")
    used = patches if share == 1 else _shared(patches, share)
    items = ItemTable(used.name_N, used.split_N)
    reader = PatchReader(str(root), form, items, used.label_N, used.s1_N)
    return LabelledData(
        about.title, about.task, about.classes, items, reader, notes=tuple(notes), version=patches.version
    )


def _find(source: Path, name: str, with_s1: bool) -> tuple[Path, Form]:
    """The root, and which version lies there."""
    if source.name in (V1.s2, V1.s1, V2.s2, V2.s1):  # a look through half a million folders would take long
        raise InputError(
            "holds the patches of one sensor", file=source, fix="Give the folder above it, with the lists of the splits"
        )
    found = [form for form in (V1, V2) if next(source.glob(form.s2), None) or next(source.glob(f"*/{form.s2}"), None)]
    if len(found) > 1:
        raise InputError(
            f"holds version 1 ({V1.s2}) and version 2 ({V2.s2}), whose labels and splits differ",
            file=source,
            fix="Put them into folders of their own",
        )
    form = found[0] if found else V1
    return find_root(source, (form.s2, form.s1) if with_s1 else (form.s2,), name), form


def _shared(patches: Patches, share: float) -> Patches:
    """Without the training patches that are not learned from."""
    train_N = patches.split_N == split_code("train")
    kept = keep_share([name.decode() for name in patches.name_N[train_N].tolist()], share)
    return patches.take(~train_N | np.isin(patches.name_N, np.array(kept, "S")))


def _label(root: str, patch: str) -> int:
    """Classes of a patch of version 1, a bit for each, from the file that says so."""
    file = Path(root, V1.s2, patch, f"{patch}_labels_metadata.json")
    content = read_json(file)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, list) or not all(isinstance(one, str) for one in labels):
        raise InputError("holds no list of names of labels", file=file, fix="Unpack the archive again")
    return bits(labels, file)


def _file_band(band: str) -> str:
    """As files call it: ``B02``, ``B8A``."""
    return f"{band[0]}{band[1:]:0>2}"


def _day(patch: str, field: int) -> np.datetime64:
    """When a patch was taken; its name says so: ``S2A_MSIL2A_20170613T101031_...``."""
    parts = patch.split("_")
    try:
        return np.datetime64(f"{parts[field][:4]}-{parts[field][4:6]}-{parts[field][6:8]}", "D")
    except (IndexError, ValueError) as error:
        raise InputError(f"{patch!r} is no name of a patch: its date is missing") from error
