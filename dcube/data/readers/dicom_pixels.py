"""The pixels of a DICOM file, read in place: one frame of a cine loop takes no more memory than a single image."""

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame, parse_basic_offsets
from pydicom.pixels import as_pixel_options, get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import JPEGBaseline8Bit, JPEGLSTransferSyntaxes, RLELossless

from dcube.data.readers.codestreams import StreamHeader, is_rle_of, is_stream_start, read_stream_header
from dcube.data.readers.damaged_jpeg import compressed_part, refuse_damaged_jpeg
from dcube.data.readers.raw_image import UnusableImageError

KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData", 0x0010: "PixelData"}  # by element of group 7FE0
VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
UNDEFINED = 0xFFFFFFFF
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
JPEG_START_OF_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"
HOSTILE = "damaged or hostile: the compressed pixels are"


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels are in an open file: `length` bytes from `start`, without what is cut off."""

    file: BinaryIO
    keyword: str
    vr: str
    start: int
    length: int


def find_pixels(file: BinaryIO, path: Path, dataset: Dataset) -> PixelElement | None:
    """Return the pixels of a file whose header has just been read; None if it has none."""
    tag = file.read(8)
    order = "<" if dataset.original_encoding[1] else ">"
    if len(tag) < 8 or (keyword := KEYWORDS.get(struct.unpack(f"{order}2H", tag[:4])[1])) is None:
        return None
    vr = tag[4:6] if tag[4:6] in VRS else b""  # the even length of an implicit VR is none of these
    (length,) = struct.unpack(f"{order}L", file.read(4) if vr else tag[4:])
    start = file.tell()
    left = path.stat().st_size - start
    length = left if length == UNDEFINED else min(length, left)
    return PixelElement(file, keyword, vr.decode(), start, length) if length > 0 else None


def decode_frame(dataset: Dataset, element: PixelElement, frame: int) -> np.ndarray:
    """Decode one frame to an array (h, w) or (h, w, 3).

    Raises:
        UnusableImageError: if its format is not supported, if it is damaged, or if its size is not the header's.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        decoder = None
    if decoder is None or not decoder.is_available:
        raise UnusableImageError(f"a transfer syntax that is not supported ({syntax.name})")
    options = as_pixel_options(dataset, pixel_keyword=element.keyword, pixel_vr=element.vr)
    if not syntax.is_encapsulated:
        return _decode(decoder, element, frame, options)
    stream = _frame_stream(element, frame, options)
    _refuse_other_size(dataset, stream)
    if syntax in JPEGLSTransferSyntaxes and stream.rfind(JPEG_END) < stream.rfind(JPEG_START_OF_SCAN):
        raise UnusableImageError("damaged or cut off: a JPEG-LS without its end")  # CharLS takes seconds to notice
    if syntax != JPEGBaseline8Bit:
        return _decode(decoder, element, frame, options)
    compressed = compressed_part(stream)
    pixels = _decode(decoder, element, frame, options)
    refuse_damaged_jpeg(stream, compressed, Image.fromarray(pixels))
    return pixels


def count_streams(element: PixelElement, path: Path) -> int:
    """Count the frames of encapsulated pixels: the fragments that begin a compressed stream.

    Raises:
        UnusableImageError: if the end of the pixels is missing.
    """
    if (count := _count_streams(path, path.stat().st_mtime_ns, element.start)) is None:
        raise UnusableImageError("damaged, perhaps cut off: the end of the pixels is missing")
    return count


@lru_cache(maxsize=64)  # a cine loop has thousands of frames, and each is read alone
def _count_streams(path: Path, changed: int, start: int) -> int | None:
    with path.open("rb") as file:
        file.seek(start)
        parse_basic_offsets(file)
        count = 0
        while (item := file.read(16))[:4] == ITEM:
            count += is_stream_start(item[8:])
            file.seek(int.from_bytes(item[4:8], "little") + 8 - len(item), 1)
    return count if item.startswith(DELIMITER) else None


def _decode(decoder: Decoder, element: PixelElement, frame: int, options: dict[str, Any]) -> np.ndarray:
    element.file.seek(element.start)
    try:
        return decoder.as_array(element.file, index=frame, **options)[0]
    except Exception:
        raise _undecodable(decoder.UID.name) from None


def _frame_stream(element: PixelElement, frame: int, options: dict[str, Any]) -> bytes:
    element.file.seek(element.start)
    try:
        return get_frame(
            element.file,
            frame,
            number_of_frames=int(options["number_of_frames"]),
            extended_offsets=options.get("extended_offsets"),
        )
    except Exception:
        raise UnusableImageError("damaged, perhaps cut off: a compressed frame is missing") from None


def _refuse_other_size(dataset: Dataset, stream: bytes) -> None:
    """Raise `UnusableImageError` if a compressed frame is of another size than the header says."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == RLELossless:
        if not is_rle_of(stream, dataset.Rows * dataset.Columns):
            size = f"{dataset.Columns} × {dataset.Rows}"
            raise UnusableImageError(f"{HOSTILE} more than {size}: fetch the file again")
        return
    if (found := read_stream_header(stream)) is None:
        raise _undecodable(syntax.name)
    stated = StreamHeader(dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.BitsAllocated)
    is_equal = (found.rows, found.columns, found.samples) == (stated.rows, stated.columns, stated.samples)
    if not is_equal or found.bits > stated.bits:
        raise UnusableImageError(f"{HOSTILE} {found}, and the header says {stated}: fetch the file again")


def _undecodable(syntax: str) -> UnusableImageError:
    return UnusableImageError(f"pixels that cannot be decoded, perhaps damaged ({syntax})")
