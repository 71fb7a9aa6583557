"""DICOM files → grey or colour images, and the few facts about them that the method may know.

The order of PS3.3 and PS3.4 N.2: stored bits, modality LUT, window (VOI LUT), then MONOCHROME1 turned over.
Nothing of a file leaves this module but what `DicomHeader` and `RawImage` name.
"""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, SegmentationStorage

from dcube.data.reading import RawImage, UnusableImageError, check_size, finish, square_pixels
from dcube.data.windows import Window

SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
MARK = b"DICM"
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
WHOLE_TYPES = (8, 16, 32)  # bits

# Complaints of pydicom quote what stands in the file.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True)
class DicomHeader:
    """What the method may know of a file.

    Attributes:
        spacing: millimetres between rows, and between columns.
        orientation, position: PS3.3 C.7.6.2.1.1, in millimetres towards the patient's left, back and head.
        series, patient: for grouping alone; they identify a person.
        burned_in: whether the pixels show names, as the file says; None where it says nothing.
    """

    modality: str
    rows: int
    columns: int
    frames: int
    spacing: tuple[float, float] | None
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    series: str
    patient: str
    burned_in: bool | None

    @property
    def depth(self) -> float | None:
        """Millimetres along the slices' normal: what a series is sorted by."""
        if self.orientation is None or self.position is None:
            return None
        return float(np.cross(self.orientation[:3], self.orientation[3:]) @ self.position)


HEADER_TAGS = [
    "Modality", "Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio",
    "ImageOrientationPatient", "ImagePositionPatient", "SeriesInstanceUID", "PatientID", "BurnedInAnnotation",
    "BitsAllocated", "SamplesPerPixel",
]  # fmt: skip


def is_dicom(path: Path) -> bool:
    """By its suffix, or by the mark that follows the preamble where there is no suffix."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    with path.open("rb") as file:
        return file.read(132)[128:] == MARK


def header(path: Path) -> DicomHeader:
    """Read the facts without the pixels.

    Raises:
        UnusableImageError: for anything that is no DICOM file, or too damaged to tell.
    """
    with _named_errors():
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADER_TAGS)
        return DicomHeader(
            modality=str(dataset.get("Modality", "")),
            rows=int(dataset.get("Rows") or 0),
            columns=int(dataset.get("Columns") or 0),
            frames=_frames(dataset, path),
            spacing=_spacing(dataset),
            orientation=_numbers(dataset, "ImageOrientationPatient", 6),
            position=_numbers(dataset, "ImagePositionPatient", 3),
            series=str(dataset.get("SeriesInstanceUID", "")),
            patient=str(dataset.get("PatientID") or "").strip(),
            burned_in={"YES": True, "NO": False}.get(str(dataset.get("BurnedInAnnotation", "")).upper()),
        )


def read_frame(path: Path, frame: int = 0, window: Window | None = None) -> RawImage:
    """Decode one frame: mode `F` (0…255), `RGB` for colour.

    Args:
        window: what is shown as black to white; None takes the file's first VOI LUT or window, and where it has
            none the whole range of the stored bits.

    Raises:
        UnusableImageError: for anything else than a picture that can be shown rightly, saying why.
    """
    raise NotImplementedError
