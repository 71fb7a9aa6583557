"""Labels and patient ids that a spreadsheet has changed, and valid ones that look similar."""

import re
from pathlib import Path

import numpy as np
import pytest

from dcube.config.schema import Data
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from tests.support.medical_files import RAMP, dicom_file
from tests.support.raw_sets import class_folders, medmnist_file, noise, save, write_metadata

PLAIN = Data(image_size=16, diffusion_image_size=16)
DATE, ERROR, TIME = "a date (spreadsheets", "an error value of a spreadsheet", "a time (spreadsheets"
SHORTENED, ZEROS = "a number without its last digits", "a number whose digits after the first 15 were replaced by zeros"
EXPORT = "export the identifiers again from their source, with their column formatted as text"


@pytest.fixture(autouse=True)
def _salt(tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))


def table(folder: Path, patients: list[str], labels: list[str] | None = None) -> Path:
    """Write one image of each class for every patient, and the table."""
    rows = []
    for number, patient in enumerate(patients):
        for i, label in enumerate(labels or ("ill", "well")):
            file = f"{number}_{i}.png"
            save(folder / file, noise(10 * number + i))
            rows.append({"file": file, "label": label, "patient_id": patient})
    return write_metadata(folder, rows)


def refused(raw: Path) -> str:
    with pytest.raises(DcubeError) as error:
        read_raw_dataset(raw, PLAIN)
    return str(error.value)


@pytest.mark.parametrize(
    ("patients", "damaged", "what"),
    [
        (["P1", "1.2E+10", "P2", "1.2E+10"], "1.2E+10", SHORTENED),
        (["P1", "1,2345E+17", "P2", "P3"], "1,2345E+17", SHORTENED),
        (["P1", "1.2345678901234568e+17", "P2"], "1.2345678901234568e+17", SHORTENED),
        (["1-40", "3-Jan", "5-61", "9-70"], "3-Jan", DATE),
        (["4-Feb", "3-Jan", "5-Mar", "9-Dec"], "4-Feb", DATE),
        (["P1", "03. Mrz", "P2"], "03. Mrz", DATE),
        (["P1", "Jan 45", "P2"], "Jan 45", DATE),
        (["P1", "2020-01-02", "P2"], "2020-01-02", DATE),
        (["2020-14-02", "1/2/2020", "2020-15-03"], "1/2/2020", DATE),
        (["P1", "02.01.2020 00:00:00", "P2"], "02.01.2020 00:00:00", DATE),
        (["P1", "#NUM!", "P2"], "#NUM!", ERROR),
        (["P1", "#BEZUG!", "P2"], "#BEZUG!", ERROR),
        (["P1", "######", "P2"], "######", ERROR),
        (["1:80", "01:02:00", "2:90"], "01:02:00", TIME),
        (["123456789012345000", "P7", "123456789012346000"], "123456789012345000", ZEROS),
    ],
)  # fmt: skip
def test_patient_ids_changed_by_a_spreadsheet_are_refused(tmp_path, patients, damaged, what):
    said = refused(table(tmp_path / "raw", patients))
    line = 2 + 2 * patients.index(damaged)
    assert f"metadata.csv lines {line}, {line + 1}" in said
    assert re.search(rf"column 'patient_id': .*{re.escape(repr(damaged))}.* is {re.escape(what)}", said)
    assert said.endswith(EXPORT)
    with pytest.raises(DcubeError, match="data check"):
        prepare(tmp_path / "raw", PLAIN, tmp_path / "out")


@pytest.mark.parametrize(
    "patients",
    [
        ["TCGA-02-0006", "TCGA-02-0009", "TCGA-E2-A14P", "TCGA-OL-A66N"],
        ["LIDC-IDRI-0001", "LIDC-IDRI-0002", "LIDC-IDRI-1012", "LIDC-IDRI-0078"],
        ["003_S_1057", "011_S_0021", "941_S_1195", "126_S_0606"],
        ["sub-01", "sub-02", "sub-OAS30001", "ses-01"],
        ["10000032", "10000764", "12345678", "19999987"],
        ["1.2.840.113619.2.5", "1.2.840.113619.2.6", "1.3.6.1.4.1", "2.25.7"],
        ["01-12-15", "01-12-115", "99-01-15", "12-40-20"],
        ["2020-01-02", "2020-14-02", "2019-02-31", "2020-12-112"],
        ["1/1", "1/2", "12/40", "3/7"],
        ["3-Jan", "4-Tom", "5-Eva", "6-May"],
        ["01-MAR", "02-MAR", "OCT-01", "MAI-07"],
        ["2E10", "3E11", "1e2", "7E5"],
        ["490154203237518", "490154203237526", "123456789012345", "999999999999990"],
        ["1234567890123450", "1234567890123461", "1234567890123472", "1234567890123483"],
        ["IP_7279968", "HAM_0000118", "PAT_1516", "Breast_MRI_001"],
        ["20200102", "20200103", "5", "6"],
        ["A#1", "#1", "#12", "C#"],
        ["f81d4fae-7dec-11d0", "00c65e91-a00a", "7c9e6679-7425", "1e-a"],
    ],
)
def test_valid_patient_ids_similar_to_dates_or_numbers_are_accepted(tmp_path, patients):
    raw = table(tmp_path, patients)
    assert {record.patient for record in read_raw_dataset(raw, PLAIN).records} == set(patients)
    assert inspect_dataset(raw, PLAIN).warnings == []


def test_patient_ids_that_are_all_dates_cause_a_warning(tmp_path):
    report = inspect_dataset(table(tmp_path, [f"2020-01-{day:02}" for day in range(1, 9)]), PLAIN)
    assert not report.problem and "the patients have dates as names" in report.warnings[0]


@pytest.mark.parametrize("damaged", ["1.2E+10", "#REF!"])
def test_changed_patient_ids_in_dicom_and_npz_are_refused(tmp_path, damaged):
    for i, label in enumerate(("ill", "well", "ill", "well")):
        dicom_file(
            tmp_path / "raw" / label / f"{i}.dcm", np.roll(RAMP, 40 * i), PatientID=damaged if i < 2 else f"P{i}"
        )
    assert f"2 images have the patient {damaged!r}, a" in refused(tmp_path / "raw")
    file = medmnist_file(tmp_path / "mine.npz", train_patients=np.array([damaged, *"abcdefg"]))
    assert refused(file).endswith(EXPORT)


LABELS = [
    "3. März", "03. Mrz", "3 mars", "03-mars", "12-déc", "1-févr", "15. Januar 2024", "Okt 21", "Mär 24",
    "mars", "März", "Januar", "décembre", "September", "2024-01", "01/2024", "01FEB2020", "1月2日", "1. Feb.",
]  # fmt: skip
ERRORS = ["#REF!", "#N/A", "#DIV/0!", "#NAME?", "#NV", "#WERT!", "#¡REF!", "#NOM?", "####", "Err:502"]


@pytest.mark.parametrize(
    ("label", "what"), [*((label, DATE) for label in LABELS), *((label, ERROR) for label in ERRORS)]
)
def test_labels_changed_by_a_spreadsheet_are_refused(tmp_path, label, what):
    said = refused(table(tmp_path / "table", ["P1", "P2"], ["ill", label]))
    assert f"metadata.csv lines 3, 5, column 'label': {label!r} is {what}" in said
    if "/" not in label:
        raw = class_folders(tmp_path / "folders", ("ill", label), images=2)
        assert f"2 images have the label {label!r}, {what}" in refused(raw)


@pytest.mark.parametrize(
    "classes",
    [
        ("glioma", "meningioma", "notumor", "pituitary"),
        ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"),
        ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
        ("OCT", "fundus", "OCT-01", "MAR", "DEC"),
        ("CNV", "DME", "DRUSEN", "NORMAL"),
        ("BI-RADS 4A", "BI-RADS 1", "birads_3"),
        ("T1a", "T2", "N0", "M1"),
        ("3+3", "3+4", "4+3", "4+4"),
        ("1:80", "1:160", "1:320"),
        ("KL-0", "KL-1", "Grade_II"),
        ("CN", "MCI", "AD", "MildDemented"),
        ("HER2+", "ER-", "Luminal A"),
        ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"),
        ("C5-C6", "L1-L2", "1-2", "5-10"),
        ("MAI", "MARS", "marrow-1", "mayo clinic", "c-Jun"),
        ("0-12 months", "12-24 months", "1.5", "2020"),
    ],
)
def test_class_names_of_well_known_sets_are_accepted(tmp_path, classes):
    raw = table(tmp_path, ["P1", "P2", "P3"], list(classes))
    assert {record.label for record in read_raw_dataset(raw, PLAIN).records} == set(classes)
    assert inspect_dataset(raw, PLAIN).warnings == []


def test_too_few_patients_for_three_splits_are_reported(tmp_path):
    problem = inspect_dataset(table(tmp_path / "one", ["site 7"] * 6), PLAIN).problem
    assert problem.startswith(
        "all labelled images are of 1 patient ('site 7'), and each is in one split of 3: give each"
    )
    problem = inspect_dataset(table(tmp_path / "two", ["a", "b"] * 6), PLAIN).problem
    assert problem.startswith("all labelled images are of 2 patients ('a', 'b')")


def test_empty_patient_column_is_refused(tmp_path):
    said = refused(table(tmp_path, [""] * 6))
    assert "the column 'patient_id' is empty in every row: fill it, or remove it if patients are not known" in said


def test_patient_id_with_most_of_the_images_causes_a_warning(tmp_path):
    report = inspect_dataset(table(tmp_path, ["0"] * 12 + [f"P{i}" for i in range(8)]), PLAIN)
    said = "one patient has 24 of 40 images, and the others have a median of 2: leave the name empty if it stands for"
    assert said in report.warnings[0]
