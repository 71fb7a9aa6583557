"""JPEG files that are damaged and decode all the same: libjpeg fills what is missing with grey, and only warns.

A file without its end is damaged. Where the last block is the grey that libjpeg fills with, or zeros stand in the
compressed data, JPEG XL's transcoder, which accepts no fault, decides: it takes too long to ask it about every file.
"""

from collections.abc import Iterator

import imagecodecs
from PIL import Image

from dcube.data.readers.raw_image import UnusableImageError

START_OF_SCAN, END_OF_IMAGE = 0xDA, b"\xff\xd9"
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
FILLED, BLOCK = 128, 8
ZEROS = bytes(64)
LARGEST = 2**28  # bytes; what is behind is no image


def jpeg_bits(data: bytes) -> int:
    """Bits a sample; 0 where the file does not say."""
    return next((data[at + 4] for marker, at in _segments(data) if marker in START_OF_FRAME and len(data) > at + 4), 0)


def refuse_damaged_jpeg(data: bytes, decoded: Image.Image) -> None:
    """Raise `UnusableImageError` for a file that lacks some of its image."""
    scan = next((at for marker, at in _segments(data) if marker == START_OF_SCAN), 0)
    end = data.find(END_OF_IMAGE, scan)
    if end < 0:
        raise UnusableImageError("damaged or cut off: a JPEG without its end")
    if (_ends_in_grey(decoded) or data.find(ZEROS, scan, end) >= 0) and not _is_whole(data, decoded):
        raise UnusableImageError("damaged: a part of the JPEG's data is missing")


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The markers up to the first scan, each with its place."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        yield marker, at
        if marker == START_OF_SCAN:
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4])


def _ends_in_grey(image: Image.Image) -> bool:
    left, top = (side - (side % BLOCK or BLOCK) for side in image.size)
    return set(image.crop((left, top, *image.size)).tobytes()) == {FILLED}


def _is_whole(data: bytes, decoded: Image.Image) -> bool:
    """Of what it cannot transcode (CMYK) nothing is known."""
    if decoded.mode not in ("L", "RGB"):
        return True
    try:
        imagecodecs.jpegxl_encode_jpeg(data, usecontainer=False)
    except Exception:
        return False
    return True
