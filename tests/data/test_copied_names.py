"""Folders and tables whose names look like copies made by file managers, browsers or people."""

import pytest

from dcube.config.schema import Data
from dcube.data.layout_detection import read_raw_dataset
from dcube.errors import DcubeError
from tests.support.raw_sets import class_folders, with_metadata

PLAIN = Data(image_size=16, diffusion_image_size=16)


def refused(raw) -> str:
    with pytest.raises(DcubeError) as error:
        read_raw_dataset(raw, PLAIN)
    return str(error.value)


def labels(raw) -> set[tuple[str, str]]:
    return {(record.label, record.split) for record in read_raw_dataset(raw, PLAIN).records}


@pytest.mark.parametrize(
    "copy",
    [
        "normal - Copy", "normal - Copy (2)", "normal (1)", "normal(1)", "normal copy", "normal copy 2",
        "Copy of normal", "Kopie von normal", "normal - Kopie", "normal-backup", "normal.bak", "normal~", "Normal (1)",
    ],
)  # fmt: skip
def test_class_named_like_a_copy_of_another_is_refused(tmp_path, copy):
    raw = class_folders(tmp_path / "raw", ("ill", "normal", copy), images=2)
    assert f"the label {copy!r} (2) is called like a copy of 'normal' (2): put the images together" in refused(raw)


@pytest.mark.parametrize(
    "classes",
    [
        ("grade 1", "grade 2"),
        ("grade (1)", "grade (2)"),
        ("covid", "covid-19"),
        ("fracture", "old fracture"),
        ("fracture", "fracture_old"),
        ("diabetes", "diabetes 2"),
        ("normal", "normal variant"),
    ],
)
def test_similar_class_names_with_different_meanings_are_accepted(tmp_path, classes):
    assert labels(class_folders(tmp_path / "raw", classes, images=2)) == {(name, "") for name in classes}


def test_metadata_table_numbered_by_a_browser_is_refused(tmp_path):
    raw = with_metadata(tmp_path / "raw")
    (raw / "metadata.csv").rename(raw / "metadata (1).csv")
    assert "metadata (1).csv would not be read: save it as metadata.csv" in refused(raw)


@pytest.mark.parametrize("folder", ["Unlabelled", "UNLABELED", "unlabelled "])
def test_unlabelled_folder_is_recognised_in_any_case(tmp_path, folder):
    raw = class_folders(tmp_path / "raw", ("ill", "well", folder), images=2)
    assert labels(raw) == {("ill", ""), ("well", ""), ("", "")}
    for split in ("train", "test"):
        class_folders(tmp_path / "split" / split, ("ill", "well"), images=1)
    class_folders(tmp_path / "split" / "train", (folder,), images=1)
    assert ("", "train") in labels(tmp_path / "split") and len(labels(tmp_path / "split")) == 5
