"""Sizes of compressed frames, read from their own headers before anything is decoded.

A decoder allocates what the stream says, not what the file around it says: two kilobytes of JPEG 2000 can hold 400
megapixels of one colour.
"""

import struct
from dataclasses import dataclass
from itertools import pairwise

from dcube.data.readers.damaged_jpeg import frame_header

JPEG, JPEG_2000, JP2 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
RLE_HEADER, RLE_SEGMENTS = 64, 15  # bytes, and most segments (PS3.5 G.5)
MOST_TILES = 2**14  # OpenJPEG allocates 6 kB for each


@dataclass(frozen=True)
class StreamHeader:
    """The size of an image as its compressed stream states it; `bits` are those of the deepest sample."""

    rows: int
    columns: int
    samples: int
    bits: int

    def __str__(self) -> str:
        return f"{self.columns} × {self.rows} pixels of {self.samples} × {self.bits} bits"


def is_stream_start(start: bytes) -> bool:
    """Return whether a fragment with these first 8 bytes begins a stream of any format: it then begins a frame."""
    segments, first = struct.unpack("<2L", start.ljust(8, b"\0")[:8])
    is_rle = 1 <= segments <= RLE_SEGMENTS and first == RLE_HEADER
    return is_rle or start.startswith((JPEG, JPEG_2000, JP2))


def read_stream_header(stream: bytes) -> StreamHeader | None:
    """Return the header of a JPEG, JPEG-LS or JPEG 2000 stream; None if it has none, or more than `MOST_TILES`."""
    if stream.startswith(JPEG):
        bits, rows, columns, samples = frame_header(stream)
        return StreamHeader(rows, columns, samples, bits) if bits else None
    at = _codestream(stream)
    if at is None or len(stream) < at + 42:
        return None
    right, bottom, left, top, width, height, samples = struct.unpack_from(">6I8xH", stream, at + 8)  # ISO 15444-1 A.5.1
    depths = stream[at + 42 : at + 42 + 3 * samples : 3]
    columns, rows = right - left, bottom - top
    if not depths or not width or not height or (columns // width + 1) * (rows // height + 1) > MOST_TILES:
        return None
    return StreamHeader(rows, columns, samples, max(depth & 127 for depth in depths) + 1)


def is_rle_of(stream: bytes, pixels: int) -> bool:
    """Return whether the segments of an RLE frame can be planes of so many bytes.

    A run takes at least two bytes for each byte that it stands for, so a longer segment holds more than the plane.
    """
    if len(stream) < RLE_HEADER:
        return False
    count, *offsets = struct.unpack_from("<16L", stream)
    used = [*offsets[:count], len(stream)]
    return all(0 <= end - start <= 2 * pixels + 2 for start, end in pairwise(used))


def _codestream(stream: bytes) -> int | None:
    """Return where the JPEG 2000 codestream begins, in a JP2 file in its box (ISO 15444-1 annex I)."""
    if stream.startswith(JPEG_2000):
        return 0
    at = 0 if stream.startswith(JP2) else len(stream)
    while at + 16 <= len(stream):
        length, kind, long_length = struct.unpack_from(">I4sQ", stream, at)
        header, length = (16, long_length) if length == 1 else (8, length)
        if kind == b"jp2c":
            at += header
            return at if stream.startswith(JPEG_2000, at) else None
        if length < header:
            return None
        at += length
    return None
