"""Grey or colour, by the storage mode of `RawImage` (names of Pillow and NumPy, DICOM's photometric interpretation)."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from dcube.errors import counted

MEASURED = ("DICOM", "NIfTI", "measured")  # modes whose values are measurements, displayed through a window
WORDS = {
    "L": "8-bit grey",
    "LA": "8-bit grey with transparency",
    "I;16": "16-bit grey",
    "RGB": "8-bit colour",
    "RGBA": "8-bit colour with transparency",
    "P": "palette of colours",
}
GREY_DIFFERENCE = 8  # of 255; JPEG gives grey images slight colours


def may_be_coloured(mode: str) -> bool:
    """Return whether images of this mode can be in colour, although many are grey."""
    return any(word in mode for word in ("RGB", "P", "CMYK", "YCbCr", "YBR", "LAB", "HSV"))


def is_coloured(image: Image.Image) -> bool:
    """Return whether the channels differ on average; a few coloured pixels or a mark do not make a colour image."""
    if image.mode != "RGB":
        return False
    pixels = np.asarray(image).astype(np.int16)
    return bool((pixels.max(axis=2) - pixels.min(axis=2)).mean() > GREY_DIFFERENCE)


def modes_in_words(counts: Mapping[str, int]) -> str:
    """Format the numbers of images by mode for users, with words for Pillow's common modes."""
    return counted({WORDS.get(mode, mode): count for mode, count in counts.items()})


def storage_kind(mode: str) -> str:
    """Return the kind of a mode, independent of the reader: 8-bit grey PNG files and arrays are of the same kind."""
    if mode.startswith(MEASURED):
        return mode.split()[0]
    return "colour image" if may_be_coloured(mode) else "grey image"
