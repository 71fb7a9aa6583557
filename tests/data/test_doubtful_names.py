"""Class names that are probably no class: unsorted folders, second parts of a class, and words for unknown."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from dcube.config.schema import Data
from dcube.data.adding import add_dataset
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.prepared import PreparedDataset
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from tests.support.raw_sets import class_folders, medmnist_file, noise, save, write_metadata

PLAIN = Data(image_size=16, diffusion_image_size=16)
LEFT_OF_SORTING = "may be a leftover of sorting"
NO_FINDING = (
    "if it is a class, call it by another name (no_finding); else leave the cell empty, or call the folder unlabelled"
)


@pytest.fixture(autouse=True)
def _salt(tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))


def table(folder, classes):
    rows = []
    for number in range(5 * len(classes)):
        save(folder / f"{number}.png", noise(number))
        rows.append({"file": f"{number}.png", "label": classes[number % len(classes)]})
    return write_metadata(folder, rows)


def split_folders(folder, classes):
    for number, split in enumerate(("train", "test")):
        for c, label in enumerate(classes):
            for i in range(5):
                save(folder / split / label / f"{i}.png", noise(1000 * number + 100 * c + i))
    return folder


def refused(raw) -> str:
    with pytest.raises(DcubeError) as error:
        read_raw_dataset(raw, PLAIN)
    return str(error.value)


@pytest.mark.parametrize("make", [class_folders, split_folders, table])
@pytest.mark.parametrize(
    "name",
    [
        "New folder", "New Folder (2)", "Neuer Ordner", "Neuer Ordner (3)", "Nouveau dossier", "untitled folder 2",
        "unsorted", "trash", "Papierkorb", "todo", "To do", "to_sort", "backup",
        "Backup 2", "copy", "TBD", "unlabeled data", "no_label",
        "pred", "predict", "Predictions", "Test cases", "test_cases", "test-samples", "holdout",
        "hold-out", "holdout_set", "external_test", "External Validation", "Validation cases", "inference",
    ],
)  # fmt: skip
def test_names_of_unsorted_or_temporary_folders_are_refused_as_classes(tmp_path, make, name):
    said = refused(make(tmp_path / "raw", ("ill", "well", name)))
    assert f"images have the label {name!r}, which is not the name of a class: move them into their classes" in said
    assert "call the folder unlabelled" in said


@pytest.mark.parametrize("make", [class_folders, split_folders, table])
@pytest.mark.parametrize(
    "name",
    [
        "old", "misc", "excluded", "Miscellaneous", "temp", "tmp2", "raw", "Sonstiges", "external", "sample", "Samples",
        "examples", "new", "documentation", "annotated", "augmented",
    ],
)  # fmt: skip
def test_doubtful_class_names_are_used_with_a_warning(tmp_path, make, name):
    raw = make(tmp_path / "raw", ("ill", "well", name))
    found = inspect_dataset(raw, PLAIN)
    assert [warning for warning in found.warnings if LEFT_OF_SORTING in warning] == [found.warnings[0]]
    assert repr(name) in found.warnings[0] and not found.problem
    prepare(raw, PLAIN, tmp_path / "out")
    assert found.warnings[0] in PreparedDataset.load(tmp_path / "out").info.warnings


@pytest.mark.parametrize("copy", ["normal 2", "normal_3", "normal2", "Normal 2"])
def test_numbered_copy_of_a_class_name_causes_a_warning(tmp_path, copy):
    report = inspect_dataset(class_folders(tmp_path, ("ill", "normal", copy)), PLAIN)
    assert f"the class {copy!r} looks like a second part of {copy[:-1].strip(' _')!r}" in report.warnings[0]
    assert not report.problem


@pytest.mark.parametrize(
    "classes",
    [
        ("diabetes 1", "diabetes 2"),
        ("grade 1", "grade 2", "grade 3"),
        ("grade_0", "grade_2", "normal"),
        ("old", "young"),
        ("new lesion", "old lesion"),
        ("old fracture", "fracture"),
        ("T1", "T2", "T1c"),
        ("covid", "covid-19", "normal"),
        ("HER2", "HER2 low", "HER2 0"),
        ("sars-cov", "sars-cov-2"),
        ("BACK", "TUM", "NORM"),
        ("mis", "other", "rest"),
        ("new", "old"),
        ("toddler", "adult"),
        ("cn", "mci", "ad"),
        ("normal", "benign", "malignant"),
        ("Test positive", "Test negative"),
        ("predominant", "predisposed", "new lesion"),
        ("sample", "blank"),
        ("internal", "external"),
        ("renewed", "documented", "validated"),
        ("external auditory canal", "middle ear"),
        ("case", "control"),
        ("Bengin cases", "Malignant cases", "Normal cases"),
        ("backlit", "copy number loss", "temporal", "rawhide"),
    ],
)
def test_distinct_class_names_cause_no_warning(tmp_path, classes):
    report = inspect_dataset(class_folders(tmp_path, classes), PLAIN)
    assert not [warning for warning in report.warnings if "the class" in warning] and not report.problem


@pytest.mark.parametrize("make", [class_folders, split_folders, table])
@pytest.mark.parametrize("name", ["None", "Unknown", "-", "NaN", "unbekannt", "N.A."])
def test_hint_for_labels_that_mean_unknown_works_in_folders_and_tables(tmp_path, make, name):
    """After renaming it is a class; in a folder `unlabelled` or with an empty cell the images have no label."""
    assert f"images have the label {name!r}: {NO_FINDING}" in refused(make(tmp_path / "raw", ("ill", "well", name)))
    named = make(tmp_path / "named", ("ill", "well", "no_finding"))
    assert {record.label for record in read_raw_dataset(named, PLAIN).records} == {"ill", "well", "no_finding"}
    empty = make(tmp_path / "empty", ("ill", "well", "" if make is table else "unlabelled"))
    assert {record.label for record in read_raw_dataset(empty, PLAIN).records} == {"ill", "well", ""}


def test_npz_patient_called_none_is_refused_with_a_hint(tmp_path):
    file = medmnist_file(tmp_path / "mine.npz", train_patients=np.array(["None", *"abcdefg"]))
    assert "1 image has the patient 'None': write nothing where it is not known" in refused(file)
    file = medmnist_file(tmp_path / "mine.npz", train_patients=np.array(["", *"abcdefg"]))
    assert read_raw_dataset(file, PLAIN).records[0].patient == ""


def test_add_refuses_a_zip_with_an_unsorted_folder(tmp_path):
    raw = class_folders(tmp_path / "raw", ("ill", "well", "New folder"))
    packed = Path(shutil.make_archive(str(tmp_path / "set"), "zip", raw))
    with pytest.raises(DcubeError, match="'New folder', which is not the name of a class"):
        add_dataset(PLAIN.model_copy(update={"name": "mine"}), packed, tmp_path / "data" / "mine")
