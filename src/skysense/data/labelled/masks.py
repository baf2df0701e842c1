"""Images and masks: ``root/images/a.png`` and ``root/masks/a.png``, in split folders or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from skysense.data.labelled.classes import Classes, MaskCode, find_classes, mask_classes
from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example
from skysense.data.labelled.imagery import Imagery, Part, understand
from skysense.data.labelled.padding import pad_mask
from skysense.data.labelled.pictures import Picture, by_stem, folder_pairs, lay_out
from skysense.errors import InputError
from skysense.sensors import Sensor

FOLDERS = ("images", "masks")


@dataclass(frozen=True)
class MaskReader:
    """Reads one example.

    Attributes:
        imagery: how images are read.
        parts: what each item is read from.
        masks: file by name of the picture.
        values: what the masks hold.
    """

    imagery: Imagery
    parts: Mapping[str, Part]
    masks: Mapping[str, Path]
    values: MaskCode

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        part = self.parts[item.name]
        image = self.imagery.read(part, item)
        mask_HW = self.values.read(self.masks[part.picture], image.area, image.whole)
        size = (image.area.height, image.area.width)
        return Example(item.name, image.sample, pad_mask(mask_HW, image.grid), image.per_cell, size)


def read_masks(
    root: Path,
    *,
    classes: Classes | None = None,
    ignore: int | None = None,
    sensor: Sensor | str | None = None,
    stretch: tuple[float, float] | None = None,
    tile: int | None = None,
) -> LabelledData:
    """A folder of images and masks; options as `skysense.data.labelled.open.open_labelled`.

    Raises:
        InputError: no pair at all, or classes that contradict the masks.
    """
    pictures: list[Picture] = []
    masks: dict[str, Path] = {}
    lonely: list[str] = []
    for (images, labels), split in folder_pairs(root, FOLDERS):
        found = by_stem(labels)
        for stem, file in by_stem(images).items():
            name = file.relative_to(root).as_posix()
            if stem in found:
                pictures.append(Picture(name, file, split))
                masks[name] = found[stem]
            else:
                lonely.append(name)
    if not pictures:
        raise InputError("holds no image with a mask of the same stem", file=root)
    imagery, notes = understand((one.file for one in pictures), sensor=sensor, stretch=stretch)
    names, values, more = mask_classes(classes or find_classes(root), ignore, masks.values(), root=root)
    items, parts, dark = lay_out(pictures, imagery, tile)
    notes = (*notes, *more, *dark, *without_label(lonely, "mask"))
    reader = MaskReader(imagery, parts, masks, values)
    return LabelledData(root.name, "segmentation", names, items, reader, notes=notes)


def without_label(names: list[str], what: str) -> tuple[str, ...]:
    """A note on images that are left out because nothing is known about them."""
    if not names:
        return ()
    return (f"{len(names)} images without a {what} are left out, first {names[0]}",)
