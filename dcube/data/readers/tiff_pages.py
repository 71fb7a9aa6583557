"""TIFF files whose first image is not the whole picture: thumbnails, raw photos, and stacks that Pillow cannot see."""

import math
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

RAW_SUFFIXES = frozenset(
    f".{name}" for name in re.findall(r"\w+", "3fr arw cr2 dcr dng erf fff iiq kdc mef mos nef nrw pef sr2 srf srw")
)
NEW_SUBFILE_TYPE, SUBFILE_TYPE, SUB_IFDS, IMAGE_DEPTH, METAMORPH, DNG_VERSION = 254, 255, 330, 32997, 33629, 50706
REDUCED, OLD_REDUCED = 1, 2  # a bit of NewSubfileType, and a value of SubfileType
SENSOR = (32803, 34892)  # photometric interpretations of the values of a camera's sensor
STRIPS, TILES, UNCOMPRESSED, BIG = 273, 324, 1, 43
MOST_SUB_IFDS = 64
RAW_PHOTO = "a raw photo, of which only the preview could be read: convert it to PNG or TIFF"
IMAGEJ = re.compile(r"ImageJ=.*?^images=(\d+)", re.DOTALL | re.MULTILINE)
TIFFFILE = re.compile(r'(?:\{"shape": ?\[|shape=\()([\d, ]+)')


def open_directory(file: BinaryIO) -> ImageFileDirectory_v2:
    """Read the tags of a TIFF's first image."""
    start = _file_start(file)
    tags = ImageFileDirectory_v2(start)
    file.seek(tags.next)
    tags.load(file)
    return tags


def why_not_whole(path: Path, file: BinaryIO, tags: ImageFileDirectory_v2) -> str:
    """Return why the first image of a TIFF is not the whole picture, and what to do; empty if it is.

    The first page of a pyramid has the full size; its reduced pages, in sub-directories, are not used.
    """
    is_sensor = tags.get(ExifTags.Base.PhotometricInterpretation) in SENSOR
    if path.suffix.lower() in RAW_SUFFIXES or DNG_VERSION in tags or is_sensor:
        return RAW_PHOTO
    reduced = tags.get(NEW_SUBFILE_TYPE, 0) & REDUCED or tags.get(SUBFILE_TYPE) == OLD_REDUCED
    others = _sub_images(file, tags)
    may_have_others = others or tags.next or len(_file_start(file)) > 8  # Pillow skips the sub-directories of a BigTIFF
    if (reduced and may_have_others) or any(_pixels(other) > _pixels(tags) for other in others):
        return "begins with a reduced image (a thumbnail) of the picture in it: save the picture alone, as PNG or TIFF"
    if (planes := _planes(path, tags)) > 1:
        return f"several images in one file: a stack of {planes}"
    return ""


def _file_start(file: BinaryIO) -> bytes:
    file.seek(0)
    start = file.read(8)
    return start + file.read(8) if BIG in start[2:4] else start


def _sub_images(file: BinaryIO, tags: ImageFileDirectory_v2) -> list[ImageFileDirectory_v2]:
    offsets = tags.get(SUB_IFDS, ())
    found = []
    for offset in (offsets if isinstance(offsets, tuple) else (offsets,))[:MOST_SUB_IFDS]:
        other = ImageFileDirectory_v2(_file_start(file))
        file.seek(offset)
        other.load(file)
        found.append(other)
    return found


def _pixels(tags: ImageFileDirectory_v2) -> int:
    return int(tags.get(ExifTags.Base.ImageWidth, 0) * tags.get(ExifTags.Base.ImageLength, 0))


def _planes(path: Path, tags: ImageFileDirectory_v2) -> int:
    """Return how many images lie behind one another in the place of the only one that the tags describe.

    ImageJ and tifffile say it in the description, which other programs copy to other images: it counts only where the
    file has as many bytes.
    """
    if (said := max(int(tags.get(IMAGE_DEPTH, 1)), np.size(tags.get(METAMORPH, 1)))) > 1:
        return said
    description = str(tags.get(ExifTags.Base.ImageDescription, ""))
    bits = tags.get(ExifTags.Base.BitsPerSample, (1,))
    if found := IMAGEJ.match(description):
        said = int(found[1])
    elif found := TIFFFILE.match(description):
        said = math.prod(map(int, re.findall(r"\d+", found[1]))) // max(1, _pixels(tags) * len(bits))
    starts = tags.get(STRIPS) or tags.get(TILES)
    if said < 2 or not starts or tags.get(ExifTags.Base.Compression, UNCOMPRESSED) != UNCOMPRESSED:
        return 1
    plane = _pixels(tags) * sum(bits) / 8
    return said if path.stat().st_size - min(starts) >= said * plane else 1
