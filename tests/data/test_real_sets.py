"""Real images: the embedded BreastMNIST, and larger sets if they are present beside the project."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcube.artifacts.schemas.dataset import SPLITS
from dcube.config.loading import load_preset
from dcube.config.schema import Data
from dcube.data.checks.leaks import verify_splits
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.preparing import prepare
from tests.support.altered_copies import COPIES, CROPPED, RECODED, SMALLER, groups_of
from tests.support.raw_sets import BREASTMNIST, LARGER_SETS

DATA = Data(name="breastmnist", image_size=28, diffusion_image_size=16, fit="stretch", identifiers="kept")


def larger(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (LARGER_SETS / name).exists(), reason=f"{LARGER_SETS / name} is absent")


# --- BreastMNIST


def pictures_of(file: Path) -> list[Image.Image]:
    source = read_raw_dataset(file, DATA)
    return [source.read(i).image for i in range(len(source.records))]


def test_breastmnist_is_prepared_with_its_official_split(tmp_path: Path) -> None:
    dataset = prepare(BREASTMNIST, DATA, tmp_path / "out")
    verify_splits(dataset.manifest)
    assert dataset.classes == ["malignant", "normal, benign"] and dataset.info.split_origin == "official"
    assert [len(dataset.indices(split)) for split in SPLITS] == [545, 78, 156]
    (dropped,) = dataset.info.dropped_duplicates
    assert (dropped.file, dropped.kept) == ("breastmnist.npz/train/000115", ["breastmnist.npz/test/000076"])
    assert np.array_equal(dataset.images(28)[-156:, 0], np.load(BREASTMNIST)["test_images"]), "the very pixels"


def test_copies_inside_breastmnist_are_reported() -> None:
    """The source contains some images several times, also in several splits and under two labels."""
    report = inspect_dataset(BREASTMNIST, DATA)
    near = report.near_duplicates
    assert (near.images, near.groups) == (255, 115)
    assert (len(near.in_several_splits), len(near.with_several_labels)) == (67, 3)
    assert report.duplicates == {"test, train": 1} and not report.problem


def test_grouped_images_are_highly_correlated() -> None:
    images = pictures_of(BREASTMNIST)
    groups, values = groups_of(images, DATA), np.stack([np.ravel(image) for image in images])
    for group in set(groups):
        members = values[groups == group]
        assert len(members) == 1 or np.corrcoef(members).min() > 0.95


@pytest.mark.parametrize("change", [name for name in COPIES if name not in (RECODED, SMALLER, CROPPED)])
def test_a_copy_with_other_grey_values_is_found(change: str) -> None:
    """Even at 28 pixels, where images have too little detail to be found after resizing or JPEG."""
    images = pictures_of(BREASTMNIST)[::7][:100]
    groups = groups_of(images + [COPIES[change](image) for image in images], DATA)
    assert np.array_equal(groups[:100], groups[100:])


# --- larger sets


@larger("covid-ct")
@pytest.mark.parametrize("change", COPIES)
def test_copies_of_real_slices_are_found(change: str) -> None:
    """At least 90 of 100 (fewest after cropping), and no copy is grouped with another image."""
    files = sorted((LARGER_SETS / "covid-ct" / "NonCOVID").iterdir())[::3][:100]
    images = [Image.open(file).convert("L") for file in files]
    groups = groups_of(images + [COPIES[change](image) for image in images], DATA)
    found = groups[: len(images)] == groups[len(images) :]
    assert found.mean() >= 0.9
    assert len(set(groups)) >= 2 * len(images) - found.sum() - 6  # neighbouring slices of one patient are near-equal


@larger("covid-ct")
@pytest.mark.slow
def test_covid_ct_is_prepared_and_its_near_duplicates_are_reported(tmp_path: Path) -> None:
    """Two figures of one paper are in test as COVID and in training as NonCOVID."""
    dataset = prepare(LARGER_SETS / "covid-ct", load_preset("covid_ct").data, tmp_path / "out")
    verify_splits(dataset.manifest)
    assert dataset.info.counts["train"] == {"COVID": 191, "NonCOVID": 234} and dataset.info.patients == 384
    assert [len(dataset.indices(split)) for split in SPLITS] == [425, 118, 203]
    near = inspect_dataset(LARGER_SETS / "covid-ct", DATA).near_duplicates
    pairs = [["COVID/kjr-21-e24-p5-29.png", "NonCOVID/71_0.png"], ["COVID/kjr-21-e24-p5-31.png", "NonCOVID/71_1.png"]]
    assert near.in_several_splits == near.with_several_labels == pairs
    assert near.images == 4


@pytest.mark.slow
@larger("pneumoniamnist.npz")
def test_pneumoniamnist_is_prepared_and_only_exact_copies_are_grouped(tmp_path: Path) -> None:
    file, data = LARGER_SETS / "pneumoniamnist.npz", load_preset("pneumoniamnist").data
    report = inspect_dataset(file, data)
    assert report.duplicates == {"test": 3, "train": 18, "train, validation": 8} and not report.problem
    dataset = prepare(file, data, tmp_path / "out")
    verify_splits(dataset.manifest)
    assert dataset.classes == ["normal", "pneumonia"] and len(dataset.info.dropped_duplicates) == 10
    assert [len(dataset.indices(split)) for split in SPLITS] == [4698, 524, 624]
    images = pictures_of(file)
    groups, exact = groups_of(images, DATA), np.unique([image.tobytes() for image in images], return_inverse=True)[1]
    assert len(set(groups)) == len(set(exact)) == len(set(zip(groups, exact, strict=True)))
