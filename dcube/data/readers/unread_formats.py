"""Description of pictures that cannot be read, from their headers."""

from pathlib import Path

from PIL import ExifTags, TiffImagePlugin

from dcube.data.readers.damaged_jpeg import frame_header
from dcube.data.readers.tiff_pages import open_directory, why_not_whole

BYTES_READ = 2**20  # a JPEG states its bit depth in them
SAMPLES = {1: "integers", 2: "signed integers", 3: "floats"}
CONVERT = "convert it to PNG"
UNKNOWN = "not a readable image"


def describe_unread(path: Path) -> str:
    """Return why Pillow refuses a file; `UNKNOWN` if the header does not tell."""
    try:
        with path.open("rb") as file:
            start = file.read(BYTES_READ)
            if start.startswith(b"\xff\xd8") and (bits := frame_header(start)[0]) > 8:
                return f"a JPEG of {bits} bits is not supported: {CONVERT}"
            if start[:4] in (b"II*\0", b"MM\0*"):
                tags = open_directory(file)
                return why_not_whole(path, file, tags) or _describe_tiff(tags)
    except Exception:  # the header is damaged too
        pass
    return UNKNOWN


def _describe_tiff(tags: TiffImagePlugin.ImageFileDirectory_v2) -> str:
    if ExifTags.Base.ImageWidth not in tags:
        return UNKNOWN
    bits = tags.get(ExifTags.Base.BitsPerSample, (1,))
    kind = SAMPLES.get(tags.get(339, (1,))[0], "values")
    inverted = ", 0 for white" if tags.get(ExifTags.Base.PhotometricInterpretation) == 0 else ""
    order = ", big-endian" if tags.prefix == b"MM" else ""
    compression = TiffImagePlugin.COMPRESSION_INFO.get(tags.get(ExifTags.Base.Compression, 1), "unknown")
    packed = "" if compression == "raw" else f", compression {compression}"
    what = f"{len(bits)} × {bits[0]}-bit {kind}{order}{inverted}{packed}"
    return f"not a readable image: a TIFF of {what}, damaged or not supported: {CONVERT}"
