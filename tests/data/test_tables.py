"""`metadata.csv` as people write it: unusual delimiters, columns, and spellings of labels and patients."""

import json
import time
from pathlib import Path

import openpyxl
import pytest
from typer.testing import CliRunner

from dcube.cli.data import app
from dcube.config.schema import Data
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from tests.support.medical_files import RAMP, dicom_file
from tests.support.raw_sets import class_folders, noise, save, write_metadata

PLAIN = Data(image_size=16, diffusion_image_size=16)
PATIENT, SPLIT = "call it 'patient_id', or remove it", "call it 'split', or remove it"


@pytest.fixture(autouse=True)
def _salt(tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))


def images(folder: Path, count: int = 20) -> list[dict[str, str]]:
    """Write images, two of each patient, and return their table rows."""
    rows = []
    for i in range(count):
        save(folder / "im" / f"{i:02}.png", noise(i))
        split = "train" if i < 14 else "test"
        rows.append(
            {
                "file": f"im/{i:02}.png",
                "label": "ill" if i % 4 < 2 else "well",
                "patient_id": f"p{i // 2}",
                "split": split,
            }
        )
    return rows


def refused(folder: Path) -> str:
    with pytest.raises(DcubeError) as error:
        read_raw_dataset(folder, PLAIN)
    return str(error.value)


@pytest.mark.parametrize(
    ("column", "other", "mend"),
    [
        *(("patient_id", name, PATIENT) for name in ("patient", "subject_id", "case_id", "Patient Name", "PID")),
        *(("split", name, SPLIT) for name in ("set", "subset", "Splits", "phase", "fold", "usage")),
    ],
)  # fmt: skip
def test_misnamed_patient_or_split_column_is_refused(tmp_path, column, other, mend):
    rows = [{other if name == column else name: cell for name, cell in row.items()} for row in images(tmp_path)]
    said = refused(write_metadata(tmp_path, rows))
    assert f"the column {other!r} would not be used, and the split would be another one" in said and mend in said
    with pytest.raises(DcubeError, match="data check"):
        prepare(tmp_path, PLAIN, tmp_path / "out")


def test_unused_columns_are_listed(tmp_path):
    """None of them could change the split: they hold other values, or a better column is beside them."""
    rows = [
        row | {"case": row["patient_id"], "phase": "venous", "set": "A", "age": str(i), "note": ""}
        for i, row in enumerate(images(tmp_path))
    ]
    report = inspect_dataset(write_metadata(tmp_path, rows), PLAIN)
    assert report.unused_columns == ["case", "phase", "set", "age", "note"]
    assert report.as_dict()["unused_columns"] == report.unused_columns
    chosen = PLAIN.model_copy(update={"subgroups": ["phase"]})
    assert inspect_dataset(tmp_path, chosen).unused_columns == ["case", "set", "age", "note"]


@pytest.mark.parametrize(
    "date", ["2020-01-02", "2020-01-02 00:00:00", "1-Feb", "Feb-01", "5-Aug-21", "3/4/2020", "3.4.20"]
)
def test_date_is_refused_as_a_label(tmp_path, date):
    """Spreadsheets turn grades such as 1-2 into dates."""
    write_metadata(tmp_path, [row | {"label": date} if i < 3 else row for i, row in enumerate(images(tmp_path))])
    said = refused(tmp_path)
    assert f"lines 2, 3, 4, column 'label': {date!r} is a date (spreadsheets turn 1-2 into one)" in said


@pytest.mark.parametrize("label", ["1-2", "3+4", "1.5", "marrow-1", "Dec-A", "augmented-1", "T1/2", "12-lead"])
def test_grades_and_words_that_begin_like_months_are_valid_labels(tmp_path, label):
    write_metadata(tmp_path, [row | {"label": label} if i < 3 else row for i, row in enumerate(images(tmp_path))])
    assert label in {record.label for record in read_raw_dataset(tmp_path, PLAIN).records}


@pytest.mark.parametrize("between", ["|", ";", ", ", "+", " & ", "/", " and "])
def test_several_labels_in_one_cell_are_refused(tmp_path, between):
    rows = images(tmp_path)
    both = between.join(sorted({row["label"] for row in rows}))
    write_metadata(tmp_path, [rows[0] | {"label": both}, *rows[1:]])
    assert f"1 image has the several labels {both!r}, and an image has one: choose one" in refused(tmp_path)


def test_empty_rows_at_the_end_are_ignored(tmp_path):
    rows = images(tmp_path)
    write_metadata(tmp_path, [*rows, *[dict.fromkeys(rows[0], "")] * 3])
    assert len(read_raw_dataset(tmp_path, PLAIN).records) == len(rows)


@pytest.mark.parametrize("written", ["/home/me/{}", "{}.old.png", "other/{}", "C:/x/{}"])
def test_unknown_path_is_refused_with_images_of_the_same_name(tmp_path, written):
    rows = images(tmp_path)
    name = Path(rows[0]["file"])
    path = written.format(name) if "old" not in written else name.with_suffix("").as_posix()
    write_metadata(tmp_path, [rows[0] | {"file": path}, *rows[1:]])
    assert f"there is no image {path!r} below {tmp_path} (did you mean {name}" in refused(tmp_path)


def test_capitalised_column_name_and_utf16_are_refused_with_a_hint(tmp_path):
    rows = images(tmp_path)
    table = write_metadata(tmp_path, rows) / "metadata.csv"
    content = table.read_text()
    table.write_text(content.replace("file,", "File,", 1))
    assert "the column 'File' would not be used: call it 'file'" in refused(tmp_path)
    table.write_bytes(content.encode("utf-16-le"))
    assert "is not a CSV in UTF-8: it is UTF-16: save it as one" in refused(tmp_path)


@pytest.mark.parametrize("above", ["# exported 2024; by hand\n", "sep=,\n", "\n", "Patients of 2024,,\n,,\n"])
def test_lines_above_the_titles_are_refused_with_the_line_of_the_titles(tmp_path, above):
    table = write_metadata(tmp_path, images(tmp_path)) / "metadata.csv"
    table.write_text(above + table.read_text())
    line = 1 + above.count("\n")
    assert f"its columns are named in line {line} and not in line 1: remove what is above" in refused(tmp_path)


def test_column_called_by_a_number_sign_is_accepted(tmp_path):
    rows = [{"#": str(i), **row} for i, row in enumerate(images(tmp_path))]
    assert len(read_raw_dataset(write_metadata(tmp_path, rows), PLAIN).records) == len(rows)


@pytest.mark.parametrize("folders", ["collection", "ill"])
def test_list_of_series_of_a_tcia_download_is_named(tmp_path, folders):
    rows = []
    for i in range(4):
        folder = f"{folders if i % 2 else 'collection'}/P-{i:04d}/series"
        dicom_file(tmp_path / folder / "1-1.dcm", RAMP, PatientID=f"P-{i:04d}")
        rows.append(
            {"Series UID": f"1.2.{i}", "Collection": "C", "Subject ID": f"P-{i:04d}", "File Location": f"./{folder}"}
        )
    said = refused(write_metadata(tmp_path, rows))
    assert "metadata.csv is the list of series that comes with a download from TCIA (NBIA): remove it" in said
    assert "the columns file (the folders under 'File Location'), label and patient_id (as 'Subject ID')" in said


def test_table_with_many_columns_is_checked_in_seconds_and_printed_briefly(tmp_path):
    """Radiomics tables have thousands of columns, and each was once compared with every other."""
    columns = {f"feature {number}": "1" for number in range(20_000)}
    write_metadata(tmp_path, [row | columns for row in images(tmp_path)])
    start = time.process_time()
    printed = CliRunner().invoke(app, ["check", str(tmp_path)]).stdout
    assert time.process_time() - start < 8
    assert "feature 0" in printed and len(printed) < 5_000


@pytest.mark.parametrize("label", ["None", "-", "unknown", "Unknown", "NaN"])
@pytest.mark.parametrize("column", ["label", "patient_id"])
def test_cells_that_mean_unknown_are_refused(tmp_path, label, column):
    rows = [row | ({} if i % 5 else {column: label}) for i, row in enumerate(images(tmp_path))]
    what = column.partition("_")[0]
    mend = {
        "label": "if it is a class, call it by another name (no_finding)",
        "patient": "write nothing where it is not",
    }
    said = refused(write_metadata(tmp_path, rows))
    assert f"4 images have the {what} {label!r}: {mend[what]}" in said


def test_minus_one_beside_zero_and_one_is_refused(tmp_path):
    labels = {"ill": "1", "well": "0"}
    rows = [row | {"label": labels[row["label"]] if i % 5 else "-1"} for i, row in enumerate(images(tmp_path))]
    assert "4 images have the label '-1' beside '0' and '1'" in refused(write_metadata(tmp_path, rows))


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("label", "WAHR", "TRUE"), ("label", "FAUX", "0"),
        ("label", "True", "1"), ("label", "false", "0"), ("label", "1e0", "1"), ("label", "1.50", "1,5"),
        ("label", "Grade II", "grade_2"), ("label", "TYPE-iv", "Type 4"),
        ("label", "İyi", "iyi"), ("label", "SAĞLIKLI", "sağlıklı"), ("label", "grade 1", "Grade 01"),
        ("patient_id", "P1", "P01"), ("patient_id", "S1-02", "S01-2"), ("patient_id", "1", "001"),
        ("label", "ILL", "ill"), ("patient_id", "P3", "p3"), ("patient_id", "7", "7.0"), ("patient_id", "1e2", "100"),
    ],
)  # fmt: skip
def test_two_spellings_of_one_value_are_refused(tmp_path, column, one, other):
    rows = [row | ({column: (one, other)[i]} if i < 2 else {}) for i, row in enumerate(images(tmp_path))]
    said = refused(write_metadata(tmp_path, rows))
    assert "differ only in case, spaces or the format of a number: write one" in said
    assert repr(one) in said and repr(other) in said


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P1", "P10"), ("P10", "P100"), ("A0", "A00b"), ("v1.05", "v1.5"), ("1-01", "10-1"),
        ("1.2.840.1", "1.2.840.10"),
        ("002_S_0295", "002_S_2095"), ("TCGA-02-0001", "TCGA-02-0010"), ("sub-01", "sub-11"), ("b2a0f1", "b2a0f10"),
    ],
)  # fmt: skip
def test_identifiers_with_other_numbers_are_distinguished(tmp_path, one, other):
    rows = [row | {"patient_id": (one, other)[i] if i < 2 else f"x{i}"} for i, row in enumerate(images(tmp_path))]
    assert {one, other} < {record.patient for record in read_raw_dataset(write_metadata(tmp_path, rows), PLAIN).records}


def test_table_that_contradicts_the_class_folders_causes_a_warning(tmp_path):
    raw = class_folders(tmp_path / "raw")
    rows = [{"file": f.relative_to(raw).as_posix(), "label": f.parent.name} for f in sorted(raw.rglob("*.png"))]
    assert not [line for line in inspect_dataset(write_metadata(raw, rows), PLAIN).warnings if "another class" in line]
    changed = [row | ({"label": "well"} if i < 3 else {}) for i, row in enumerate(rows)]
    report = inspect_dataset(write_metadata(raw, changed), PLAIN)
    assert report.counts == {"": {"ill": 7, "well": 13}} and not report.problem
    (warning,) = [line for line in report.warnings if "another class" in line]
    assert warning.startswith(
        "3 of 20 images lie in a folder that is called like another class (3 in 'ill' with the label 'well'): correct"
    )


def test_folders_that_are_not_named_like_the_labels_contradict_nothing(tmp_path):
    """Sites, splits and views, and one folder called like a label, as `normal/` of a set of several findings."""
    raw, rows = tmp_path / "raw", []
    for i, folder in enumerate(["siteA/train", "siteB/test", "ill", "left/ill-defined"] * 4):
        save(raw / folder / f"{i}.png", noise(i))
        rows.append({"file": f"{folder}/{i}.png", "label": ("ill", "well")[i // 8]})
    assert not [line for line in inspect_dataset(write_metadata(raw, rows), PLAIN).warnings if "another class" in line]


def test_long_numeric_patient_ids_are_distinguished(tmp_path):
    """30 digits that differ only in the last are more than a float can distinguish."""
    rows = [row | {"patient_id": f"{10**29 + i}"} for i, row in enumerate(images(tmp_path))]
    assert len({record.patient for record in read_raw_dataset(write_metadata(tmp_path, rows), PLAIN).records}) == 20


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_table_with_another_delimiter_is_refused(tmp_path, delimiter, name):
    write_metadata(tmp_path, images(tmp_path))
    table = tmp_path / "metadata.csv"
    table.write_text(table.read_text().replace(",", delimiter))
    assert f"the columns are separated by {name}: save the table with commas" in refused(tmp_path)


def test_paths_may_begin_with_a_dot_but_backslashes_are_refused(tmp_path):
    rows = images(tmp_path)
    dotted = [row | {"file": f"./{row['file']}"} for row in rows]
    assert len(read_raw_dataset(write_metadata(tmp_path, dotted), PLAIN).records) == 20
    write_metadata(tmp_path, [row | {"file": row["file"].replace("/", "\\")} for row in rows])
    assert "write / in the place of \\" in refused(tmp_path)


def test_image_listed_under_two_paths_is_refused(tmp_path):
    rows = images(tmp_path)
    assert "line 22: 'im/00.png' is listed twice" in refused(
        write_metadata(tmp_path, [*rows, rows[0] | {"file": "./im/00.png"}])
    )


def test_class_in_upper_and_lower_case_across_splits_is_refused(tmp_path):
    for number, folder in enumerate(("train/ILL", "train/well", "test/ill", "test/well")):
        for i in range(4):
            save(tmp_path / folder / f"{i}.png", noise(10 * number + i))
    assert "the labels 'ILL' (4) and 'ill' (4) differ only in case" in refused(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "Patienten-ID", "Patientennummer", "Fallnummer", "Fall-Nr.", "identifiant", "ID patient", "sujet",
        "id_paciente", "code_patient", "Pazienti", "study_id", "StudyInstanceUID", "lesion_id", "Accession Number",
    ],
)  # fmt: skip
def test_misnamed_patient_or_study_column_in_any_language_is_refused(tmp_path, name):
    rows = [{name if title == "patient_id" else title: cell for title, cell in row.items()} for row in images(tmp_path)]
    assert f"the column {name!r} would not be used" in refused(write_metadata(tmp_path, rows))


@pytest.mark.parametrize("name", ["fall", "study", "lesion number", "exam no", "lesion", "code", "name", "patient age"])
def test_other_columns_with_repeated_values_are_only_listed(tmp_path, name):
    rows = [row | {name: str(i // 2), "patient_id": ""} for i, row in enumerate(images(tmp_path))]
    rows = [{title: cell for title, cell in row.items() if title != "patient_id"} for row in rows]
    assert inspect_dataset(write_metadata(tmp_path, rows), PLAIN).unused_columns == [name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": "tset"}, ": unknown split 'tset': use train, val or test"),
        ({"file": "no.png"}, ": there is no image 'no.png' below "),
        ({"label": "3-Jan"}, ", column 'label': '3-Jan' is a date"),
    ],
)
def test_all_lines_with_one_fault_are_named_at_once(tmp_path, change, said):
    rows = [row | (change if i % 3 == 0 else {}) for i, row in enumerate(images(tmp_path))]
    assert f"metadata.csv lines 2, 5, 8 and 4 more{said}" in refused(write_metadata(tmp_path, rows))


def test_all_lines_with_a_missing_or_additional_cell_are_named_at_once(tmp_path):
    table = write_metadata(tmp_path, images(tmp_path)) / "metadata.csv"
    lines = table.read_text().splitlines()
    lines[2], lines[5] = lines[2] + ",more", lines[5].rpartition(",")[0]
    table.write_text("\n".join(lines))
    assert "metadata.csv lines 3, 6: expected 4 cells" in refused(tmp_path)


def test_labels_in_merged_cells_are_refused(tmp_path):
    """Every second image without a label is accepted: several labelled images have the same one."""
    rows = images(tmp_path)
    merged = [row | {"label": {0: "ill", 10: "well"}.get(i, "")} for i, row in enumerate(rows)]
    assert "each label is followed by empty cells, as merged cells are saved" in refused(
        write_metadata(tmp_path, merged)
    )
    half = [row | ({"label": ""} if i % 2 else {}) for i, row in enumerate(rows)]
    assert len(read_raw_dataset(write_metadata(tmp_path, half), PLAIN).records) == 20


def test_patient_ids_in_merged_cells_are_refused(tmp_path):
    """A spreadsheet saves only the first of merged cells. Scattered rows without a patient are accepted."""
    rows = [row | ({"patient_id": ""} if i % 2 else {}) for i, row in enumerate(images(tmp_path))]
    assert "each patient_id is followed by empty cells, as merged cells are saved" in refused(
        write_metadata(tmp_path, rows)
    )
    rows = [row | ({"patient_id": ""} if i % 5 == 4 else {}) for i, row in enumerate(images(tmp_path))]
    assert len(read_raw_dataset(write_metadata(tmp_path, rows), PLAIN).records) == 20


@pytest.mark.parametrize("name", ["patients.csv", "clinical/list.xlsx", "people.json", "patients.txt"])
def test_patients_in_a_second_table_are_refused_unless_in_metadata_csv(tmp_path, name):
    rows = images(tmp_path)
    write_metadata(tmp_path, [{title: row[title] for title in ("file", "label")} for row in rows])
    people = [("image", "Patient ID"), *((row["file"], row["patient_id"]) for row in rows)]
    write_table(tmp_path / name, people)
    assert f"{name}: its column 'Patient ID' names patients, and would not be used: write it into" in refused(tmp_path)
    write_metadata(tmp_path, rows)
    assert read_raw_dataset(tmp_path, PLAIN).left_out == {"table that names images: only metadata.csv is read": (name,)}


def test_a_second_table_with_a_patient_for_each_image_is_only_listed(tmp_path):
    """Such patients keep no images together, so nothing is lost."""
    rows = images(tmp_path, count=120)
    write_metadata(tmp_path, [{title: row[title] for title in ("file", "label")} for row in rows])
    write_table(tmp_path / "list.csv", [("image", "patient"), *((row["file"], f"P{i}") for i, row in enumerate(rows))])
    assert list(read_raw_dataset(tmp_path, PLAIN).left_out.values()) == [("list.csv",)]


def write_table(file: Path, rows: list[tuple[str, str]]) -> None:
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".xlsx":
        book = openpyxl.Workbook()
        book.active.append(("read", "me"))  # the rows are on the second sheet
        sheet = book.create_sheet("rows")
        for row in rows:
            sheet.append(row)
        book.save(file)
    elif file.suffix == ".json":
        file.write_text(json.dumps([dict(zip(rows[0], row, strict=True)) for row in rows[1:]]))
    else:
        file.write_text("\n".join("\t".join(row) for row in rows))


@pytest.mark.parametrize("name", ["metadata.ods", "Metadata.xls", "metadata.jsonl", "metadata (1).parquet"])
def test_table_in_an_unsupported_format_is_refused(tmp_path, name):
    class_folders(tmp_path)
    (tmp_path / name).write_bytes(b"anything")
    assert f"{name} would not be read: save it as metadata.csv, or remove it" in refused(tmp_path)


def test_labels_unique_to_each_image_are_reported_as_measurements(tmp_path):
    rows = [row | {"label": f"{0.1 * i:.2f}"} for i, row in enumerate(images(tmp_path))]
    problem = inspect_dataset(write_metadata(tmp_path, rows), PLAIN).problem
    assert problem.startswith("there are 20 labels for 20 images (0.00, 0.10, 0.20 and 17 more), as measurements")


def test_missing_label_column_is_named_with_a_hint(tmp_path):
    """The labels here are one-hot columns."""
    rows = [{"file": row["file"], "ill": "1", "well": "0"} for row in images(tmp_path)]
    said = refused(write_metadata(tmp_path, rows))
    assert said.endswith("'label' is missing (found: file, ill, well): add it, with one value in each row")


def test_whole_numbers_as_pandas_writes_them_are_read_without_their_fraction(tmp_path):
    """pandas makes floats of whole numbers where one is missing: labels, patients and subgroups alike."""
    rows = images(tmp_path)
    for i, row in enumerate(rows):
        row |= {"label": "" if i == 0 else f"{float(i % 4 < 2)}", "patient_id": f"{i // 2:.1f}", "stage": f"{i % 2}.0"}
    report = inspect_dataset(write_metadata(tmp_path, rows), PLAIN)
    assert {label for counts in report.counts.values() for label in counts} == {"0", "1"} and not report.problem
    source = read_raw_dataset(tmp_path, PLAIN.model_copy(update={"subgroups": ["stage"]}))
    assert {record.patient for record in source.records} == {str(i) for i in range(10)}
    assert source.records[3].subgroups == ("1",)


def test_unknown_labels_written_as_floats_are_refused_like_whole_numbers(tmp_path):
    rows = [row | {"label": f"{i % 3 - 1}.0"} for i, row in enumerate(images(tmp_path))]
    assert "images have the label '-1' beside '0' and '1'" in refused(write_metadata(tmp_path, rows))


@pytest.mark.parametrize("labels", [("0.0", "1.5"), ("0.50", "1.0")])
def test_fractions_are_kept_as_they_are(tmp_path, labels):
    rows = [row | {"label": labels[i % 2]} for i, row in enumerate(images(tmp_path))]
    assert {one.label for one in read_raw_dataset(write_metadata(tmp_path, rows), PLAIN).records} == set(labels)
