"""Decoding of plain images: files that Pillow decodes (PNG, JPEG, BMP, TIFF, PGM, WebP), and arrays."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from dcube.data.readers import tiff_modes
from dcube.data.readers.damaged_jpeg import LARGEST, compressed_part, refuse_damaged_jpeg
from dcube.data.readers.limits import limits
from dcube.data.readers.raw_image import RawImage, UnusableImageError, check_size
from dcube.data.readers.tiff_pages import open_directory, why_not_whole
from dcube.data.readers.unread_formats import describe_unread
from dcube.errors import DcubeError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".webp"})
DEEPEST = 65_535.0
SAMPLE_FORMAT, SIGNED = 339, 2  # TIFF tag and value
SCALE = "scale them to 8 or 16 bits, or store them as DICOM or NIfTI, for which there is a window"
SEPARATE = 2  # value of the TIFF tag PlanarConfiguration


def read_file(path: Path) -> RawImage:
    """Decode an image file.

    Raises:
        UnusableImageError: if the file is not a single, complete image of an accepted size.
    """
    if path.stat().st_size == 0:
        raise UnusableImageError("empty file")
    tiff_modes.register()
    try:
        # Pass a file object: given a name, Pillow memory-maps uncompressed TIFF and scrambles rotated ones.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            if image.format == "TIFF" and (why := why_not_whole(path, file, open_directory(file))):
                raise UnusableImageError(why)
            check_size(image.width, image.height)
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise UnusableImageError("several images in one file")
            _refuse_misread(image)
            _scale_transparency(image)
            if image.format in ("JPEG", "MPO"):
                file.seek(0)
                data = file.read(LARGEST)
                compressed = compressed_part(data)
                image.load()
                refuse_damaged_jpeg(data, compressed, image)
            image.load()
            white_is_zero, full = _range(image)
            grey_or_rgb = _grey_or_rgb(ImageOps.exif_transpose(image), white_is_zero, full)
            return RawImage.checked(grey_or_rgb, image.mode)
    except Image.DecompressionBombError:
        raise UnusableImageError(f"more pixels than DCUBE_MAX_MEGAPIXELS={limits().max_megapixels:g}") from None
    except (UnusableImageError, DcubeError):
        raise
    except Exception:  # Pillow's decoders raise errors of any type on damaged files
        raise UnusableImageError(describe_unread(path)) from None


def read_array(pixels: np.ndarray) -> RawImage:
    """Convert an array (h, w), (h, w, 1) or (h, w, 3) of uint8, uint16 or floats in 0…1.

    Raises:
        UnusableImageError: if the size or the values are not accepted, or the image is constant.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    check_size(pixels.shape[1], pixels.shape[0])
    mode = f"{pixels.dtype.name}{' RGB' if pixels.ndim == 3 else ''}"
    if pixels.dtype != np.uint8:
        pixels = _to_byte_range(pixels, 1.0 if pixels.dtype.kind == "f" else DEEPEST)
    if pixels.ndim == 3:  # Pillow has no colour mode with more than 8 bits
        pixels = np.rint(pixels).astype(np.uint8)
    return RawImage.checked(Image.fromarray(np.ascontiguousarray(pixels)), mode)


def _grey_or_rgb(image: Image.Image, white_is_zero: bool, full: float) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image if "transparency" not in image.info else _over_black(image)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.array(image)
        values[values == image.info.get("transparency")] = 0
        grey = _to_byte_range(values, full)
        return Image.fromarray(255 - grey if white_is_zero else grey)
    if image.has_transparency_data:
        return _over_black(image)
    return image.convert("L" if image.mode == "1" else "RGB")


def _range(image: Image.Image) -> tuple[bool, float]:
    """Return whether 0 is white (Pillow inverts this only up to 8 bits) and the largest value of a deep image."""
    full = 1.0 if image.mode == "F" else DEEPEST
    if image.format != "TIFF":
        return False, full
    bits = image.tag_v2.get(ExifTags.Base.BitsPerSample, (1,))[0]  # type: ignore[attr-defined]
    signed = SIGNED in image.tag_v2.get(SAMPLE_FORMAT, ())  # type: ignore[attr-defined]
    if bits == 8 and signed and np.asarray(image).max() > 127:
        raise UnusableImageError("signed 8-bit values below 0: add 128 and store them unsigned")
    if image.mode == "I" and bits == 32 and not signed and np.asarray(image).min() < 0:  # Pillow reads them as signed
        raise UnusableImageError(f"pixel values of more than 2147483647 outside 0…{DEEPEST:g}: {SCALE}")
    return image.tag_v2.get(ExifTags.Base.PhotometricInterpretation) == 0, 4095.0 if bits == 12 else full  # type: ignore[attr-defined]


def _refuse_misread(image: Image.Image) -> None:
    """Raise `UnusableImageError` for TIFF files that Pillow decodes to wrong values."""
    if image.format != "TIFF":
        return
    tags, (codec, _, _, arguments) = image.tag_v2, image.tile[0]  # type: ignore[attr-defined]
    bits, planes = tags.get(ExifTags.Base.BitsPerSample, (1,)), tags.get(ExifTags.Base.PlanarConfiguration)
    if codec == "raw" and planes == SEPARATE and len(bits) > 1 and bits[0] > 8:
        raise UnusableImageError(f"{bits[0]}-bit colour in separate planes: store it pixel by pixel, or as PNG")
    if codec == "libtiff" and "B" in arguments[0].partition(";")[2]:  # libtiff has already swapped the bytes
        raise UnusableImageError("signed or float values, big-endian and compressed: store them uncompressed")


def _scale_transparency(image: Image.Image) -> None:
    """Scale the transparent value of a PNG to 8 bits: Pillow scales the samples, but not this value."""
    transparent = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(transparent, int | tuple):
        return
    stored = image.tile[0].args  # type: ignore[attr-defined]
    if stored == "RGB;16B":
        raise UnusableImageError("a transparent colour of 16 bits: convert it to 8 bits, or remove the transparency")
    if bits := {"L;2": 2, "L;4": 4}.get(stored):
        image.info["transparency"] = transparent * 255 // (2**bits - 1)


def _over_black(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    pixels = np.asarray(rgba)
    if not pixels[..., 3].any() and (pixels != pixels[0, 0]).any():
        raise UnusableImageError("transparent throughout, with colours: save it without its alpha channel")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")


def _to_byte_range(values: np.ndarray, full: float) -> np.ndarray:
    """Scale values to float32 in 0…255 by the range of the stored type.

    The image's own range is not used, so that equal tissue is equally bright in all images.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnusableImageError("NaN or infinite pixels")
    if values.min() < 0 or values.max() > full:
        raise UnusableImageError(f"pixel values {values.min():g}…{values.max():g} outside 0…{full:g}: {SCALE}")
    return (values / full * 255.0).astype(np.float32)
