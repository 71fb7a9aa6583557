"""Pancreas CT: the Medical Segmentation Decathlon's Task07 and TCIA's Pancreas-CT, one or both, in any subfolders.

    …/imagesTr/pancreas_001.nii.gz   …/labelsTr/pancreas_001.nii.gz (1 pancreas, 2 tumour)
    …/PANCREAS_0001/…/1-001.dcm      …/label0001.nii.gz (1 pancreas)
    diagnoses.csv (optional: patient_id, label)

Slices without pancreas are dropped; a crop is centred on the pancreas of the slice (paper IV-A1). TCIA's patients are
healthy. The Decathlon's patients had a mass resected: an intraductal mucinous neoplasm, a neuroendocrine tumour or an
adenocarcinoma (Antonelli et al. 2022). The data set does not say which, so without a table the class is `tumour`.
Decathlon slices without tumour have no label: the patient is not healthy, but the slice does not show the disease.
"""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from dcube.config.schema import Data
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.layouts.tables import read_patients
from dcube.data.readers import dicom, nifti
from dcube.data.readers.dicom_header import read_header
from dcube.data.readers.file_kinds import kind_of
from dcube.data.readers.raw_image import RawImage, UnusableImageError
from dcube.data.readers.stored_images import split_name
from dcube.data.readers.windows import Window, window_of
from dcube.engine.progress import progress
from dcube.errors import DcubeError, abbreviated

DIAGNOSES = "diagnoses.csv"
TUMOUR, NORMAL = "tumour", "normal"
TUMOUR_VOXEL = 2
DECATHLON = re.compile(r"(.*/)?labelsTr/(pancreas_[^/]+)\.nii(\.gz)?")
TCIA = re.compile(r"(.*/)?label(\d{4})\.nii(\.gz)?")
TCIA_SERIES = re.compile(r"(.*/)?PANCREAS_(\d{4})/.+")
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
VISIBLE = Window(50, 400)  # Hounsfield units; values outside are clipped to black and white
PANCREAS_TISSUE = (-50, 200)  # plausible medians in Hounsfield units


@dataclass(frozen=True)
class Slice:
    """A slice that shows the pancreas.

    Attributes:
        file: the image, as in `ImageRecord.file`.
        patient: name of the patient in the data set.
        centre: centre of the pancreas, (row, column) in pixels of the decoded image.
        label: class of the slice; None means the patient's diagnosis.
    """

    file: str
    patient: str
    centre: tuple[float, float]
    label: str | None


def recognises(raw: RawFiles) -> bool:
    return any(map(DECATHLON.fullmatch, raw.files)) or bool(_tcia_labels(raw.files))


def read_layout(raw: RawFiles, data: Data) -> RawDataset:
    """List the slices that show pancreas. Every label map is read once.

    Raises:
        DcubeError: if an image, label map or table does not fit; the message names it.
    """
    path, files, window = raw.path, raw.files, window_of(data)
    decathlon = [file for file in files if DECATHLON.fullmatch(file)]
    series = _series(raw)
    tcia = {file: patient for file, patient in _tcia_labels(files).items() if patient in series}
    _refuse_twice([*map(_patient, decathlon), *tcia.values()], path)
    slices: list[Slice] = []
    with progress("Finding the pancreas", total=len(decathlon) + len(tcia), unit="patients") as advance:
        for file in decathlon:
            slices += _decathlon_slices(path, file)
            advance()
        for file, patient in tcia.items():
            slices += _tcia_slices(path, file, patient, series[patient])
            advance()
    if not slices:
        raise DcubeError(f"{path}: no image has a label map: put imagesTr beside labelsTr, and PANCREAS_0001 … here")
    has_table = (path / DIAGNOSES).is_file()
    diagnoses = read_patients(path / DIAGNOSES, {one.patient for one in slices}) if has_table else {}
    otherwise = ("", "") if has_table else (TUMOUR, "")
    records = [
        ImageRecord(one.file, diagnoses.get(one.patient, otherwise)[0] if one.label is None else one.label, one.patient)
        for one in slices
    ]
    used = {*decathlon, *tcia, *(split_name(record.file)[0] for record in records), DIAGNOSES}
    others: dict[str, tuple[str, ...]] = {}
    for patient, own in series.items():
        why = "slice without pancreas" if patient in tcia.values() else "series without a label map"
        others[why] = others.get(why, ()) + tuple(file for file in own if file not in used)
    known = used.union(*others.values())
    return RawDataset(
        "pancreas CT",
        records,
        lambda i: _read(path, slices[i], window),
        tuple(file for file in files if file not in known),
        _notes(has_table, bool(decathlon)),
        is_medical=True,
        left_out=others,
        places=tuple(str(one.centre) for one in slices),
    )


def _notes(has_table: bool, has_decathlon: bool) -> tuple[str, ...]:
    notes = ["Slices that show no pancreas are not used."]
    if has_decathlon and not has_table:
        notes.append(
            f"The class {TUMOUR!r} is a mass that was resected (mucinous neoplasm, neuroendocrine tumour or "
            f"adenocarcinoma, which the set does not tell apart): neither all benign nor all malignant."
        )
    return tuple(notes)


def _read(path: Path, one: Slice, window: Window | None) -> RawImage:
    file, number = split_name(one.file)
    if number:
        image = nifti.open_volume(path / file).slice(int(number), window)
    else:
        image = dicom.read_frame(path / file, window=window)
    return replace(image, centre=one.centre)


def _decathlon_slices(path: Path, label_file: str) -> list[Slice]:
    """List the slices with pancreas of a Decathlon patient; image and label map must have the same geometry."""
    image_file = "imagesTr/".join(label_file.rsplit("labelsTr/", 1))
    if not (path / image_file).exists():  # only one of the two files may be compressed
        other = image_file.removesuffix(".gz") if image_file.endswith(".gz") else f"{image_file}.gz"
        image_file = other if (path / other).exists() else image_file
    try:
        image, label = nifti.open_volume(path / image_file), nifti.open_volume(path / label_file)
        values = nifti.load_array(path / label_file)
    except FileNotFoundError:
        raise DcubeError(f"{path / image_file} is missing: put the image of {label_file} there") from None
    except UnusableImageError as problem:
        raise DcubeError(f"{path / label_file} or its image cannot be used: {problem}") from None
    if image.slices != label.slices or not np.allclose(image.spacing, label.spacing, rtol=1e-3):
        raise DcubeError(f"{path / label_file} and {image_file} differ in size or spacing: fetch them again")
    patient = _patient(label_file)
    return [
        Slice(f"{image_file}#{k}", patient, centre, None if (values[:, :, k] == TUMOUR_VOXEL).any() else "")
        for k, centre in _centres(values, (image.spacing[1], image.spacing[0]))
    ]


def _tcia_slices(path: Path, label_file: str, patient: str, files: list[str]) -> list[Slice]:
    """List the slices with pancreas of a TCIA patient: a DICOM series and its label map.

    The label map's header does not give its orientation. Its stored columns and rows are those of the DICOM files, and
    its slices run from the feet to the head. Oriented by its header like other volumes, it would be mirrored.
    """
    try:
        with ThreadPoolExecutor() as pool:
            headers = list(pool.map(lambda file: read_header(path / file), files))
        values = nifti.load_stored(path / label_file)
    except UnusableImageError as problem:
        raise DcubeError(f"{path}: the images or the label map of {patient} cannot be used: {problem}") from None
    if any(one.depth is None or not np.allclose(one.orientation or 0, AXIAL, atol=0.01) for one in headers):
        raise DcubeError(f"{path}: the images of {patient} are not an axial series with positions: fetch them again")
    first = headers[0]
    if values.shape != (first.columns, first.rows, len(files)):
        raise DcubeError(
            f"{path / label_file} has {' × '.join(map(str, values.shape))} voxels, and the series of {patient} "
            f"{first.columns} × {first.rows} × {len(files)}: fetch both again"
        )
    files = [file for _, file in sorted(zip((one.depth for one in headers), files, strict=True))]
    spacing = first.spacing or (1.0, 1.0)
    _refuse_misplaced(path, label_file, files, values)
    return [Slice(files[k], patient, centre, NORMAL) for k, centre in _centres(values, spacing)]


def _refuse_misplaced(path: Path, label_file: str, files: list[str], values: np.ndarray) -> None:
    """Refuse a label map that marks air, fat or bone instead of an organ in the slice with most of the pancreas."""
    fullest = int((values > 0).sum(axis=(0, 1)).argmax())
    try:
        shown = np.asarray(dicom.read_frame(path / files[fullest], window=VISIBLE).image, dtype=float)
    except UnusableImageError as problem:
        raise DcubeError(f"{path / files[fullest]} cannot be used: {problem}") from None
    mask = (values[:, :, fullest] > 0).T
    if mask.shape != shown.shape or not mask.any():
        return
    tissue = np.median(shown[mask]) / 255 * VISIBLE.width + VISIBLE.center - VISIBLE.width / 2
    if not PANCREAS_TISSUE[0] <= tissue <= PANCREAS_TISSUE[1]:
        raise DcubeError(
            f"{path / label_file} marks tissue of {tissue:.0f} HU in {files[fullest]}, which is not pancreas: "
            "the label map is not aligned with the images"
        )


def _centres(values: np.ndarray, spacing: tuple[float, float]) -> list[tuple[int, tuple[float, float]]]:
    """Return the number and the pancreas centre of each slice with pancreas.

    Args:
        values: (columns, rows, slices) label map.
        spacing: spacing of rows and of columns, in millimetres.

    Returns:
        Pairs of slice number and (row, column), in square pixels of the finer spacing.
    """
    centres = []
    for k in np.flatnonzero((values > 0).any(axis=(0, 1))):
        columns, rows = np.nonzero(values[:, :, k] > 0)
        row, column = (rows.mean() + 0.5) * spacing[0], (columns.mean() + 0.5) * spacing[1]
        centres.append((int(k), (float(row / min(spacing)), float(column / min(spacing)))))
    return centres


def _patient(label_file: str) -> str:
    return PurePosixPath(label_file).name.partition(".")[0]


def _tcia_labels(files: list[str]) -> dict[str, str]:
    """Return label map → patient, only if there are TCIA images: two label maps remained without their images."""
    if not any(map(TCIA_SERIES.fullmatch, files)):
        return {}
    return {file: f"PANCREAS_{match[2]}" for file in files if (match := TCIA.fullmatch(file))}


def _series(raw: RawFiles) -> dict[str, list[str]]:
    """Return the DICOM files of TCIA by patient."""
    found: dict[str, list[str]] = {}
    for file in raw.files:
        if (match := TCIA_SERIES.fullmatch(file)) and kind_of(raw.path / file) == "DICOM":
            found.setdefault(f"PANCREAS_{match[2]}", []).append(file)
    return found


def _refuse_twice(patients: list[str], path: Path) -> None:
    twice = sorted(patient for patient, count in Counter(patients).items() if count > 1)
    if twice:
        raise DcubeError(f"{path}: {abbreviated(twice)} have several label maps each: keep one copy of the set")
