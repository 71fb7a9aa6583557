"""The images in files of every kind: plain images, DICOM frames and slices of NIfTI volumes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcube.data.readers import dicom, images, nifti
from dcube.data.readers.dicom_header import SUFFIXES as DICOM_SUFFIXES
from dcube.data.readers.dicom_header import read_header
from dcube.data.readers.dicom_kinds import OF_PATIENT, SLICED
from dcube.data.readers.file_kinds import MEDICAL, kind_of, why_not_read
from dcube.data.readers.foreign_content import foreign_content
from dcube.data.readers.raw_image import ConstantImageError, RawImage, UnusableImageError
from dcube.data.readers.unknown_values import says_nothing
from dcube.data.readers.windows import Window

KINDS = sorted({*images.SUFFIXES, *DICOM_SUFFIXES, *nifti.SUFFIXES})
FRAME = re.compile(r"(.+)#(\d+)")
DOCUMENT = "DICOM without an image: report, plan, segmentation or map"


@dataclass(frozen=True)
class StoredImage:
    """The location of one stored image, with facts from its header.

    Attributes:
        file: path relative to the data set's folder.
        number: index of the frame or slice in the file; None if the file contains a single image.
        patient: patient named by the file, or the series or file itself. It is the same for all images of a file.
        stands_in: whether `patient` is the series or the file, because the file names no patient.
        modality: DICOM code of the modality; empty for other kinds of files.
        auxiliary, normal, series, study, instance: as in `DicomHeader`.
    """

    file: str
    number: int | None = None
    patient: str = ""
    stands_in: bool = False
    modality: str = ""
    auxiliary: str = ""
    normal: tuple[float, ...] | None = None
    series: str = ""
    study: str = ""
    instance: str = ""

    @property
    def name(self) -> str:
        return self.file if self.number is None else f"{self.file}#{self.number}"


def split_name(name: str) -> tuple[str, str]:
    """Split the name of an image into its file and the number of the frame or slice, which is empty for a whole file.

    The file `case#1.png` is whole. Of a file `IM#1` without a suffix, `IM` is returned: only the file system can tell.
    """
    frame = FRAME.fullmatch(name)
    return (frame[1], frame[2]) if frame else (name, "")


def is_medical(path: Path) -> bool:
    """Return whether the file is of a kind that can identify a person (DICOM, NIfTI)."""
    return kind_of(path) in MEDICAL


def list_stored_images(folder: Path, file: str) -> list[StoredImage] | str:
    """List the images of a file from its header, or return the reason why it has none.

    A damaged file counts as one image, so that reading this image reports the damage.
    """
    path = folder / file
    kind = kind_of(path)
    if kind is None:
        return why_not_read(path)
    if kind == "picture":
        return [StoredImage(file)]
    try:
        if kind == "NIfTI":
            slices = range(nifti.open_volume(path).slices)
            return [StoredImage(file, number, patient=file, stands_in=True) for number in slices]
        header = read_header(path)
    except UnusableImageError:
        return [StoredImage(file)]
    if header.is_document:
        return DOCUMENT
    known = "" if says_nothing(header.patient) else header.patient
    facts = (
        not known,
        header.modality or "OT",
        header.auxiliary,
        header.normal,
        header.series,
        header.study,
        header.instance,
    )
    if header.frames == 1:
        return [StoredImage(file, None, known or header.series, *facts)]
    return [StoredImage(file, number, known or header.series or file, *facts) for number in range(header.frames)]


def why_auxiliary(images: Sequence[StoredImage]) -> dict[StoredImage, str]:
    """Return the auxiliary images of the series, with their kinds.

    If a data set has only such images, they are the images that people want, and none is returned. Whole archives of
    X-rays are secondary captures, so these are auxiliary only if the data set has slices. Reformatted slices are
    auxiliary only if their patient has other images.
    """
    proper = [image for image in images if image.modality and not image.auxiliary]
    sliced = any(image.modality in SLICED for image in proper)
    patients = {image.patient for image in proper}
    extra = {image: image.auxiliary for image in images if image.auxiliary and proper}
    return {
        image: why
        for image, why in extra.items()
        if (why != "secondary capture" or sliced) and (why != OF_PATIENT or image.patient in patients)
    }


def read_stored_image(folder: Path, stored: StoredImage, window: Window | None) -> RawImage:
    """Decode one image; the window applies only to DICOM and NIfTI.

    Raises:
        UnusableImageError: if the image cannot be used; the message says why.
    """
    path = folder / stored.file
    kind = kind_of(path) or "DICOM"
    try:
        if kind == "picture":
            return images.read_file(path)
        if kind == "NIfTI":
            return nifti.open_volume(path).slice(stored.number or 0, window)
        return dicom.read_frame(path, stored.number or 0, window)
    except ConstantImageError:
        raise
    except UnusableImageError as problem:
        raise UnusableImageError(foreign_content(path, kind) or str(problem)) from None
