"""Altered copies of an image are found, kept in one split and reported as leaks; other images are not grouped."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcube.config.schema import Data
from dcube.data.checks.near_duplicates import thumbnail
from dcube.data.inspection import inspect_dataset
from dcube.data.layouts.phantom import PATIENTS, SLICES, UNLABELLED_KINDS, Patient
from dcube.data.preparing import prepare
from tests.support.altered_copies import COPIES, CROPPED, groups_of, jpeg
from tests.support.phantom_layouts import patients, pictures
from tests.support.raw_sets import save, write_metadata

DATA = Data(image_size=64, diffusion_image_size=32, fit="stretch", identifiers="kept")


@pytest.mark.slow
def test_images_of_different_invented_patients_are_never_grouped() -> None:
    labels = [label for label, number in PATIENTS.items() for _ in range(number)]
    drawn = [Patient(n, label or UNLABELLED_KINDS[n % len(UNLABELLED_KINDS)]) for n, label in enumerate(labels)]
    groups = groups_of([Image.fromarray(one.slice(level)) for one in drawn for level in range(SLICES)], DATA)
    of_patient = np.repeat(np.arange(len(drawn)), SLICES)
    assert all(len(set(of_patient[groups == group])) == 1 for group in set(groups))


@pytest.mark.parametrize("change", [name for name in COPIES if name != CROPPED])
def test_copies_of_invented_slices_are_found(change: str) -> None:
    images = [Image.fromarray(one.slices[0]) for one in patients(each=20)]
    groups = groups_of(images + [COPIES[change](image) for image in images], DATA)
    found = groups[: len(images)] == groups[len(images) :]
    assert found.all() and len(set(groups)) == len(images)


def test_grouping_finds_every_pair_of_a_brute_force_comparison() -> None:
    """Hash candidates and blocks lose no pair that a double loop over the correlation finds."""
    slices = [pixels for one in patients() for pixels in one.slices]
    images = [Image.fromarray(pixels) for pixels in slices]
    images += [jpeg(image) for image in images[::5]]
    from scipy.ndimage import gaussian_filter

    def detail(image: Image.Image) -> np.ndarray:
        small = thumbnail(image, DATA.fit).astype(float)
        return (small - gaussian_filter(small, 1.0)).ravel()

    details, groups = [detail(image) for image in images], groups_of(images, DATA)
    for i in range(len(images)):
        for j in range(i):
            if np.corrcoef(details[i], details[j])[0, 1] > 0.95:
                assert groups[i] == groups[j], (i, j)


def test_altered_copy_is_in_the_split_of_its_image_and_is_counted(tmp_path: Path) -> None:
    raw = pictures(tmp_path / "raw", patients(each=6))
    (raw / "metadata.csv").unlink()
    for file in sorted(raw.rglob("*-0.png")):
        jpeg(Image.open(file)).save(file.with_name(f"copy-{file.name}"))
    dataset = prepare(raw, DATA, tmp_path / "prepared")
    split = dict(zip(dataset.manifest["file"], dataset.manifest["split"], strict=True))
    assert all(split[file] == split[file.replace("copy-", "")] for file in split if "copy-" in file)
    near = json.loads((dataset.folder / "dataset.json").read_text())["near_duplicates"]
    assert near["images"] >= 36 and near["in_several_splits"] == []
    unaware = prepare(raw, DATA.model_copy(update={"near_duplicates": False}), tmp_path / "unaware")
    split = dict(zip(unaware.manifest["file"], unaware.manifest["split"], strict=True))
    assert any(split[file] != split[file.replace("copy-", "")] for file in split if "copy-" in file)


def test_near_duplicates_across_official_splits_cause_a_warning(tmp_path: Path) -> None:
    rows = []
    for i, one in enumerate(patients(each=2, kinds=("benign", "malignant"))):
        for level, pixels in enumerate(one.slices):
            split = ("train", "test")[i // 2]
            save(tmp_path / f"{i}-{level}.png", pixels)
            rows.append({"file": f"{i}-{level}.png", "label": one.kind, "patient_id": one.name, "split": split})
    jpeg(Image.open(tmp_path / "0-1.png")).save(tmp_path / "z.png")
    rows.append({"file": "z.png", "label": "benign", "patient_id": "P099", "split": "test"})
    report = inspect_dataset(write_metadata(tmp_path, rows), DATA)
    assert report.warnings == ["near duplicates in several splits (data leakage): 0-1.png = z.png"]
