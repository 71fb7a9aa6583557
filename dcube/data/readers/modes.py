"""Grey or in colour: storage modes of `RawImage` (Pillow's names, NumPy's, DICOM's photometric interpretations)."""

import numpy as np
from PIL import Image

MEASURED = ("DICOM", "NIfTI", "measured")  # modes whose values are measurements, displayed through a window
GREY_DIFFERENCE = 8  # of 255: JPEG makes slight colours of grey


def may_be_coloured(mode: str) -> bool:
    """Whether images of this mode can be in colour; many are grey all the same."""
    return any(word in mode for word in ("RGB", "P", "CMYK", "YCbCr", "YBR", "LAB", "HSV"))


def is_coloured(image: Image.Image) -> bool:
    """Whether its channels differ on average: a coloured pixel, or a mark, makes no colour image."""
    if image.mode != "RGB":
        return False
    pixels = np.asarray(image).astype(np.int16)
    return bool((pixels.max(axis=2) - pixels.min(axis=2)).mean() > GREY_DIFFERENCE)


def storage_kind(mode: str) -> str:
    """The kind of a mode, whichever reader named it: an 8-bit grey PNG and an 8-bit grey array are alike."""
    if mode.startswith(MEASURED):
        return mode.split()[0]
    return "colour image" if may_be_coloured(mode) else "grey image"
