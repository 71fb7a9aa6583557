"""Decoding of DICOM files into grey or colour images.

The steps follow PS3.3 and PS3.4 N.2: stored bits, modality LUT, window (VOI LUT), then inversion of MONOCHROME1.
Only the fields of `RawImage` and `DicomHeader` leave the readers.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from dcube.data.readers.dicom_grey import to_grey
from dcube.data.readers.dicom_header import (
    attribute_layers,
    frame_count,
    modality_of,
    open_dataset,
    pixel_spacing,
)
from dcube.data.readers.dicom_kinds import is_document
from dcube.data.readers.dicom_pixels import PixelElement, count_streams, decode_frame, find_pixels
from dcube.data.readers.raw_image import RawImage, UnusableImageError, check_size, decoding, square_pixels
from dcube.data.readers.windows import Window

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
REQUIRED = ("BitsAllocated", "PhotometricInterpretation", "SamplesPerPixel")
REQUIRED_OF_INTEGERS = ("BitsStored", "PixelRepresentation")  # absent from Float Pixel Data (C.7.6.24)


def read_frame(path: Path, frame: int = 0, window: Window | None = None) -> RawImage:
    """Decode one frame into an image of mode `F` (grey, 0…255) or `RGB`.

    Args:
        frame: index of the frame, from 0.
        window: the values from black to white; None uses the file's first VOI LUT or window, or the whole range of the
            stored bits if it has none. Colour images are not windowed.

    Raises:
        UnusableImageError: if the frame cannot be displayed correctly; the message says why.
    """
    with decoding("DICOM file"), path.open("rb") as file:
        dataset = open_dataset(path, file, stop_before_pixels=True)
        pixels = _decode(dataset, _readable_pixels(dataset, path, find_pixels(file, path, dataset), frame), frame)
        layers, own_range = attribute_layers(dataset, frame), None
        photometric = dataset.PhotometricInterpretation
        if photometric in GREY:
            grey, own_range = to_grey(pixels, dataset, layers, window)
            image = Image.fromarray(255 - grey if photometric == "MONOCHROME1" else grey)
        else:
            if photometric == "PALETTE COLOR":
                pixels = apply_color_lut(pixels, dataset)
            image = Image.fromarray(_to_uint8(pixels, dataset))
        image = square_pixels(image, pixel_spacing(layers) or (1.0, 1.0))
        pixels_type = f"{dataset.BitsStored} bits" if dataset.get("BitsStored") else "floats"
        multi_frame = frame_count(dataset, path) > 1
        mode = f"DICOM {photometric} {pixels_type}"
        return RawImage.checked(image, mode, modality_of(dataset), multi_frame, own_range)


def _readable_pixels(dataset: Dataset, path: Path, element: PixelElement | None, frame: int) -> PixelElement:
    """Return `element`; raise `UnusableImageError` if the header says that its pixels cannot be displayed."""
    if is_document(dataset):
        raise UnusableImageError("not an image of a patient but a document, a plan, a segmentation or a map")
    if not dataset.get("Rows"):  # pydicom returns nothing if the file ends inside an element
        raise UnusableImageError("damaged, perhaps cut off: the size of the image is missing")
    if element is None:
        raise UnusableImageError("no pixels: it is cut off, or its header alone was exported: fetch it again")
    check_size(dataset.get("Columns") or 0, dataset.Rows)
    if frame >= (frames := frame_count(dataset, path)):
        raise UnusableImageError(f"there is no frame {frame}: it has {frames}")
    required = REQUIRED + REQUIRED_OF_INTEGERS if element.keyword == "PixelData" else REQUIRED
    if missing := [keyword for keyword in required if dataset.get(keyword) is None]:
        raise UnusableImageError(f"missing DICOM attribute {missing[0]}")
    if dataset.get("BitsStored") and dataset.get("HighBit", dataset.BitsStored - 1) != dataset.BitsStored - 1:
        raise UnusableImageError("HighBit is not the last stored bit")
    photometric = dataset.PhotometricInterpretation
    samples = {**dict.fromkeys(GREY, 1), "PALETTE COLOR": 1, **dict.fromkeys(COLOUR, 3)}.get(photometric)
    if samples is None or dataset.SamplesPerPixel != samples:
        raise UnusableImageError("a photometric interpretation that is not supported")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_transfer_syntax:
        raise UnusableImageError("unknown transfer syntax")
    if not syntax.is_encapsulated and samples > 1 and dataset.get("PlanarConfiguration") is None:
        raise UnusableImageError("missing DICOM attribute PlanarConfiguration")
    _refuse_other_count(dataset, path, element, frames)
    return element


def _refuse_other_count(dataset: Dataset, path: Path, element: PixelElement, frames: int) -> None:
    """Raise `UnusableImageError` if there are other pixels than those of `frames` frames."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        held = max(frames, count_streams(element, path))
    else:
        bits = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated
        if dataset.PhotometricInterpretation == "YBR_FULL_422":
            bits = bits * 2 // 3
        held = element.length * 8 // bits
    if held < frames:
        raise UnusableImageError("cut off: fewer pixels than the header says")
    if held > frames:
        stated = "the number of frames is missing" if not dataset.get("NumberOfFrames") else "a wrong number of frames"
        raise UnusableImageError(f"{stated}: there are pixels for {held}: set NumberOfFrames, or store each alone")


def _decode(dataset: Dataset, element: PixelElement, frame: int) -> np.ndarray:
    pixels = decode_frame(dataset, element, frame)
    if pixels.dtype.kind != "i":
        return pixels
    # pydicom extends the sign of compressed values from the stream's bit depth, which may exceed BitsStored.
    unused = max(0, 8 * pixels.itemsize - dataset.BitsStored)
    return pixels << unused >> unused


def _to_uint8(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Scale colour of any bit depth to uint8."""
    if pixels.dtype == np.uint8:
        return pixels
    bits = 16 if dataset.PhotometricInterpretation == "PALETTE COLOR" else dataset.BitsStored
    return np.rint(pixels * (255.0 / (2**bits - 1))).astype(np.uint8)
