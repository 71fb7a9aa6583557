"""Conversion of stored DICOM values into grey values: modality LUT, then window or VOI LUT (PS3.3 C.11)."""

from typing import cast, get_args

import numpy as np
from pydicom.dataset import Dataset

from dcube.data.readers.dicom_header import first_value, modality_of, number
from dcube.data.readers.dicom_kinds import SLICED
from dcube.data.readers.raw_image import UnusableImageError
from dcube.data.readers.windows import Function, Window


def to_grey(
    pixels: np.ndarray, dataset: Dataset, layers: list[Dataset], window: Window | None
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Return grey values as float32 in 0…255, before MONOCHROME1 is inverted, and `RawImage.own_range`."""
    values, full = _modality_lut(pixels, dataset, layers)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnusableImageError("NaN or infinite pixels")
    if window is None and (luts := first_value(layers, "VOILUTSequence")):
        values, ends = _look_up(values, luts[0], dataset, signed=full is None or full[0] < 0)
        window = _between(*ends)
    if window := window or _own_window(layers):
        return window.apply(values), None
    if full is None:
        raise UnusableImageError("floats without a window: set data.window_center and data.window_width")
    is_measured = modality_of(dataset) in SLICED or _rescale(layers) != (1, 0)
    return _between(*full).apply(values), full if is_measured else None


def _between(low: float, high: float) -> Window:
    return Window((low + high) / 2, high - low)


def _modality_lut(
    pixels: np.ndarray, dataset: Dataset, layers: list[Dataset]
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Return the values in the modality's units, and the range that the stored bits can represent (None for floats)."""
    if luts := first_value(layers, "ModalityLUTSequence"):
        return _look_up(pixels, luts[0], dataset, signed=bool(dataset.get("PixelRepresentation")))
    slope, intercept = _rescale(layers)
    if slope == 0:
        raise UnusableImageError("a rescale slope of 0")
    values = pixels
    if (slope, intercept) != (1, 0):
        values = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if pixels.dtype.kind == "f":
        return values, None
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation
    stored = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low, high = sorted(slope * value + intercept for value in stored)
    return values, (low, high)


def _rescale(layers: list[Dataset]) -> tuple[float, float]:
    slope, intercept = (number(layers, name) for name in ("RescaleSlope", "RescaleIntercept"))
    return 1.0 if slope is None else slope, intercept or 0.0


def _look_up(
    values: np.ndarray, lut: Dataset, dataset: Dataset, signed: bool
) -> tuple[np.ndarray, tuple[float, float]]:
    """Apply a LUT (PS3.3 C.11.1.1.1), and return the values and their range.

    pydicom's own function is not used, because it wraps values around before it clips them.

    Args:
        signed: whether values may be negative. This decides how the first mapped value is stored (C.11.2.1.1); pydicom
            has to guess it in files without explicit VRs.
    """
    entries, first, bits = (int(number) for number in lut.LUTDescriptor)
    entries = entries % 2**16 or 2**16
    if not 8 <= bits <= 16:
        raise UnusableImageError(f"a LUT of {bits} bits")
    if dataset.original_encoding[0]:
        first %= 2**16
    if signed and first >= 2**15:
        first -= 2**16
    table = _lut_table(lut, entries, bits, "<" if dataset.original_encoding[1] else ">")
    places = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    return table[places], (0.0, 2.0**bits - 1)


def _lut_table(lut: Dataset, entries: int, bits: int, order: str) -> np.ndarray:
    """Return the LUT entries; 8-bit entries may be packed in pairs into words, the first one in the low byte."""
    data = lut.LUTData
    words = np.frombuffer(data, f"{order}u2") if isinstance(data, bytes) else np.atleast_1d(data).astype(np.uint16)
    if len(words) >= entries:
        return words[:entries]
    if bits == 8 and len(words) == (entries + 1) // 2:
        return words.astype("<u2").view(np.uint8)[:entries]
    raise UnusableImageError("a LUT with fewer entries than it says")


def _own_window(layers: list[Dataset]) -> Window | None:
    """Return the file's first window; None if it has none or an invalid one (e.g. a width of 0)."""
    center, width = number(layers, "WindowCenter"), number(layers, "WindowWidth")
    function = first_value(layers, "VOILUTFunction") or "LINEAR"
    if function not in get_args(Function):
        raise UnusableImageError("a VOI LUT function that is not supported")
    if center is None or width is None:
        return None
    window = Window(center, width, cast(Function, function))
    return window if window.valid else None
