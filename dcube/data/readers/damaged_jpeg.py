"""Detection of damaged JPEG files that still decode: libjpeg fills missing parts with grey and only warns.

A file without its end marker is damaged. So is a file whose scans lack bits of its coefficients: a progressive JPEG
that was cut between two scans is blurred. (The standard allows such files, but encoders write all bits.) If the last
block has the grey that libjpeg fills with, or the compressed data contains zeros, the file is checked with the
transcoder of JPEG XL, which accepts no errors but is too slow for every file.
"""

import re
import struct
from collections.abc import Iterator, Sequence

import imagecodecs
from PIL import Image

from dcube.data.readers.raw_image import UnusableImageError

MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # except stuffed bytes and restarts of compressed data
START_OF_SCAN, END_OF_IMAGE, TEMPORARY = 0xDA, 0xD9, 0x01
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # the last one is of JPEG-LS
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
COEFFICIENTS = 64
MOST_SCANS = 100  # each scan takes a pass over the whole image; encoders write about 20
FILLED, BLOCK = 128, 8
ZEROS = bytes(64)
LARGEST = 2**28  # bytes read of a file


def frame_header(data: bytes) -> tuple[int, int, int, int]:
    """Return the bits per sample, rows, columns and samples of a JPEG or JPEG-LS; zeros if the file does not say."""
    at = next((at for marker, at in _segments(data) if marker in START_OF_FRAME), len(data))
    return struct.unpack_from(">BHHB", data, at + 2) if len(data) >= at + 8 else (0, 0, 0, 0)


def compressed_part(data: bytes) -> slice:
    """Return the byte range of the compressed data.

    Raises:
        UnusableImageError: if the end or some of the scans are missing, or if there are more than `MOST_SCANS` scans.
    """
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
    """Raise `UnusableImageError` if a part of the compressed data is missing."""
    suspicious = _ends_in_grey(decoded) or data.find(ZEROS, compressed.start, compressed.stop) >= 0
    if suspicious and not _is_whole(data, decoded):
        raise UnusableImageError("damaged: a part of the JPEG's data is missing")


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker up to the end of the image, with the position after it.

    Compressed data and the contents of segments are skipped, e.g. a thumbnail with its own end marker.
    """
    at = 2
    while found := MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        yield marker, at
        if marker == END_OF_IMAGE:
            return
        at += 0 if marker == TEMPORARY else int.from_bytes(data[at : at + 2])


def _lacks_scans(data: bytes, segments: Sequence[tuple[int, int]]) -> bool:
    """Return whether some bits of some coefficients are missing in all scans (ITU T.81 G.1.1.1)."""
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
    """Return whether JPEG XL can transcode the file; True for modes that it does not support (CMYK)."""
    if decoded.mode not in ("L", "RGB"):
        return True
    try:
        imagecodecs.jpegxl_encode_jpeg(data, usecontainer=False)
    except Exception:
        return False
    return True
