"""Copies of one picture in other bytes: found, kept together, reported as leaks; and nothing else is taken for one."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from phantom_layouts import patients, pictures
from PIL import Image, ImageEnhance
from raw_sets import REAL_DATA, save, write_metadata

from dcube.config.schema import Data
from dcube.data.checks.inspection import inspect_dataset
from dcube.data.checks.near_duplicates import group_near_duplicates, thumbnail
from dcube.data.layouts.detection import read_raw_dataset
from dcube.data.layouts.phantom import PATIENTS, SLICES, UNLABELLED_KINDS, Patient
from dcube.data.preparing import prepare

DATA = Data(image_size=64, diffusion_image_size=32, fit="stretch", identifiers="kept")
needs_real_data = pytest.mark.skipif(not REAL_DATA.exists(), reason=f"{REAL_DATA} is absent")


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer).convert("L")


def crop(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((w // 100, h // 100, w - w // 100, h - h // 100))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encoded": jpeg,
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "of another gamma": lambda image: image.point([round(255 * (v / 255) ** 0.8) for v in range(256)]),
    "cropped by 1 %": crop,
}


def groups_of(images: list[Image.Image]) -> np.ndarray:
    return group_near_duplicates([thumbnail(image, DATA).tobytes() for image in images])


@needs_real_data
@pytest.mark.parametrize("change", COPIES)
def test_copies_of_real_slices_are_found(change: str) -> None:
    """At least 90 of 100 (with cropping the worst), and no copy is given to another picture."""
    files = sorted((REAL_DATA / "covid-ct" / "NonCOVID").iterdir())[::3][:100]
    images = [Image.open(file).convert("L") for file in files]
    groups = groups_of(images + [COPIES[change](image) for image in images])
    found = groups[: len(images)] == groups[len(images) :]
    assert found.mean() >= 0.9
    assert len(set(groups)) >= 2 * len(images) - found.sum() - 6  # neighbouring slices of one patient are near-equal


@needs_real_data
def test_no_two_films_of_pneumoniamnist_are_taken_for_one_but_its_exact_copies() -> None:
    source = read_raw_dataset(REAL_DATA / "pneumoniamnist.npz", DATA)
    images = [source.read(i).image for i in range(len(source.records))]
    groups, exact = groups_of(images), np.unique([image.tobytes() for image in images], return_inverse=True)[1]
    assert len(set(groups)) == len(set(exact)) == len(set(zip(groups, exact, strict=True)))


@needs_real_data
def test_what_covid_ct_leaks_is_reported() -> None:
    """Two figures of one paper stand in test as COVID and in training as NonCOVID."""
    near = inspect_dataset(REAL_DATA / "covid-ct", DATA).near_duplicates
    pairs = [["COVID/kjr-21-e24-p5-29.png", "NonCOVID/71_0.png"], ["COVID/kjr-21-e24-p5-31.png", "NonCOVID/71_1.png"]]
    assert near["in_several_splits"] == near["with_several_labels"] == pairs
    assert near["images"] == 4


def test_invented_patients_are_never_taken_for_one() -> None:
    labels = [label for label, number in PATIENTS.items() for _ in range(number)]
    drawn = [Patient(n, label or UNLABELLED_KINDS[n % len(UNLABELLED_KINDS)]) for n, label in enumerate(labels)]
    groups = groups_of([Image.fromarray(one.slice(level)) for one in drawn for level in range(SLICES)])
    of_patient = np.repeat(np.arange(len(drawn)), SLICES)
    assert all(len(set(of_patient[groups == group])) == 1 for group in set(groups))


def test_against_the_plain_comparison_of_all_pairs() -> None:
    """Hash candidates and blocks lose no pair that a double loop over the correlation finds."""
    slices = [pixels for one in patients() for pixels in one.slices]
    images = [Image.fromarray(pixels) for pixels in slices]
    images += [jpeg(image) for image in images[::5]]
    from scipy.ndimage import gaussian_filter

    def detail(image: Image.Image) -> np.ndarray:
        small = thumbnail(image, DATA).astype(float)
        return (small - gaussian_filter(small, 1.0)).ravel()

    details, groups = [detail(image) for image in images], groups_of(images)
    for i in range(len(images)):
        for j in range(i):
            if np.corrcoef(details[i], details[j])[0, 1] > 0.95:
                assert groups[i] == groups[j], (i, j)


def test_a_copy_follows_its_picture_into_its_split_and_is_counted(tmp_path: Path) -> None:
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


def test_a_leak_in_an_official_split_is_a_warning(tmp_path: Path) -> None:
    rows = []
    for i, one in enumerate(patients(each=2, kinds=("benign", "malignant"))):
        for level, pixels in enumerate(one.slices):
            split = ("train", "test")[i // 2]
            save(tmp_path / f"{i}-{level}.png", pixels)
            rows.append({"file": f"{i}-{level}.png", "label": one.kind, "patient_id": one.name, "split": split})
    jpeg(Image.open(tmp_path / "0-1.png")).save(tmp_path / "z.png")
    rows.append({"file": "z.png", "label": "benign", "patient_id": "P099", "split": "test"})
    report = inspect_dataset(write_metadata(tmp_path, rows), DATA)
    assert report.warnings == ["one picture in several splits, which tests memory: 0-1.png, z.png"]
