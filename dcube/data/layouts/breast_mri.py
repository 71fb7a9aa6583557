"""Duke Breast Cancer MRI as the archive's own downloader lays it out (Saha et al. 2018, doi 10.7937/TCIA.e3sv-re93).

    …/Breast_MRI_001/01-01-1990-NA-MRI BREAST BILATERAL WWO-97538/26.000000-ax dyn 1st pass-59893/1-001.dcm …
    Annotation_Boxes.xlsx   Clinical_and_Other_Features.xlsx   labels.csv (optional)

Used are the slices of the first series after the contrast agent that the annotation box of the tumour spans: 25 a
patient on average, as the paper has. `labels.csv` (patient_id, label, perhaps split) says who belongs to which class;
without it the clinical table's column "Lymphadenopathy or Suspicious Nodes" does, which tells yes from no, and not the
paper's two kinds of yes.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from openpyxl import load_workbook

from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.layouts.tables import read_patients
from dcube.data.readers import dicom
from dcube.data.readers.windows import Window
from dcube.errors import DcubeError, abbreviated

BOXES = "Annotation_Boxes.xlsx"
CLINICAL = "Clinical_and_Other_Features.xlsx"
LABELS = "labels.csv"
NODES = "Lymphadenopathy or Suspicious Nodes"
CLASSES = {"0": "no_suspicious_nodes", "1": "suspicious_nodes"}
PATIENT = re.compile(r"Breast_MRI_\d+")
AFTER_CONTRAST = re.compile(r"\b1st[ _-]?pass|ph1(?!\d)|post_1(?!\d)", re.IGNORECASE)
HEADER_ROWS = 4


def recognises(raw: RawFiles) -> bool:
    return (raw.path / BOXES).is_file()


def read_layout(raw: RawFiles, window: Window | None) -> RawDataset:
    """List the annotated slices of every patient whose images are there.

    Raises:
        DcubeError: naming the table, patient or folder that does not fit.
    """
    path = raw.path
    series = _series(raw.files)
    if not series:
        raise DcubeError(f"{path} holds {BOXES} and no images: put the folders Breast_MRI_001 … beside it")
    labels = _labels(path, set(series))
    boxes = {row["Patient ID"]: row for row in _rows(path / BOXES, ("Start Slice", "End Slice"))}
    records = []
    for patient, folders in series.items():
        if patient not in boxes:
            raise DcubeError(f"{path / BOXES} does not list {patient}: complete it, or remove the folder")
        label, split = labels.get(patient, ("", ""))
        chosen = _within(path, _chosen(path, patient, folders), boxes[patient])
        records += [ImageRecord(file, label, patient, split) for file in chosen]
    return RawDataset(
        "Duke Breast Cancer MRI",
        records,
        lambda i: dicom.read_frame(path / records[i].file, window=window),
        tuple(file for file in raw.files if not PATIENT.search(file) and file not in (BOXES, CLINICAL, LABELS)),
        (
            "Slices: those of the first series after the contrast agent that the tumour's annotation box spans.",
            f"Classes: {LABELS}." if (path / LABELS).is_file() else f"Classes: the clinical table's column {NODES!r}.",
        ),
        is_medical=True,
    )


def _series(files: list[str]) -> dict[str, dict[str, list[str]]]:
    """DICOM files by patient and series folder."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        patient = next(filter(PATIENT.fullmatch, PurePosixPath(file).parts), None)
        if patient and file.lower().endswith(".dcm"):
            found[patient][str(PurePosixPath(file).parent)].append(file)
    return found


def _chosen(path: Path, patient: str, folders: dict[str, list[str]]) -> list[str]:
    """The files of the first series after the contrast agent; of a patient's only series, whatever it is called."""
    fitting = [folder for folder in folders if AFTER_CONTRAST.search(PurePosixPath(folder).name)]
    fitting = list(folders) if len(folders) == 1 else fitting
    if len(fitting) != 1:
        names = abbreviated([PurePosixPath(folder).name for folder in fitting or folders], 6)
        raise DcubeError(
            f"{path}: {patient} has {len(fitting) or 'no'} series called 1st pass or Ph1, of {names}: leave one of them"
        )
    return folders[fitting[0]]


def _within(path: Path, files: list[str], box: dict[str, str]) -> list[str]:
    """The files (1-001.dcm …) whose numbers the box spans, both ends included, in their order."""
    patient = box["Patient ID"]
    try:
        wanted = range(int(float(box["Start Slice"])), int(float(box["End Slice"])) + 1)
    except ValueError:
        raise DcubeError(f"{path / BOXES}: Start Slice or End Slice of {patient} is not a number") from None
    numbered = {int(match[1]): file for file in files if (match := re.search(r"(\d+)\.dcm$", file, re.IGNORECASE))}
    missing = [f"slice {number}" for number in wanted if number not in numbered]
    if missing or not wanted:
        raise DcubeError(
            f"{path}: {patient} lacks {abbreviated(missing) or 'every slice'} of its annotation box: fetch it again"
        )
    return [numbered[number] for number in wanted]


def _labels(path: Path, patients: set[str]) -> dict[str, tuple[str, str]]:
    """Label and split by patient."""
    if (path / LABELS).is_file():
        return read_patients(path / LABELS, patients)
    if not (path / CLINICAL).is_file():
        raise DcubeError(f"{path} holds neither {CLINICAL} nor {LABELS}: add one of them")
    return {row["Patient ID"]: (CLASSES.get(row[NODES], ""), "") for row in _rows(path / CLINICAL, (NODES,))}


def _rows(path: Path, required: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The patients' rows of a spreadsheet; in the clinical one the columns' names stand in the second of three rows."""
    try:
        with path.open("rb") as file:
            rows = [[_text(cell) for cell in row] for row in load_workbook(file, read_only=True).worksheets[0].values]
    except Exception as error:  # openpyxl raises all kinds of errors on damaged files
        raise DcubeError(f"{path} is not a readable spreadsheet ({type(error).__name__}): fetch it again") from None
    header = next((row for row in rows[:HEADER_ROWS] if "Patient ID" in row), [])
    for column in required:
        if column not in header:
            raise DcubeError(f"{path}: the column {column!r} is missing: fetch it again")
    for row in rows:
        named = dict(zip(header, row, strict=False))
        if PATIENT.fullmatch(named["Patient ID"]):
            yield named


def _text(cell: Any) -> str:
    """Excel keeps whole numbers as floats now and then."""
    return str(
        int(cell) if isinstance(cell, float) and cell.is_integer() else cell or ("0" if cell == 0 else "")
    ).strip()
