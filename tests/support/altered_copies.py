"""Copies of a picture with other bytes, as they arise when it is passed on over the web."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance

from dcube.config.schema import Data
from dcube.data.checks.near_duplicates import group_near_duplicates, thumbnail

RECODED, SMALLER, CROPPED = "re-encoded", "half as large", "cropped by 1 %"


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer).convert("L")


def crop(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((w // 100, h // 100, w - w // 100, h - h // 100))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    RECODED: jpeg,
    SMALLER: lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "of another gamma": lambda image: image.point([round(255 * (v / 255) ** 0.8) for v in range(256)]),
    CROPPED: crop,
}


def groups_of(images: list[Image.Image], data: Data) -> np.ndarray:
    """Return group numbers (n,): equal for images that are taken for one picture."""
    return group_near_duplicates([thumbnail(image, data.fit).tobytes() for image in images])
