"""Stored files of every kind as pictures: a plain image, a DICOM frame, a slice of a NIfTI volume."""

from dataclasses import dataclass
from pathlib import Path

from dcube.data.readers import dicom, nifti
from dcube.data.readers.images import SUFFIXES, RawImage, UnusableImageError, read_file
from dcube.data.readers.windows import Window

KINDS = sorted({*SUFFIXES, *dicom.SUFFIXES, *nifti.SUFFIXES})


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        file: where it is stored, relative to the set's folder.
        number: which frame or slice of the file; None where it holds one alone.
        patient: as the file knows it. The frames and slices of one file share it in any case.
    """

    file: str
    number: int | None = None
    patient: str = ""

    @property
    def name(self) -> str:
        return self.file if self.number is None else f"{self.file}#{self.number}"


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or is_medical(path)


def is_medical(path: Path) -> bool:
    """Whether the file is of a kind that carries a person's identity."""
    return nifti.is_nifti(path) or (path.name.upper() != "DICOMDIR" and dicom.is_dicom(path))


def pictures_in(folder: Path, file: str) -> list[Picture]:
    """What a file holds, by its header alone. A damaged one counts as a picture: reading it says what is wrong."""
    path = folder / file
    if path.suffix.lower() in SUFFIXES:
        return [Picture(file)]
    try:
        if nifti.is_nifti(path):
            return [Picture(file, number, patient=file) for number in range(nifti.open_volume(path).slices)]
        header = dicom.header(path)
    except UnusableImageError:
        return [Picture(file)]
    if header.document:
        return []
    if header.frames == 1:
        return [Picture(file, patient=header.patient or header.series)]
    return [Picture(file, number, header.patient or header.series or file) for number in range(header.frames)]


def read_picture(folder: Path, picture: Picture, window: Window | None) -> RawImage:
    """Decode it; the window is for DICOM and NIfTI.

    Raises:
        UnusableImageError: saying why.
    """
    path = folder / picture.file
    if path.suffix.lower() in SUFFIXES:
        return read_file(path)
    if nifti.is_nifti(path):
        return nifti.open_volume(path).slice(picture.number or 0, window)
    return dicom.read_frame(path, picture.number or 0, window)
