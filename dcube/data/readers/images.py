"""Raw images as people have them, and the square uint8 arrays that networks see."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".webp"})
SMALLEST_SIDE = 8
LARGEST_SIDE = 16_384
MOST_PIXELS = 178_956_970  # Pillow's own limit
EQUAL_SPACING = 1.01


class UnusableImageError(Exception):
    """Why one image cannot be used, in a few words. The caller knows the file."""


@contextmanager
def readable(kind: str) -> Iterator[None]:
    """Readers and decoders raise whatever they meet on damaged files, and quote them: all of it is one error here."""
    try:
        yield
    except (UnusableImageError, FileNotFoundError):
        raise
    except Exception:
        raise UnusableImageError(f"no readable {kind}") from None


@dataclass(frozen=True)
class RawImage:
    """One decoded image.

    Attributes:
        image: upright, mode `L`, `RGB` or `F` (grey of more than 8 bits, as floats in 0…255).
        mode: how it was stored, in Pillow's names, e.g. `I;16` or `RGBA`; for arrays in NumPy's.
        brightest: its largest value, 0…255.
        modality: what made it, in DICOM's codes, e.g. `CT`; empty where the file does not say.
        several: whether it is one of several in a file, some of which may show nothing (air above the head).
    """

    image: Image.Image
    mode: str
    brightest: float
    modality: str = ""
    several: bool = False


def read_file(path: Path) -> RawImage:
    """Decode an image file.

    Raises:
        UnusableImageError: for anything that is no single, whole picture of a sensible size.
    """
    if path.stat().st_size == 0:
        raise UnusableImageError("empty file")
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(image.width, image.height)
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise UnusableImageError("several pictures in one file")
            image.load()
            return finish(_grey_or_rgb(ImageOps.exif_transpose(image)), image.mode)
    except Image.DecompressionBombError:
        raise UnusableImageError(f"too large: more than {LARGEST_SIDE} pixels a side or 179 megapixels") from None
    except UnusableImageError:
        raise
    except Exception:  # Pillow's decoders raise whatever they meet on damaged files
        raise UnusableImageError("no readable image") from None


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
    return finish(Image.fromarray(np.ascontiguousarray(pixels)), mode)


def to_square(image: Image.Image, size: int, channels: int, fit: Literal["crop", "pad", "stretch"]) -> np.ndarray:
    """(channels, size, size) uint8. Resizing is antialiased (bicubic over the footprint of a target pixel)."""
    if channels == 1 and image.mode == "RGB":
        image = image.convert("L")
    filter_ = Image.Resampling.BICUBIC
    if fit == "crop":
        square = ImageOps.fit(image, (size, size), filter_)
    elif fit == "pad":
        square = ImageOps.pad(image, (size, size), filter_, color=0)
    else:
        square = image.resize((size, size), filter_)
    pixels = np.asarray(square)
    if square.mode == "F":
        pixels = np.rint(pixels).clip(0, 255).astype(np.uint8)
    if pixels.ndim == 2:
        return np.broadcast_to(pixels, (channels, size, size))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def cropped(raw: RawImage, side: int | None, centre: tuple[float, float] | None = None) -> RawImage:
    """The square of `side` pixels around `centre` (row, column; else the middle), moved inside where it hangs over.

    Raises:
        UnusableImageError: where the image is smaller than that.
    """
    if side is None:
        return raw
    width, height = raw.image.size
    if min(width, height) < side:
        raise UnusableImageError(f"{width} × {height} pixels, smaller than the crop of {side}")
    row, column = centre or (height / 2, width / 2)
    top = round(min(max(row - side / 2, 0), height - side))
    left = round(min(max(column - side / 2, 0), width - side))
    return replace(raw, image=raw.image.crop((left, top, left + side, top + side)))


def square_pixels(image: Image.Image, spacing: tuple[float, float]) -> Image.Image:
    """Resample to the finer of the two spacings (between rows, between columns), so that a pixel is square."""
    finest = min(spacing)
    if max(spacing) <= finest * EQUAL_SPACING:
        return image
    height, width = round(image.height * spacing[0] / finest), round(image.width * spacing[1] / finest)
    check_size(width, height)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def check_size(width: int, height: int) -> None:
    """Raise `UnusableImageError` for what is no picture, or would not fit into memory."""
    if min(width, height) < SMALLEST_SIDE:
        raise UnusableImageError(f"{width} × {height} pixels, smaller than {SMALLEST_SIDE} a side")
    if max(width, height) > LARGEST_SIDE:
        raise UnusableImageError(f"{width} × {height} pixels, larger than {LARGEST_SIDE} a side")
    if width * height > MOST_PIXELS:
        raise UnusableImageError(f"{width} × {height} pixels, more than {MOST_PIXELS / 1e6:.0f} million")


def finish(image: Image.Image, mode: str, modality: str = "", several: bool = False) -> RawImage:
    """Raise `UnusableImageError` for an image that shows nothing, where it is alone in its file."""
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    if all(low == high for low, high in bands) and not several:
        raise UnusableImageError("constant: every pixel is the same")
    return RawImage(image, mode, max(high for _, high in bands), modality, several)


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
