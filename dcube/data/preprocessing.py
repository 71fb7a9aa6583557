"""Conversion of raw pixels into network inputs: the same function for training, `predict` and serving."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageOps

from dcube.artifacts.schemas.dataset import InputSpec
from dcube.config.schema import Fit
from dcube.data.readers.raw_image import BlankSliceError, ConstantImageError, RawImage, UnusableImageError


@dataclass(frozen=True)
class ModelInput:
    """One preprocessed image.

    Attributes:
        image: (C, S, S) uint8 for CNNs, with S the `image_size`.
        diffusion_image: (C, s, s) uint8 for the U-ViT, with s the `diffusion_image_size`.
        raw: the cropped image that both were made from.
    """

    image: np.ndarray
    diffusion_image: np.ndarray
    raw: RawImage


def preprocess(raw: RawImage, spec: InputSpec) -> ModelInput:
    """Crop an image, fit it to a square at both sizes and convert it to grey or colour. Readers apply the window.

    Raises:
        UnusableImageError: if the image is smaller than the crop.
        ConstantImageError: if all pixels of the square are equal.
        BlankSliceError: if all pixels of the square are equal and the file has several frames or slices.
    """
    raw = crop(raw, spec.crop)
    image = to_square(raw.image, spec.image_size, spec.channels, spec.fit)
    if image.min() == image.max():
        error = BlankSliceError if raw.multi_frame else ConstantImageError
        raise error(f"constant within the square that fit: {spec.fit} leaves")
    if spec.diffusion_image_size == spec.image_size:
        return ModelInput(image, image, raw)
    return ModelInput(image, to_square(raw.image, spec.diffusion_image_size, spec.channels, spec.fit), raw)


def crop(raw: RawImage, side: int | None) -> RawImage:
    """Cut out the square of `side` pixels around the image's centre, shifted to lie inside the image.

    Raises:
        UnusableImageError: if a side of the image is shorter than `side`.
    """
    if side is None:
        return raw
    width, height = raw.image.size
    if min(width, height) < side:
        raise UnusableImageError(f"{width} × {height} pixels, smaller than the crop of {side}")
    row, column = raw.centre or (height / 2, width / 2)
    top = round(min(max(row - side / 2, 0), height - side))
    left = round(min(max(column - side / 2, 0), width - side))
    return replace(raw, image=raw.image.crop((left, top, left + side, top + side)), centre=None)


def to_square(image: Image.Image, size: int, channels: int, fit: Fit) -> np.ndarray:
    """Return the image as uint8 (channels, size, size), resized with antialiasing (Pillow's bicubic filter)."""
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
