"""Further arrays of an `.npz`: patients are used, and all others are listed as unused."""

import zipfile

import numpy as np
import pytest

from dcube.config.schema import Data
from dcube.data.adding import add_dataset
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.prepared import PreparedDataset
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from tests.support.raw_sets import medmnist_file

PLAIN = Data(image_size=16, diffusion_image_size=16)
SPLITS = ("train", "val", "test")
NAMES = {split: np.repeat([f"{split} {i}" for i in range(4)], 2) for split in SPLITS}


@pytest.fixture(autouse=True)
def _salt(tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))


def patients(file) -> list[str]:
    return [record.patient for record in read_raw_dataset(file, PLAIN).records]


def refused(file) -> str:
    with pytest.raises(DcubeError) as error:
        read_raw_dataset(file, PLAIN)
    return str(error.value)


@pytest.mark.parametrize("name", ["patients", "patient_ids", "subject", "groups", "ids", "case_id"])
@pytest.mark.parametrize("kind", ["text", "bytes", "column"])
def test_patient_arrays_are_used(tmp_path, name, kind):
    forms = {
        "text": lambda names: names,
        "bytes": lambda names: names.astype(bytes),
        "column": lambda names: names[:, None],
    }
    arrays = {f"{split}_{name}": forms[kind](names) for split, names in NAMES.items()}
    file = medmnist_file(tmp_path / "mine.npz", **arrays)
    assert patients(file) == [name for split in SPLITS for name in NAMES[split]]
    report = inspect_dataset(file, PLAIN)
    assert report.patients == 12 and report.grouping == "patients" and not report.left_out
    prepare(file, PLAIN, tmp_path / "out")
    assert PreparedDataset.load(tmp_path / "out").info.patients == 12


def test_numeric_patient_ids_are_used_and_nan_is_unknown(tmp_path):
    numbers = np.array([7, 7, 8, 8, 9, 9, np.nan, 10])
    file = medmnist_file(tmp_path / "mine.npz", train_patients=numbers, test_patients=np.arange(20, 28))
    assert patients(file)[:8] == ["7", "7", "8", "8", "9", "9", "", "10"]
    assert patients(file)[8:16] == [""] * 8, "validation names none"
    assert any("9 of 24 images name no patient" in warning for warning in inspect_dataset(file, PLAIN).warnings)


def test_patients_in_two_splits_are_refused(tmp_path):
    """Also numbers that start again in every split."""
    file = medmnist_file(tmp_path / "mine.npz", **{f"{split}_patients": np.arange(8) for split in SPLITS})
    assert "patient '0' is in train and validation and test" in inspect_dataset(file, PLAIN).problem


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.arange(5), "train_patients has shape (5,) of int64: expected a number or text for each of 8 images"),
        (np.array([None, "a"] * 4), "holds Python objects: store numbers or text, as .astype(str) gives"),
    ],
)
def test_patient_array_of_wrong_shape_or_type_is_refused(tmp_path, array, said):
    assert said in refused(medmnist_file(tmp_path / "mine.npz", train_patients=array))


def test_unused_arrays_are_listed(tmp_path):
    """Also image numbers, and a second array of patients."""
    arrays = {
        "train_ids": np.arange(8),
        "age": np.arange(3),
        "train_patients": NAMES["train"],
        "train_groups": np.arange(8),
    }
    report = inspect_dataset(medmnist_file(tmp_path / "mine.npz", **arrays), PLAIN)
    assert report.left_out == {
        "array that is not used": ["mine.npz/train_ids", "mine.npz/age", "mine.npz/train_groups"]
    }
    assert report.patients == 4


def test_images_of_a_misnamed_split_are_refused(tmp_path):
    with np.load(medmnist_file(tmp_path / "mine.npz")) as archive:
        arrays = {name.replace("val_", "valid_"): archive[name] for name in archive.files}
    np.savez(tmp_path / "mine.npz", **arrays)
    assert "valid_images would not be used: call it val_images" in refused(tmp_path / "mine.npz")


def test_add_names_the_given_path_in_errors(tmp_path):
    file = medmnist_file(tmp_path / "mine.npz", train_patients=np.arange(5))
    with pytest.raises(DcubeError) as error:
        add_dataset(PLAIN.model_copy(update={"name": "mine"}), file, tmp_path / "data" / "mine")
    assert str(error.value).startswith(f"{file}: train_patients has shape (5,)")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["train_labels.npy", "notes.txt"])
def test_duplicate_array_is_refused(tmp_path, name):
    """One of the two would be used, and it is unclear which."""
    file = medmnist_file(tmp_path / "mine.npz")
    with zipfile.ZipFile(file, "a") as archive:
        content = archive.read(name) if name in archive.namelist() else b"1"
        for _ in range(2 - (name in archive.namelist())):
            archive.writestr(name, content)
    assert f"{file} is not a readable MedMNIST archive: it holds an array twice: save it again" in refused(file)


@pytest.mark.parametrize("title", ["patient_id", "Subject"])
def test_table_of_patients_beside_an_archive_without_them_is_refused(tmp_path, title):
    (tmp_path / "set").mkdir()
    medmnist_file(tmp_path / "set" / "mine.npz")
    (tmp_path / "set" / "people.csv").write_text(f"index,{title}\n0,P1\n1,P1\n")
    said = refused(tmp_path / "set")
    assert f"people.csv: its column '{title}' names patients, and would not be used: write it into the archive" in said
    medmnist_file(tmp_path / "set" / "mine.npz", **{f"{split}_patients": NAMES[split] for split in SPLITS})
    assert patients(tmp_path / "set")
