"""The result of every reader: one decoded image, or an error with the reason why it cannot be used."""

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
    """An image cannot be used. The message gives the reason without the file, which the caller knows."""


class ConstantImageError(UnusableImageError):
    """The image shows nothing: every pixel has the same value."""


class BlankSliceError(ConstantImageError):
    """A frame or slice of a file with several shows nothing. It is left out."""


@dataclass(frozen=True)
class RawImage:
    """One decoded image.

    Attributes:
        image: upright image of mode `L`, `RGB` or `F` (grey of more than 8 bits, as floats in 0…255).
        mode: storage mode: a name of Pillow, e.g. `I;16` or `RGBA`, a NumPy type, or a description of medical files.
        brightest: largest value, 0…255.
        modality: DICOM code of the device type, e.g. `CT`; empty if the file does not say.
        multi_frame: whether the file has several frames or slices. Some of them may show nothing (air above the head).
        own_range: the measured values that are black and white, where no window but the file's number format gives
            them: other files may show the same values otherwise.
        centre: centre of a crop, (row, column) in pixels; None means the middle of the image.
    """

    image: Image.Image
    mode: str
    brightest: float
    modality: str = ""
    multi_frame: bool = False
    own_range: tuple[float, float] | None = None
    centre: tuple[float, float] | None = None

    @classmethod
    def checked(
        cls,
        image: Image.Image,
        mode: str,
        modality: str = "",
        multi_frame: bool = False,
        own_range: tuple[float, float] | None = None,
    ) -> Self:
        """Make a `RawImage` and determine its brightest value.

        Raises:
            ConstantImageError: if all pixels are equal, unless the file has several frames or slices.
        """
        extrema = image.getextrema()
        bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
        if all(low == high for low, high in bands) and not multi_frame:
            raise ConstantImageError("constant: every pixel is the same")
        return cls(image, mode, max(high for _, high in bands), modality, multi_frame, own_range)


@contextmanager
def decoding(kind: str) -> Iterator[None]:
    """Context manager that turns every error of a decoder into an `UnusableImageError`.

    Decoders raise errors of any type on damaged files, and some of their messages quote the file's content.
    """
    try:
        yield
    except (UnusableImageError, FileNotFoundError, DcubeError):
        raise
    except Exception:
        raise UnusableImageError(f"not a readable {kind}") from None


def check_size(width: int, height: int) -> None:
    """Raise `UnusableImageError` if an image is too small to show anything, or too large for memory."""
    if min(width, height) < SMALLEST_SIDE:
        raise UnusableImageError(f"{width} × {height} pixels, smaller than {SMALLEST_SIDE} a side")
    if max(width, height) > LARGEST_SIDE:
        raise UnusableImageError(f"{width} × {height} pixels, larger than {LARGEST_SIDE} a side")
    if width * height > 1e6 * (limit := limits().max_megapixels):
        raise UnusableImageError(f"{width} × {height} pixels, more than DCUBE_MAX_MEGAPIXELS={limit:g}")


def check_frames(count: int) -> None:
    """Raise `UnusableImageError` if a file has implausibly many frames or slices."""
    if count > (limit := limits().max_frames):
        raise UnusableImageError(f"{count} frames or slices, more than DCUBE_MAX_FRAMES={limit}")


def square_pixels(image: Image.Image, spacing: tuple[float, float]) -> Image.Image:
    """Resample an image to square pixels of the finer spacing.

    Args:
        spacing: spacing between rows and between columns.
    """
    finest = min(spacing)
    if max(spacing) <= finest * EQUAL_SPACING:
        return image
    height, width = round(image.height * spacing[0] / finest), round(image.width * spacing[1] / finest)
    check_size(width, height)
    return image.resize((width, height), Image.Resampling.BICUBIC)
