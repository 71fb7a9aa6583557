"""What every reader returns: one decoded image, or the reason why it cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from PIL import Image

from dcube.data.readers.limits import limits
from dcube.errors import DcubeError

SMALLEST_SIDE = 8
LARGEST_SIDE = 16_384
EQUAL_SPACING = 1.01


class UnusableImageError(Exception):
    """Why one image cannot be used, in a few words. The caller knows the file."""


class ConstantImageError(UnusableImageError):
    """The image shows nothing: every pixel has the same value."""


class BlankSliceError(ConstantImageError):
    """So does a frame or slice among others, which is left out."""


@dataclass(frozen=True)
class RawImage:
    """One decoded image.

    Attributes:
        image: upright, mode `L`, `RGB` or `F` (grey of more than 8 bits, as floats in 0…255).
        mode: how it was stored, in Pillow's names, e.g. `I;16` or `RGBA`; for arrays in NumPy's.
        brightest: its largest value, 0…255.
        modality: the device type, as a DICOM code, e.g. `CT`; empty where the file does not say.
        multi_frame: whether its file holds several frames or slices. Some of these may show nothing (air above the
            head).
        centre: (row, column) that a crop is centred on; None: the middle of the image.
    """

    image: Image.Image
    mode: str
    brightest: float
    modality: str = ""
    multi_frame: bool = False
    centre: tuple[float, float] | None = None

    @classmethod
    def checked(cls, image: Image.Image, mode: str, modality: str = "", multi_frame: bool = False) -> Self:
        """Raise `ConstantImageError` for an image that shows nothing, unless it is a frame or slice among others."""
        extrema = image.getextrema()
        bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
        if all(low == high for low, high in bands) and not multi_frame:
            raise ConstantImageError("constant: every pixel is the same")
        return cls(image, mode, max(high for _, high in bands), modality, multi_frame)


@contextmanager
def decoding(kind: str) -> Iterator[None]:
    """Turn every error of a decoder into one `UnusableImageError`.

    Decoders raise all kinds of errors on damaged files, and some of them quote the file's content.
    """
    try:
        yield
    except (UnusableImageError, FileNotFoundError, DcubeError):
        raise
    except Exception:
        raise UnusableImageError(f"not a readable {kind}") from None


def check_size(width: int, height: int) -> None:
    """Raise `UnusableImageError` for an image that is too small to show anything, or too large for memory."""
    if min(width, height) < SMALLEST_SIDE:
        raise UnusableImageError(f"{width} × {height} pixels, smaller than {SMALLEST_SIDE} a side")
    if max(width, height) > LARGEST_SIDE:
        raise UnusableImageError(f"{width} × {height} pixels, larger than {LARGEST_SIDE} a side")
    if width * height > 1e6 * (limit := limits().max_megapixels):
        raise UnusableImageError(f"{width} × {height} pixels, more than DCUBE_MAX_MEGAPIXELS={limit:g}")


def check_frames(count: int) -> None:
    """Raise `UnusableImageError` for a file of more frames or slices than anybody has."""
    if count > (limit := limits().max_frames):
        raise UnusableImageError(f"{count} frames or slices, more than DCUBE_MAX_FRAMES={limit}")


def square_pixels(image: Image.Image, spacing: tuple[float, float]) -> Image.Image:
    """Resample to the finer of the two spacings (between rows, between columns), so that pixels are square."""
    finest = min(spacing)
    if max(spacing) <= finest * EQUAL_SPACING:
        return image
    height, width = round(image.height * spacing[0] / finest), round(image.width * spacing[1] / finest)
    check_size(width, height)
    return image.resize((width, height), Image.Resampling.BICUBIC)
