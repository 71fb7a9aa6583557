"""The images in stored files of every kind: a plain image, a DICOM frame, a slice of a NIfTI volume."""

from dataclasses import dataclass
from pathlib import Path

from dcube.data.readers import dicom, images, nifti
from dcube.data.readers.dicom_header import SUFFIXES as DICOM_SUFFIXES
from dcube.data.readers.dicom_header import is_dicom, read_header
from dcube.data.readers.raw_image import RawImage, UnusableImageError
from dcube.data.readers.windows import Window

KINDS = sorted({*images.SUFFIXES, *DICOM_SUFFIXES, *nifti.SUFFIXES})


@dataclass(frozen=True)
class StoredImage:
    """Where one image is stored.

    Attributes:
        file: relative to the data set's folder.
        number: which frame or slice of the file; None where the file holds a single image.
        patient: as the file names the patient. All frames and slices of one file belong to the same patient.
    """

    file: str
    number: int | None = None
    patient: str = ""

    @property
    def name(self) -> str:
        return self.file if self.number is None else f"{self.file}#{self.number}"


def is_image_file(path: Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES or is_medical(path)


def is_medical(path: Path) -> bool:
    """Whether the file is of a kind that can identify a person (DICOM, NIfTI)."""
    return nifti.is_nifti(path) or (path.name.upper() != "DICOMDIR" and is_dicom(path))


def list_stored_images(folder: Path, file: str) -> list[StoredImage]:
    """The images of a file, by its header alone. A damaged file counts as one image: reading it tells the damage."""
    path = folder / file
    if path.suffix.lower() in images.SUFFIXES:
        return [StoredImage(file)]
    try:
        if nifti.is_nifti(path):
            return [StoredImage(file, number, patient=file) for number in range(nifti.open_volume(path).slices)]
        header = read_header(path)
    except UnusableImageError:
        return [StoredImage(file)]
    if header.is_document:
        return []
    if header.frames == 1:
        return [StoredImage(file, patient=header.patient or header.series)]
    return [StoredImage(file, number, header.patient or header.series or file) for number in range(header.frames)]


def read_stored_image(folder: Path, stored: StoredImage, window: Window | None) -> RawImage:
    """Decode one image; the window applies to DICOM and NIfTI.

    Raises:
        UnusableImageError: saying why it cannot be used.
    """
    path = folder / stored.file
    if path.suffix.lower() in images.SUFFIXES:
        return images.read_file(path)
    if nifti.is_nifti(path):
        return nifti.open_volume(path).slice(stored.number or 0, window)
    return dicom.read_frame(path, stored.number or 0, window)
