"""Reading of DICOM headers.

Only the fields of `DicomHeader` may be used outside the readers; all other fields are for the owner of the file.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dcube.data.readers import jpeg
from dcube.data.readers.dicom_kinds import auxiliary_kind, is_document, text
from dcube.data.readers.raw_image import UnusableImageError, check_frames, decoding

SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
PREFIX, PREFIX_AT = b"DICM", slice(128, 132)  # after the preamble (PS3.10 7.1)
# The first element of a data set without preamble: of group 2 or 8, followed by its VR or by a small length.
DATASET_START = re.compile(
    rb"[\x02\x08]\0[\0\x01\x05\x06\x08\x12\x14\x16\x18]\0(UL|UI|CS|DA|TM|LO|SH|OB|[\0-\x80]\0\0\0)"
    rb"|\0[\x02\x08]\0[\0\x01\x05\x06\x08\x12\x14\x16\x18](UL|UI|CS|DA|TM|LO|SH|OB)"
)
MODALITIES = frozenset(
    re.findall(r"\w+", "BI CR CT DG DX ECG ES GM IO IVUS LS MG MR NM OCT OP OPT OT PT PX RF RG SM TG US XA XC")
)
HEADER_TAGS = [
    "Modality", "Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio",
    "ImageOrientationPatient", "ImagePositionPatient", "SeriesInstanceUID", "PatientID", "BurnedInAnnotation",
    "StudyInstanceUID", "SOPInstanceUID",
    "SharedFunctionalGroupsSequence", "SOPClassUID", "ImageType", "SeriesDescription",
]  # fmt: skip

_configuring = Lock()


@dataclass(frozen=True)
class DicomHeader:
    """The header fields that may be used outside the readers.

    Attributes:
        spacing: millimetres between rows and between columns.
        orientation, position: PS3.3 C.7.6.2.1.1; axes to the patient's left, back and head, position in millimetres.
        series, patient, study, instance: only for grouping, because they identify a person.
        burned_in: whether the file declares burned-in annotations; None if it does not say.
        is_document: whether it is a report, a plan, a segmentation or a map instead of an image of a patient.
        auxiliary: kind of an auxiliary image, e.g. localizer or dose report; empty for a proper image of a series.
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
    study: str
    instance: str
    burned_in: bool | None
    is_document: bool
    auxiliary: str

    @property
    def normal(self) -> tuple[float, ...] | None:
        """Unit normal of the slice, rounded to 0.1 so that it is equal for the slices of one series."""
        if self.orientation is None:
            return None
        return tuple(np.cross(self.orientation[:3], self.orientation[3:]).round(1).tolist())

    @property
    def depth(self) -> float | None:
        """Position along the slice normal in millimetres, by which a series is sorted."""
        if self.orientation is None or self.position is None:
            return None
        return float(np.cross(self.orientation[:3], self.orientation[3:]) @ self.position)


def is_dataset_start(content: bytes) -> bool:
    """Return whether a file with these first bytes is DICOM, by its prefix or else by its first element."""
    return has_prefix(content) or DATASET_START.match(content) is not None


def has_prefix(content: bytes) -> bool:
    return content[PREFIX_AT] == PREFIX


def read_header(path: Path) -> DicomHeader:
    """Read the header without the pixels.

    Raises:
        UnusableImageError: if the file is not DICOM, or its header is damaged.
    """
    with decoding("DICOM file"):
        dataset = open_dataset(path, stop_before_pixels=True, specific_tags=HEADER_TAGS)
        layers = attribute_layers(dataset, 0)
        return DicomHeader(
            modality=modality_of(dataset),
            rows=int(dataset.get("Rows") or 0),
            columns=int(dataset.get("Columns") or 0),
            frames=frame_count(dataset, path),
            spacing=pixel_spacing(layers),
            orientation=_numbers(layers, "ImageOrientationPatient", 6),
            position=_numbers(layers, "ImagePositionPatient", 3),
            series=text(dataset, "SeriesInstanceUID"),
            patient=text(dataset, "PatientID"),
            study=text(dataset, "StudyInstanceUID"),
            instance=text(dataset, "SOPInstanceUID"),
            burned_in={"YES": True, "NO": False}.get(text(dataset, "BurnedInAnnotation").upper()),
            is_document=is_document(dataset),
            auxiliary=auxiliary_kind(dataset),
        )


def iterate_elements(path: Path) -> Iterator[DataElement]:
    """Yield all elements except the pixels, also nested ones: only for the owner of the file.

    Raises:
        UnusableImageError: if the file is not DICOM, or its header is damaged.
    """
    with decoding("DICOM file"):
        yield from open_dataset(path, stop_before_pixels=True).iterall()


def open_dataset(path: Path, opened: BinaryIO | None = None, **options: Any) -> Dataset:
    """Call `pydicom.dcmread`, also for files without preamble.

    Args:
        opened: the same file, to stay open at the place where reading ends.

    Raises:
        UnusableImageError: if the file is deflated, because pydicom would unpack it whole, without a size limit.
    """
    with _configuring:
        _configure_pydicom()
    with path.open("rb") as file:
        start = file.read(1024)
    bare = not has_prefix(start) and is_dataset_start(start)
    deflated = (
        DeflatedExplicitVRLittleEndian.encode() in start
        if bare
        else read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    )
    if deflated:
        raise UnusableImageError("deflated DICOM is not supported: convert it (dcmconv +te)")
    dataset = pydicom.dcmread(opened or path, force=bare, **options)
    if bare and "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


@cache
def _configure_pydicom() -> None:
    """Silence pydicom, because its warnings quote the file's content, and add the JPEG decoder."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    jpeg.register()


def attribute_layers(dataset: Dataset, frame: int) -> list[Dataset]:
    """Return the data sets with a frame's attributes, in order of priority.

    These are the frame's own functional groups, the shared ones (C.7.6.16) and the whole data set.
    """
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = [item for group in own + shared for element in group if element.VR == "SQ" for item in element.value]
    return [*groups, dataset]


def first_value(layers: list[Dataset], keyword: str) -> Any:
    return next((layer[keyword].value for layer in layers if layer.get(keyword) not in (None, "")), None)


def number(layers: list[Dataset], keyword: str) -> float | None:
    """Return the first value of an element as a number, or None if it has no value."""
    value = first_value(layers, keyword)
    return None if value is None else _to_float(np.ravel(value)[0], keyword)


def _numbers(layers: list[Dataset], keyword: str, count: int) -> tuple[float, ...] | None:
    values = first_value(layers, keyword)
    if values is None or np.size(values) != count:
        return None
    numbers = tuple(_to_float(value, keyword) for value in values)
    return numbers if np.isfinite(numbers).all() else None


def _to_float(value: Any, keyword: str) -> float:
    try:
        return float(value)
    except ValueError:  # the value is not quoted, because it may identify a person
        raise UnusableImageError(
            f"the DICOM attribute {keyword} is not a number: it needs a decimal point, not a comma"
        ) from None


def pixel_spacing(layers: list[Dataset]) -> tuple[float, float] | None:
    """Return the spacing between rows and between columns; from an aspect ratio, only the quotient is meaningful."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        spacing = _numbers(layers, keyword, 2)
        if spacing and min(spacing) > 0:
            return spacing[0], spacing[1]
    return None


def frame_count(dataset: Dataset, path: Path) -> int:
    frames = int(_to_float(dataset.get("NumberOfFrames") or 1, "NumberOfFrames"))
    if not 1 <= frames <= path.stat().st_size:
        raise UnusableImageError("more frames than bytes")
    check_frames(frames)
    return frames


def modality_of(dataset: Dataset) -> str:
    modality = text(dataset, "Modality")
    return modality if modality in MODALITIES else ""
