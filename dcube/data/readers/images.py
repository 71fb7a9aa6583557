"""Plain images: files that Pillow decodes (PNG, JPEG, BMP, TIFF, PGM, WebP), and arrays."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dcube.data.readers.raw_image import LARGEST_SIDE, RawImage, UnusableImageError, check_size

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".webp"})


def read_file(path: Path) -> RawImage:
    """Decode an image file.

    Raises:
        UnusableImageError: for anything that is not a single, whole image of a sensible size.
    """
    if path.stat().st_size == 0:
        raise UnusableImageError("empty file")
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(image.width, image.height)
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise UnusableImageError("several images in one file")
            image.load()
            return RawImage.checked(_grey_or_rgb(ImageOps.exif_transpose(image)), image.mode)
    except Image.DecompressionBombError:
        raise UnusableImageError(f"too large: more than {LARGEST_SIDE} pixels a side or 179 megapixels") from None
    except UnusableImageError:
        raise
    except Exception:  # Pillow's decoders raise all kinds of errors on damaged files
        raise UnusableImageError("not a readable image") from None


def read_array(pixels: np.ndarray) -> RawImage:
    """The same for an array (h, w), (h, w, 1) or (h, w, 3) of uint8, uint16 or floats in 0…1."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    check_size(pixels.shape[1], pixels.shape[0])
    mode = f"{pixels.dtype}{' RGB' if pixels.ndim == 3 else ''}"
    if pixels.dtype != np.uint8:
        pixels = _to_byte_range(pixels)
    if pixels.ndim == 3:  # Pillow has no colour of more than 8 bits
        pixels = np.rint(pixels).astype(np.uint8)
    return RawImage.checked(Image.fromarray(np.ascontiguousarray(pixels)), mode)


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image if "transparency" not in image.info else _over_black(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_byte_range(np.asarray(image)))
    if image.has_transparency_data:
        return _over_black(image)
    return image.convert("L" if image.mode == "1" else "RGB")


def _over_black(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")


def _to_byte_range(values: np.ndarray) -> np.ndarray:
    """float32 in 0…255. The range is the stored type's, never the image's own: equal tissue stays equally bright."""
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise UnusableImageError("NaN or infinite pixels")
        full = 1.0
    else:
        full = 65_535.0
    if values.min() < 0 or values.max() > full:
        raise UnusableImageError(f"pixel values {values.min():g}…{values.max():g} outside 0…{full:g}")
    return (values / full * 255.0).astype(np.float32)
