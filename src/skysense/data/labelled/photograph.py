"""JPEG images that say nothing but their colours, read by Pillow: several times as fast as the decoder of rasterio's
wheels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, need

SUFFIXES = (".jpg", ".jpeg")
_MOST_PIXELS = 64_000_000  # of which rasterio reads a window without holding all of them
_BESIDE = (".jgw", ".jpgw", ".jpegw", ".wld")  # where an image lies


def read_photograph(file: Path) -> NDArray[np.uint8] | None:
    """Red, green and blue ``(H, W, 3)``.

    Args:
        file: the image.

    Returns:
        None if the file is another kind of image, has more to say (a place, a date, a mask), or is very large. It may
        not even exist.

    Raises:
        InputError: truncated or damaged.
    """
    if file.suffix.lower() not in SUFFIXES or any(map(Path.exists, _beside(file))):
        return None
    need("PIL", "train")
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        with JpegImageFile(file) as image:
            if image.mode != "RGB" or "exif" in image.info or image.width * image.height > _MOST_PIXELS:
                return None
            return np.asarray(image)
    except (FileNotFoundError, IsADirectoryError, SyntaxError):  # a syntax error is Pillow's word for another format
        return None
    except OSError as error:
        raise InputError("is truncated or damaged", file=file, fix="Get it again") from error


def _beside(file: Path) -> list[Path]:
    return [*(file.with_suffix(suffix) for suffix in _BESIDE), *(Path(f"{file}{end}") for end in (".aux.xml", ".msk"))]
