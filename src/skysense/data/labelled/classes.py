"""Names of classes: given, read from a file beside the data, or those that occur.

Letters: H W pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.data.geotiff import STRICT, opened
from skysense.data.labelled.example import UNLABELLED
from skysense.errors import InputError
from skysense.files import read_json
from skysense.geo import Window

Classes = Sequence[str] | Mapping[int, str] | Mapping[str, str]
"""Names in the order of their index, or by the value that stands for them in masks."""

_FILES = ("classes.json", "classes.txt")


def find_classes(root: Path) -> Classes | None:
    """The classes that a file in the folder names, if there is one.

    ``classes.txt`` has a name per line; ``classes.json`` is a list of names or an object ``{"value": "name"}``.

    Raises:
        InputError: a file of another content.
    """
    for file in (root / name for name in _FILES):
        if file.suffix == ".txt" and file.is_file():
            return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
        if file.is_file():
            content = read_json(file)
            if isinstance(content, dict | list) and content:
                return {str(k): str(v) for k, v in content.items()} if isinstance(content, dict) else list(content)
            raise InputError('must be a list of names or an object {"value": "name"}', file=file)
    return None


def class_names(classes: Classes | None, found: Collection[str], *, file: str | Path) -> tuple[str, ...]:
    """Names in the order of their index: those given, or else those that occur, sorted.

    Args:
        classes: names that a person gave.
        found: names that occur among the labels.
        file: for the message.

    Raises:
        InputError: no class, an empty or doubled name, or one that occurs but was not given.
    """
    given = tuple(classes.values() if isinstance(classes, Mapping) else classes) if classes else ()
    names = given or tuple(sorted(found))
    if not names or not all(names) or len(set(names)) != len(names):
        raise InputError(f"needs names of classes, each once; got {list(names)}", file=file)
    unknown = sorted(set(found) - set(names))
    if unknown:
        shown = ", ".join(map(repr, unknown[:10]))
        raise InputError(f"has labels {shown} that are none of the classes {', '.join(names)}", file=file)
    return names


class MaskCode(Protocol):
    """How the masks of a data set say which class a pixel is: by numbers, by colours."""

    def read(self, file: Path, area: Window, whole: tuple[int, int]) -> NDArray[np.uint8]:
        """Class indices ``(H, W)`` of a part of a mask, 255 for no label.

        Args:
            file: the mask.
            area: the part, in pixels.
            whole: height and width of its image.

        Raises:
            InputError: missing, truncated, of another size than its image, or with something that stands for nothing.
        """


@dataclass(frozen=True)
class MaskValues:
    """What the numbers of masks stand for.

    Attributes:
        values: of the classes, by class index.
        ignore: values that mean "no label".
    """

    values: tuple[int, ...]
    ignore: tuple[int, ...] = ()

    def read(self, file: Path, area: Window, whole: tuple[int, int]) -> NDArray[np.uint8]:
        """See `MaskCode.read`."""
        return self.decode(read_mask(file, area, whole), file)

    def decode(self, mask_HW: NDArray, file: Path) -> NDArray[np.uint8]:
        """Class indices, 255 for no label.

        Raises:
            InputError: a value that stands for nothing.
        """
        table = np.full(256, -1, np.int16)
        table[list(self.ignore)] = UNLABELLED
        table[list(self.values)] = np.arange(len(self.values))
        decoded_HW = table[mask_HW]
        if (decoded_HW < 0).any():
            foreign = ", ".join(map(str, np.unique(mask_HW[decoded_HW < 0])[:10]))
            raise InputError(
                f"holds the values {foreign}; classes have {', '.join(map(str, self.values))}",
                file=file,
                fix="Give the missing classes, or the value that means no label: option ignore (--labels.ignore 0)",
            )
        return decoded_HW.astype(np.uint8)


def mask_classes(
    classes: Classes | None, ignore: int | None, files: Iterable[Path], *, root: Path
) -> tuple[tuple[str, ...], MaskValues, tuple[str, ...]]:
    """Names of the classes of masks and the values that stand for them.

    Without names, the values that occur are the classes, except that 255 then means "no label"; masks of nothing but 0
    and 255 are pictures of one thing, whose 255 is a class.

    Args:
        classes: a list (the value is the position), names by value, or None.
        ignore: a value that means "no label".
        files: the masks; read to see which values occur, unless names say that.
        root: for messages.

    Returns:
        Names by class index, the values, and notes.

    Raises:
        InputError: values that a mask cannot hold, doubled names, or a mask that cannot be read.
    """
    no_label = () if ignore is None else (ignore,)
    notes: tuple[str, ...] = ()
    if isinstance(classes, Mapping):
        pairs: list[tuple[Any, str]] = [*classes.items()]
    elif classes and not _only_black_and_white(classes, ignore, files):
        pairs = [*enumerate(classes)]
    elif classes:  # read as a list, all of the second class would pass for no label
        pairs = [(0, classes[0]), (UNLABELLED, classes[1])]
        notes = (f"masks hold only 0 and 255: taken as {classes[0]} and {classes[1]}",)
    else:
        present = present_values(files) - set(no_label)
        if present == {0, UNLABELLED}:
            pairs = [(0, "background"), (UNLABELLED, "foreground")]
            notes = ("masks hold only 0 and 255: taken as background and foreground",)
        else:
            if UNLABELLED in present:
                no_label, notes = (*no_label, UNLABELLED), ("255 in masks is taken for no label",)
            pairs = [(value, str(value)) for value in sorted(present - {UNLABELLED})]
            notes = (*notes, f"no list of classes: masks hold {', '.join(name for _, name in pairs)}; name them")
    try:
        values = tuple(int(value) for value, _ in pairs)
    except ValueError as error:
        raise InputError(f"mask values of classes must be whole numbers; got {[v for v, _ in pairs]}") from error
    if any(not 0 <= value <= 255 for value in (*values, *no_label)) or len(set(values)) != len(values):
        raise InputError(f"mask values are 0 .. 255, each once; got {[*values, *no_label]}", file=root)
    kept = [(value, str(name)) for value, (_, name) in zip(values, pairs, strict=True) if value not in no_label]
    if 255 not in values:
        no_label = (*no_label, UNLABELLED)
    names = class_names([name for _, name in kept], (), file=root)
    return names, MaskValues(tuple(value for value, _ in kept), tuple(sorted(set(no_label)))), notes


def _only_black_and_white(classes: Sequence[str], ignore: int | None, files: Iterable[Path]) -> bool:
    return len(classes) == 2 and ignore is None and present_values(files) == {0, UNLABELLED}


def present_values(files: Iterable[Path]) -> set[int]:
    """Every value that occurs in some masks; those that cannot be read are passed over, since reading them will say."""
    present: set[int] = set()
    for file in files:
        try:
            present |= set(map(int, np.unique(read_mask(file))))
        except InputError:
            continue
    return present


def read_mask(file: Path, window: Window | None = None, whole: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """A mask or a part of it, as it is stored.

    Args:
        file: of one band.
        window: in pixels; all of it if None.
        whole: height and width of its image, where that is known.

    Raises:
        InputError: missing, truncated, of another size than its image, or not one band of whole numbers 0 .. 255.
    """
    mask_CHW = read_mask_bands(file, window, whole)
    if len(mask_CHW) != 1:
        raise InputError(
            f"has {len(mask_CHW)} bands; a mask has one, whose numbers are classes",
            file=file,
            fix="Turn colours into class numbers first",
        )
    return mask_CHW[0]


def read_mask_bands(
    file: Path, window: Window | None = None, whole: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """All bands ``(C, H, W)`` of a mask or of a part of it, as they are stored.

    Args:
        file: the mask.
        window: in pixels; all of it if None.
        whole: height and width of its image, where that is known.

    Raises:
        InputError: missing, truncated, of another size than its image, or not whole numbers 0 .. 255.
    """
    with rasterio.Env(**STRICT), opened(file) as dataset:
        if whole is not None and (dataset.height, dataset.width) != whole:
            found = f"{dataset.height} x {dataset.width}"
            raise InputError(f"is {found} px; its image is {whole[0]} x {whole[1]} px", file=file)
        box = None if window is None else RasterWindow(window.col, window.row, window.width, window.height)
        try:
            mask_CHW = dataset.read(window=box)
        except RasterioError as error:
            raise InputError("is truncated or damaged", file=file, fix="Get it again") from error
    if mask_CHW.dtype.kind not in "iu" or mask_CHW.min() < 0 or mask_CHW.max() > 255:
        raise InputError(f"is {mask_CHW.dtype}; a mask holds whole numbers 0 .. 255", file=file)
    return mask_CHW.astype(np.uint8, copy=False)
