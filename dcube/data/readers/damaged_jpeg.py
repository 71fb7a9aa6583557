"""JPEG files that are damaged and decode all the same: libjpeg fills what is missing with grey, and only warns.

A file without its end is damaged, and so is one whose scans leave bits of its coefficients open: a progressive JPEG
that was cut between two scans is blurred. (The standard allows such files, but encoders write all bits.) Where the
last block is the grey that libjpeg fills with, or zeros stand in the compressed data, JPEG XL's transcoder, which
accepts no fault, decides: it takes too long to ask it about every file.
"""

import re
from collections.abc import Iterator, Sequence

import imagecodecs
from PIL import Image

from dcube.data.readers.raw_image import UnusableImageError

MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # neither a byte of compressed data nor a restart in it
START_OF_SCAN, END_OF_IMAGE, TEMPORARY = 0xDA, 0xD9, 0x01
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
COEFFICIENTS = 64
MOST_SCANS = 100  # the whole image is gone through for each; encoders make 20
FILLED, BLOCK = 128, 8
ZEROS = bytes(64)
LARGEST = 2**28  # bytes; what is behind is no image


def jpeg_bits(data: bytes) -> int:
    """Bits a sample; 0 where the file does not say."""
    return next((data[at + 2] for marker, at in _segments(data) if marker in START_OF_FRAME and len(data) > at + 2), 0)


def compressed_part(data: bytes) -> slice:
    """Where the compressed data lies; raises `UnusableImageError` for a file that lacks some of it, or never ends."""
    segments = list(_segments(data))
    scans = [at for marker, at in segments if marker == START_OF_SCAN]
    if not scans or segments[-1][0] != END_OF_IMAGE:
        raise UnusableImageError("damaged or cut off: a JPEG without its end")
    if len(scans) > MOST_SCANS:
        raise UnusableImageError(f"a JPEG of {len(scans)} scans, more than {MOST_SCANS}: save it again")
    if _lacks_scans(data, segments):
        raise UnusableImageError("damaged or cut off: a JPEG without some of its scans, which decodes blurred")
    return slice(scans[0], segments[-1][1])


def refuse_damaged_jpeg(data: bytes, compressed: slice, decoded: Image.Image) -> None:
    """Raise `UnusableImageError` for a file whose compressed data has holes."""
    suspicious = _ends_in_grey(decoded) or data.find(ZEROS, compressed.start, compressed.stop) >= 0
    if suspicious and not _is_whole(data, decoded):
        raise UnusableImageError("damaged: a part of the JPEG's data is missing")


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The markers up to the end of the image, each with the place behind it. What is in a segment, as a thumbnail
    with an end of its own, and compressed data are passed over."""
    at = 2
    while found := MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        yield marker, at
        if marker == END_OF_IMAGE:
            return
        at += 0 if marker == TEMPORARY else int.from_bytes(data[at : at + 2])


def _lacks_scans(data: bytes, segments: Sequence[tuple[int, int]]) -> bool:
    """Whether some bits of some coefficients are in no scan (ITU T.81 G.1.1.1)."""
    missing: dict[int, list[int]] = {}  # bits by component
    progressive = False
    for marker, at in segments:
        if marker in START_OF_FRAME:
            progressive = marker in PROGRESSIVE
            missing = {component: [1] * COEFFICIENTS for component in data[at + 8 : at + 8 + 3 * data[at + 7] : 3]}
        elif marker == START_OF_SCAN:
            parameters = at + 3 + 2 * data[at + 2]
            first, last, bits = data[parameters : parameters + 3] if progressive else (0, COEFFICIENTS - 1, 0)
            for component in data[at + 3 : parameters : 2]:
                missing[component][first : last + 1] = [bits & 15] * (last + 1 - first)
    return any(map(any, missing.values()))


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
