"""DICOM files → grey or colour images, and the few facts about them that the method may know.

The order of PS3.3 and PS3.4 N.2: stored bits, modality LUT, window (VOI LUT), then MONOCHROME1 turned over.
Nothing of a file leaves this module but what `DicomHeader` and `RawImage` name.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pydicom
from PIL import Image
from pydicom import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, RTDoseStorage, SegmentationStorage

from dcube.data.readers import jpeg
from dcube.data.readers.images import RawImage, UnusableImageError, check_size, finish, readable, square_pixels
from dcube.data.readers.windows import Function, Window

SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
MARK = b"DICM"
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
MODALITIES = frozenset(
    re.findall(r"\w+", "BI CR CT DG DX ECG ES GM IO IVUS LS MG MR NM OCT OP OPT OT PT PX RF RG SM TG US XA XC")
)
LARGE_FILE = 2**24  # bytes; larger ones (films, stacks) are not read whole for one frame
NO_PICTURES = (SegmentationStorage, RTDoseStorage)
REQUIRED = ("BitsAllocated", "BitsStored", "PhotometricInterpretation", "PixelRepresentation", "SamplesPerPixel")
HEADER_TAGS = [
    "Modality", "Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio",
    "ImageOrientationPatient", "ImagePositionPatient", "SeriesInstanceUID", "PatientID", "BurnedInAnnotation",
    "SharedFunctionalGroupsSequence", "SOPClassUID",
]  # fmt: skip


@dataclass(frozen=True)
class DicomHeader:
    """What the method may know of a file.

    Attributes:
        spacing: millimetres between rows, and between columns.
        orientation, position: PS3.3 C.7.6.2.1.1, in millimetres towards the patient's left, back and head.
        series, patient: for grouping alone; they identify a person.
        burned_in: whether the pixels show names, as the file says; None where it says nothing.
        document: it holds no picture of a patient, but a report, a plan, a segmentation.
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
    document: bool

    @property
    def depth(self) -> float | None:
        """Millimetres along the slices' normal: what a series is sorted by."""
        if self.orientation is None or self.position is None:
            return None
        return float(np.cross(self.orientation[:3], self.orientation[3:]) @ self.position)


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
    with readable("DICOM"):
        dataset = _open(path, stop_before_pixels=True, specific_tags=HEADER_TAGS)
        layers = _layers(dataset, 0)
        return DicomHeader(
            modality=_modality(dataset),
            rows=int(dataset.get("Rows") or 0),
            columns=int(dataset.get("Columns") or 0),
            frames=_frames(dataset, path),
            spacing=_spacing(layers),
            orientation=_numbers(layers, "ImageOrientationPatient", 6),
            position=_numbers(layers, "ImagePositionPatient", 3),
            series=_text(dataset, "SeriesInstanceUID"),
            patient=_text(dataset, "PatientID"),
            burned_in={"YES": True, "NO": False}.get(_text(dataset, "BurnedInAnnotation").upper()),
            document=_document(dataset),
        )


def elements(path: Path) -> Iterator[DataElement]:
    """Everything that a file says beside its pixels, at any depth: for the owner of the file alone.

    Raises:
        UnusableImageError: for anything that is no DICOM file, or too damaged to tell.
    """
    with readable("DICOM"):
        yield from _open(path, stop_before_pixels=True).iterall()


def read_frame(path: Path, frame: int = 0, window: Window | None = None) -> RawImage:
    """Decode one frame: mode `F` (0…255), `RGB` for colour.

    Args:
        window: what is shown from black to white; None takes the file's first VOI LUT or window, and where it has
            none the whole range of the stored bits. Colour is shown as it is.

    Raises:
        UnusableImageError: for anything but a picture that can be shown rightly, saying why.
    """
    with readable("DICOM"):
        large = path.stat().st_size > LARGE_FILE
        dataset = _open(path, stop_before_pixels=large)
        _refuse_unreadable(dataset, path, frame)
        pixels = _decode(dataset, path if large else dataset, frame)
        layers = _layers(dataset, frame)
        photometric = dataset.PhotometricInterpretation
        if photometric in GREY:
            shown = _show(pixels, dataset, layers, window)
            image = Image.fromarray(255 - shown if photometric == "MONOCHROME1" else shown)
        else:
            if photometric == "PALETTE COLOR":
                pixels = apply_color_lut(pixels, dataset)
            image = Image.fromarray(_bytes(pixels, dataset))
        image = square_pixels(image, _spacing(layers) or (1.0, 1.0))
        several = _frames(dataset, path) > 1
        return finish(image, f"DICOM {photometric} {dataset.BitsStored} bits", _modality(dataset), several)


@cache
def _set_up_pydicom() -> None:
    """Before the first file. Warnings and log lines of pydicom would quote what stands in the file."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    jpeg.register()


def _open(path: Path, **options: Any) -> Dataset:
    """A deflated dataset would be unpacked whole, however large that is."""
    _set_up_pydicom()
    if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise UnusableImageError("deflated DICOM: store it without (dcmconv +te)")
    return pydicom.dcmread(path, **options)


def _refuse_unreadable(dataset: Dataset, path: Path, frame: int) -> None:
    if _document(dataset):
        raise UnusableImageError("no picture of a patient but a document, a plan or a segmentation")
    check_size(dataset.get("Columns") or 0, dataset.Rows)
    if frame >= (frames := _frames(dataset, path)):
        raise UnusableImageError(f"there is no frame {frame}: it has {frames}")
    if missing := [keyword for keyword in REQUIRED if dataset.get(keyword) is None]:
        raise UnusableImageError(f"without {missing[0]}")
    if dataset.get("HighBit", dataset.BitsStored - 1) != dataset.BitsStored - 1:
        raise UnusableImageError("stored bits that do not end where they should (HighBit)")
    photometric = dataset.PhotometricInterpretation
    samples = {**dict.fromkeys(GREY, 1), "PALETTE COLOR": 1, **dict.fromkeys(COLOUR, 3)}.get(photometric)
    if samples is None or dataset.SamplesPerPixel != samples:
        raise UnusableImageError("a photometric interpretation that is not read")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_transfer_syntax:
        raise UnusableImageError("no known transfer syntax")
    if not syntax.is_encapsulated:
        stored = dataset.Rows * dataset.Columns * samples * frames * dataset.BitsAllocated // 8
        if photometric == "YBR_FULL_422":
            stored = stored * 2 // 3
        if stored > path.stat().st_size:
            raise UnusableImageError("cut off: fewer pixels than the header says")


def _decode(dataset: Dataset, source: Dataset | Path, frame: int) -> np.ndarray:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        if not get_decoder(syntax).is_available:
            raise NotImplementedError
        return pixel_array(source, index=frame)
    except Exception:
        raise UnusableImageError(f"pixels that cannot be decoded ({syntax.name})") from None


def _show(pixels: np.ndarray, dataset: Dataset, layers: list[Dataset], window: Window | None) -> np.ndarray:
    """float32 in 0…255, before MONOCHROME1."""
    values, full = _modality_lut(pixels, dataset, layers)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnusableImageError("NaN or infinite pixels")
    if window is None and (luts := _first(layers, "VOILUTSequence")):
        values, full = _look_up(values, luts[0], dataset)
    else:
        window = window or _own_window(layers)
    if window is None and full is not None:
        window = Window((full[0] + full[1]) / 2, full[1] - full[0])
    if window is None:
        raise UnusableImageError("floats without a window: set data.window_center and data.window_width")
    return window.apply(values)


def _modality_lut(
    pixels: np.ndarray, dataset: Dataset, layers: list[Dataset]
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Values in the modality's units, and the range that the stored bits can reach (None for floats)."""
    if luts := _first(layers, "ModalityLUTSequence"):
        return _look_up(pixels, luts[0], dataset)
    slope, intercept = (_number(layers, name) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope is None or intercept is None:
        slope, intercept = 1.0, 0.0
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


def _look_up(values: np.ndarray, lut: Dataset, dataset: Dataset) -> tuple[np.ndarray, tuple[float, float]]:
    """A LUT (PS3.3 C.11.1.1.1) applied, and its range. pydicom's own wraps values around before it clips them."""
    entries, first, bits = lut.LUTDescriptor
    table = lut.LUTData
    if isinstance(table, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        table = np.frombuffer(table, np.uint8 if len(table) == entries else f"{order}u2")
    table = np.asarray(table)[: entries or 2**16]
    places = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return table[places], (0.0, 2.0**bits - 1)


def _own_window(layers: list[Dataset]) -> Window | None:
    """The file's first window; one that shows nothing (a width of 0) counts as none."""
    center, width = _number(layers, "WindowCenter"), _number(layers, "WindowWidth")
    function = _first(layers, "VOILUTFunction") or "LINEAR"
    if function not in get_args(Function):
        raise UnusableImageError("a VOI LUT function that is not read")
    if center is None or width is None:
        return None
    window = Window(center, width, cast(Function, function))
    return window if window.valid else None


def _bytes(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Colour of any depth as uint8."""
    if pixels.dtype == np.uint8:
        return pixels
    bits = 16 if dataset.PhotometricInterpretation == "PALETTE COLOR" else dataset.BitsStored
    return np.rint(pixels * (255.0 / (2**bits - 1))).astype(np.uint8)


def _layers(dataset: Dataset, frame: int) -> list[Dataset]:
    """Where facts of a frame stand, nearest first: its functional groups, the shared ones (C.7.6.16), the dataset."""
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = [item for group in own + shared for element in group if element.VR == "SQ" for item in element.value]
    return [*groups, dataset]


def _first(layers: list[Dataset], keyword: str) -> Any:
    return next((layer[keyword].value for layer in layers if layer.get(keyword) not in (None, "")), None)


def _number(layers: list[Dataset], keyword: str) -> float | None:
    """The first value of an element, where it has one."""
    value = _first(layers, keyword)
    return None if value is None else float(np.ravel(value)[0])


def _numbers(layers: list[Dataset], keyword: str, count: int) -> tuple[float, ...] | None:
    values = _first(layers, keyword)
    if values is None or np.size(values) != count:
        return None
    numbers = tuple(float(value) for value in values)
    return numbers if np.isfinite(numbers).all() else None


def _spacing(layers: list[Dataset]) -> tuple[float, float] | None:
    """Between rows and between columns; of an aspect ratio alone only the quotient means something."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        spacing = _numbers(layers, keyword, 2)
        if spacing and min(spacing) > 0:
            return spacing[0], spacing[1]
    return None


def _frames(dataset: Dataset, path: Path) -> int:
    frames = int(dataset.get("NumberOfFrames") or 1)
    if not 1 <= frames <= path.stat().st_size:
        raise UnusableImageError("more frames than bytes")
    return frames


def _document(dataset: Dataset) -> bool:
    return not dataset.get("Rows") or dataset.get("SOPClassUID") in NO_PICTURES


def _modality(dataset: Dataset) -> str:
    modality = _text(dataset, "Modality")
    return modality if modality in MODALITIES else ""


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()
