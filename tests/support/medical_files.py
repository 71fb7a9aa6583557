"""DICOM and NIfTI files for tests, written from arrays."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
from nibabel import orientations
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

RAMP = np.arange(16 * 16, dtype=np.uint16).reshape(16, 16) * 16  # 12 bits: 0 … 4080


def dicom_dataset(pixels: np.ndarray, **tags) -> Dataset:
    """A CT image (h, w), (h, w, 3), or with frames in front where `NumberOfFrames` is given; other tags replace."""
    colour = pixels.shape[-1] == 3
    rows, columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": generate_uid(), "Modality": "CT", "Rows": rows,
        "Columns": columns, "SamplesPerPixel": 3 if colour else 1, "BitsAllocated": 8 * pixels.itemsize,
        "BitsStored": 8 * pixels.itemsize, "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
    }  # fmt: skip
    values |= {"PlanarConfiguration": 0} if colour else {}
    for keyword, value in {**values, **tags}.items():
        setattr(dataset, keyword, value)
    if "HighBit" not in dataset:
        dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    return dataset


def dicom_file(path: Path, pixels: np.ndarray, **tags) -> Path:
    return save_dicom(path, dicom_dataset(pixels, **tags))


def save_dicom(path: Path, dataset: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def nifti_file(
    path: Path,
    values: np.ndarray,
    stored: str = "LPS",
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    degrees: float = 0.0,
    display: tuple[float, float] = (0.0, 0.0),
) -> Path:
    """A volume given as (left, back, head), stored along other axes.

    Args:
        stored: the codes that the stored axes run to, e.g. `RAS`.
        degrees: how far the patient is turned about the feet–head axis.
        display: cal_min and cal_max.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = np.eye(4)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[:2, :2] = [[cos, -sin], [sin, cos]]
    affine = turn @ np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])  # NIfTI counts to the right and the front
    lps, wanted = orientations.axcodes2ornt("LPS"), orientations.axcodes2ornt(stored)
    change = orientations.ornt_transform(lps, wanted)
    turned = orientations.apply_orientation(values, change)
    image = nibabel.Nifti1Image(turned, affine @ orientations.inv_ornt_aff(change, values.shape))
    image.header["cal_min"], image.header["cal_max"] = display
    nibabel.save(image, path)
    return path
