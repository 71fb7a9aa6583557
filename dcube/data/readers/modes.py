"""Grey or colour, by the storage mode of `RawImage` (names of Pillow and NumPy, DICOM's photometric interpretation)."""

import numpy as np
from PIL import Image

MEASURED = ("DICOM", "NIfTI", "measured")  # modes whose values are measurements, displayed through a window
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


def storage_kind(mode: str) -> str:
    """Return the kind of a mode, independent of the reader: 8-bit grey PNG files and arrays are of the same kind."""
    if mode.startswith(MEASURED):
        return mode.split()[0]
    return "colour image" if may_be_coloured(mode) else "grey image"
