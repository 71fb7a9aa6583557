"""The same invented patients in every supported data layout.

Slice `level` of a patient runs from the feet to the head. Grey value g is stored as g − 88 Hounsfield units where a
layout has them, so that `WINDOW` shows g again.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from openpyxl import Workbook
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from dcube.data.layouts.phantom import SIDE, SLICES, Patient
from tests.support.raw_sets import save, write_metadata

WINDOW = {"window_center": 39.5, "window_width": 255.0}
AIR = 88  # grey value of 0 Hounsfield units
KINDS = ("benign", "malignant", "normal")
SPACING = (0.8, 0.8, 2.5)  # millimetres: of columns, of rows, of slices


@dataclass(frozen=True)
class Invented:
    number: int
    kind: str
    slices: np.ndarray  # (SLICES, SIDE, SIDE) uint8
    pancreas: np.ndarray  # (SLICES, SIDE, SIDE) bool

    @property
    def name(self) -> str:
        return f"P{self.number:03d}"


def patients(each: int = 4, kinds: tuple[str, ...] = KINDS) -> list[Invented]:
    return [_invent(1 + i, kinds[i % len(kinds)]) for i in range(each * len(kinds))]


def _invent(number: int, kind: str) -> Invented:
    patient = Patient(number, kind)
    line = (2 * np.arange(SIDE) + 1) / SIDE - 1
    points = [patient.on_band(step / 12) for step in range(13)]
    mask = np.any([np.hypot(line[None] - x, line[:, None] - y) < patient.thickness for x, y in points], axis=0)
    shrunk = [mask & (line[None] > -0.3 + 0.1 * level) for level in range(SLICES)]  # another centre on every slice
    return Invented(number, kind, np.stack([patient.slice(level) for level in range(SLICES)]), np.stack(shrunk))


def pictures(folder: Path, people: list[Invented], deep: bool = False) -> Path:
    """PNG files with a metadata.csv; `deep`: of 16 bits."""
    rows = []
    for one in people:
        for level, pixels in enumerate(one.slices):
            file = f"{one.kind}/{one.name}-{level}.png"
            save(folder / file, pixels.astype(np.uint16) * 257 if deep else pixels)
            rows.append({"file": file, "label": one.kind, "patient_id": one.name})
    return write_metadata(folder, rows)


def dicom(folder: Path, people: list[Invented]) -> Path:
    """One series a patient; the order of the file names says nothing."""
    rows = []
    for one in people:
        write_series(folder / one.name, one, lambda level: f"{(level * 7 + 3) % 10}.dcm")
        rows.append({"file": one.name, "label": one.kind, "patient_id": one.name})
    return write_metadata(folder, rows)


def nifti(folder: Path, people: list[Invented]) -> Path:
    """One volume a patient, each stored in another orientation."""
    rows = []
    for one, axes in zip(people, _orientations(), strict=False):
        write_volume(folder / f"{one.name}.nii.gz", one.slices.astype(np.int16) - AIR, axes)
        rows.append({"file": f"{one.name}.nii.gz", "label": one.kind, "patient_id": one.name})
    return write_metadata(folder, rows)


def medmnist(folder: Path, people: list[Invented]) -> Path:
    """One archive without patients, with the official split 2 : 1 : 1."""
    folder.mkdir(parents=True)
    arrays = {}
    homes = ("train", "train", "val", "test")
    for split in dict.fromkeys(homes):
        chosen = [one for i, one in enumerate(people) if homes[i // len(KINDS) % len(homes)] == split]
        arrays[f"{split}_images"] = np.concatenate([one.slices for one in chosen])
        arrays[f"{split}_labels"] = np.repeat([KINDS.index(one.kind) for one in chosen], SLICES)[:, None]
    np.savez(folder / "invented.npz", **arrays)
    return folder


def radiography(folder: Path, people: list[Invented]) -> Path:
    for one in people:
        for level, pixels in enumerate(one.slices):
            save(folder / one.kind / "images" / f"{one.name}-{level}.png", pixels)
            save(folder / one.kind / "masks" / f"{one.name}-{level}.png", one.pancreas[level].astype(np.uint8) * 255)
    for kind in KINDS:
        _workbook(folder / f"{kind}.metadata.xlsx", [["FILE NAME", "FORMAT", "SIZE", "URL"]])
    (folder / "README.md.txt").write_text("invented")
    return folder


def breast(folder: Path, people: list[Invented], labels: bool = True) -> Path:
    """Slices below and above the annotation box show something else, and so do the other series."""
    boxes: list[list] = [["Patient ID", "Start Row", "End Row", "Start Slice", "End Slice"]]
    clinical: list[list] = [
        ["Patient Information", "", "MRI Findings"],
        ["Patient ID", "Date of Birth (Days)", "Lymphadenopathy or Suspicious Nodes"],
        ["", "integer", "No = 0, Yes = 1"],
    ]
    for one in people:
        name = f"Breast_MRI_{one.number:03d}"
        study = folder / "manifest-1" / "Duke-Breast-Cancer-MRI" / name / "01-01-1990-NA-MRI BREAST BILATERAL WWO-97538"
        padded = np.concatenate([255 - one.slices[:2], one.slices, 255 - one.slices[2:]])
        for series, values in (("26.0-ax dyn pre-1", 255 - padded), ("27.0-ax dyn 1st pass-2", padded)):
            write_series(
                study / series, one, lambda level: f"1-{level + 1:02d}.dcm", values, patient=name, modality="MR"
            )
        boxes.append([name, 1, 2, 3, 2 + SLICES])
        clinical.append([name, -15000.0, 0 if one.kind == "normal" else 1])
    _workbook(folder / "Annotation_Boxes.xlsx", boxes)
    _workbook(folder / "Clinical_and_Other_Features.xlsx", clinical)
    if labels:
        rows = [f"Breast_MRI_{one.number:03d},{one.kind}" for one in people]
        (folder / "labels.csv").write_text("\n".join(["patient_id,label", *rows]) + "\n")
    return folder


def pancreas(folder: Path, people: list[Invented], diagnoses: bool = True) -> Path:
    """Normal patients as TCIA has them, the others as the Decathlon does; above and below there is no pancreas."""
    rows, orientations = ["patient_id,label"], _orientations()
    for one in people:
        empty = np.zeros_like(one.pancreas[:1])
        values = np.concatenate([255 - one.slices[:1], one.slices, 255 - one.slices[-1:]])
        labels = np.concatenate([empty, one.pancreas, empty]).astype(np.uint8)
        if one.kind == "normal":
            series = folder / "Pancreas-CT" / f"PANCREAS_{one.number:04d}" / "11-24-2015-NA-Pancreas-1" / "Pancreas-2"
            write_series(series, one, lambda level: f"1-{99 - level:03d}.dcm", values)
            write_tcia_labels(folder / "TCIA_pancreas_labels-02-05-2017" / f"label{one.number:04d}.nii.gz", labels)
        else:
            labels[:, 40:50, 40:50] *= 2  # a tumour inside the pancreas
            axes, name = next(orientations), f"pancreas_{one.number:03d}"
            task = folder / "Task07_Pancreas"
            write_volume(task / "imagesTr" / f"{name}.nii.gz", values.astype(np.int16) - AIR, axes)
            write_volume(task / "labelsTr" / f"{name}.nii.gz", labels, axes)
            rows.append(f"{name},{one.kind}")
    if diagnoses:
        (folder / "diagnoses.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_series(
    folder: Path, one: Invented, name, values: np.ndarray | None = None, patient: str = "", modality: str = "CT"
) -> None:
    """One file a slice; `name` gives the file of a level."""
    folder.mkdir(parents=True)
    for level, pixels in enumerate(one.slices if values is None else values):
        number = zlib.crc32(str(folder).encode())
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{level + 1}"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
        dataset.SeriesInstanceUID = f"1.2.3.{number}"
        dataset.PatientID, dataset.PatientName = patient or one.name, "Invented^Nobody"
        dataset.Modality = modality
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelSpacing = [SPACING[1], SPACING[0]]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [-100, -120, -500 + SPACING[2] * level]
        dataset.InstanceNumber = 1 + level
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.PixelData = (pixels.astype(np.uint16) + 1024 - AIR).tobytes()
        dataset.save_as(folder / name(level), enforce_file_format=True)


def write_volume(file: Path, values: np.ndarray, axes: tuple[str, ...]) -> None:
    """`values` is (slices, rows, columns) as shown; they are stored along `axes`, e.g. ("R", "A", "S")."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shown = nibabel.orientations.axcodes2ornt(("L", "P", "S"))
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    affine[:3, 3] = 100, 120, -500
    turn = nibabel.orientations.ornt_transform(shown, nibabel.orientations.axcodes2ornt(axes))
    array = values.transpose(2, 1, 0)
    stored = nibabel.orientations.apply_orientation(array, turn)
    image = nibabel.Nifti1Image(stored, affine @ nibabel.orientations.inv_ornt_aff(turn, array.shape))
    nibabel.save(image, file)


def write_tcia_labels(file: Path, values: np.ndarray) -> None:
    """The array runs with the DICOM pixels and from the feet; the header claims that it runs to the right and front."""
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(values.transpose(2, 1, 0)), np.diag([*SPACING, 1.0])), file)


def _orientations() -> Iterator[tuple[str, ...]]:
    while True:
        yield from (
            ("R", "A", "S"),
            ("L", "P", "S"),
            ("L", "A", "S"),
            ("A", "R", "I"),
            ("S", "L", "P"),
            ("R", "P", "I"),
        )


def _workbook(file: Path, rows: list[list]) -> None:
    workbook = Workbook()
    for row in rows:
        workbook.worksheets[0].append(row)
    file.parent.mkdir(parents=True, exist_ok=True)
    workbook.save(file)
