"""Duke Breast Cancer MRI, as the archive's own downloader arranges it (Saha et al. 2018, doi 10.7937/TCIA.e3sv-re93).

    …/Breast_MRI_001/01-01-1990-NA-MRI BREAST BILATERAL WWO-97538/26.000000-ax dyn 1st pass-59893/1-001.dcm …
    Annotation_Boxes.xlsx   Clinical_and_Other_Features.xlsx
    labels.csv   train_ids.csv, test_ids.csv   (optional)

The layout uses the slices of the first series after the contrast agent that the tumour's annotation box spans: 25 per
patient on average, as in the paper. The paper's patients are the 127 with a segmentation (`data.patients`). The classes
come from `labels.csv` (patient_id, label, optionally split), or without it from the clinical table's column
"Lymphadenopathy or Suspicious Nodes".
"""

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

from dcube.config.schema import Data
from dcube.data.layouts.breast_mri_series import first_after_contrast, is_segmentation
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.layouts.spreadsheets import read_spreadsheet
from dcube.data.layouts.tables import read_patients
from dcube.data.readers import dicom
from dcube.data.readers.file_kinds import kind_of
from dcube.data.readers.windows import window_of
from dcube.errors import DcubeError, abbreviated

BOXES = "Annotation_Boxes.xlsx"
CLINICAL = "Clinical_and_Other_Features.xlsx"
LABELS = "labels.csv"
SPLIT_LISTS = {"train_ids.csv": "train", "test_ids.csv": "test"}
TABLES = (BOXES, CLINICAL, LABELS, *SPLIT_LISTS)
ID, NODES = "Patient ID", "Lymphadenopathy or Suspicious Nodes"
CLASSES = {"0": "no_suspicious_nodes", "1": "suspicious_nodes"}
PATIENT = re.compile(r"Breast_MRI_\d+")

NO_SERIES = "patient without a first series after the contrast agent"
NOT_SEGMENTED = "patient without a segmentation (data.patients: segmented)"
NOT_LISTED = "patient in neither train_ids.csv nor test_ids.csv"
OTHER_SERIES = "another series than the first after the contrast agent"
OUTSIDE = "slice outside of the tumour's annotation box"

Folders = dict[str, list[str]]  # the files of each series


def recognises(raw: RawFiles) -> bool:
    return (raw.path / BOXES).is_file()


def read_layout(raw: RawFiles, data: Data) -> RawDataset:
    """List the annotated slices of every patient with images.

    Patients without the series that is used are listed in `left_out`.

    Raises:
        DcubeError: if a table does not fit, or slices are missing; the message names the table or the patients.
    """
    path = raw.path
    patients = _patients(raw)
    if not patients:
        raise DcubeError(f"{path} holds {BOXES} and no images: put the folders Breast_MRI_001 … beside it")
    splits = _splits(path)
    used, left_out = _choose(path, patients, splits, data)
    labels = _labels(path, set(patients))
    boxes = {row[ID]: row for row in _rows(path / BOXES, ("Start Slice", "End Slice"))}
    records, problems = [], []
    for patient, series in used.items():
        try:
            slices = _within(path, patient, patients[patient][series], boxes)
        except _IncompleteError as problem:
            problems.append(f"{patient} {problem}")
            continue
        label, split = labels.get(patient, ("", ""))
        records += [ImageRecord(file, label, patient, splits.get(patient, split)) for file in slices]
        left_out[OUTSIDE] += sorted(set(patients[patient][series]) - set(slices))
        left_out[OTHER_SERIES] += [file for one, files in patients[patient].items() if one != series for file in files]
    if problems:
        raise DcubeError(f"{path}: {abbreviated(problems, 6)}: fetch them again, or remove their folders")
    window = window_of(data)
    return RawDataset(
        "Duke Breast Cancer MRI",
        records,
        lambda i: dicom.read_frame(path / records[i].file, window=window),
        tuple(file for file in raw.files if not PATIENT.search(file) and file not in TABLES),
        (
            "Slices: those of the first series after the contrast agent that the tumour's annotation box spans.",
            f"Classes: {LABELS}." if (path / LABELS).is_file() else f"Classes: the clinical table's column {NODES!r}.",
            f"Patients: {len(used)} of {len(patients)}.",
        ),
        is_medical=True,
        left_out={why: tuple(files) for why, files in left_out.items() if files},
    )


class _IncompleteError(Exception):
    """A patient's files are incomplete; the text says what is missing."""


def _patients(raw: RawFiles) -> dict[str, Folders]:
    """Return the DICOM files by patient and series folder."""
    found: dict[str, Folders] = defaultdict(lambda: defaultdict(list))
    for file in raw.files:
        patient = next(filter(PATIENT.fullmatch, PurePosixPath(file).parts), None)
        if patient and kind_of(raw.path / file) == "DICOM":
            found[patient][str(PurePosixPath(file).parent)].append(file)
    return found


def _choose(
    path: Path, patients: dict[str, Folders], splits: dict[str, str], data: Data
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the used series folder of each patient, and the folders of the other patients by reason."""
    used: dict[str, str] = {}
    left_out: dict[str, list[str]] = defaultdict(list)
    for patient, folders in patients.items():
        series = [folder for folder in folders if not is_segmentation(folder)]
        folder = next(iter(folders)).partition(patient)[0] + patient
        if data.patients == "segmented" and len(series) == len(folders):
            left_out[NOT_SEGMENTED].append(folder)
        elif splits and patient not in splits:
            left_out[NOT_LISTED].append(folder)
        elif first := first_after_contrast(series):
            used[patient] = first
        else:
            left_out[NO_SERIES].append(folder)
    if not used:
        reasons = ", ".join(f"{len(folders)} × {why}" for why, folders in left_out.items())
        raise DcubeError(f"{path}: no patient can be used: {reasons}: add these series, or change data.patients")
    return used, left_out


def _within(path: Path, patient: str, files: list[str], boxes: dict[str, dict[str, str]]) -> list[str]:
    """Return the files (1-001.dcm …) whose slice numbers are in the annotation box, including both ends, in order."""
    if patient not in boxes:
        raise _IncompleteError(f"is not in {BOXES}")
    try:
        first, last = (int(float(boxes[patient][column])) for column in ("Start Slice", "End Slice"))
    except (ValueError, OverflowError):
        raise DcubeError(f"{path / BOXES}: Start Slice or End Slice of {patient} is not a number") from None
    numbered = {
        int(match[1]): file for file in files if (match := re.search(r"(\d+)(?:\.[a-z]+)?$", file, re.IGNORECASE))
    }
    wanted = range(first, min(last, first + 10_000) + 1)
    missing = [f"slice {number}" for number in wanted if number not in numbered]
    if missing or not wanted:
        raise _IncompleteError(f"lacks {abbreviated(missing) or 'every slice'} of its annotation box")
    return [numbered[number] for number in wanted]


def _labels(path: Path, patients: set[str]) -> dict[str, tuple[str, str]]:
    """Return label and split by patient."""
    if (path / LABELS).is_file():
        return read_patients(path / LABELS, patients)
    if not (path / CLINICAL).is_file():
        raise DcubeError(f"{path} holds neither {CLINICAL} nor {LABELS}: add one of them")
    return {row[ID]: (CLASSES.get(row[NODES], ""), "") for row in _rows(path / CLINICAL, (NODES,))}


def _splits(path: Path) -> dict[str, str]:
    """Return the split by patient from the two lists of patients; empty unless both lists exist."""
    if not all((path / name).is_file() for name in SPLIT_LISTS):
        return {}
    found: dict[str, str] = {}
    for name, split in SPLIT_LISTS.items():
        patients = set(PATIENT.findall((path / name).read_text(encoding="utf-8-sig", errors="replace")))
        if not patients:
            raise DcubeError(f"{path / name} lists no patient: write Breast_MRI_001 …, one in a line, or remove it")
        if both := sorted(patients & set(found)):
            raise DcubeError(f"{path / name}: {abbreviated(both)} are in the other list too: keep them in one")
        found |= dict.fromkeys(patients, split)
    return found


def _rows(path: Path, required: tuple[str, ...]) -> list[dict[str, str]]:
    return [row for row in read_spreadsheet(path, (ID, *required)) if PATIENT.fullmatch(row[ID])]
