"""Raw data sets for tests, as people have them on disk."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.checkout import ROOT

BREASTMNIST = ROOT / "dcube/data/embedded/breastmnist.npz"
LARGER_SETS = ROOT.parent / "shared" / "data"  # real data sets, which are not part of the project


def noise(number: int, size: tuple[int, int] = (24, 24)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)


def save(file: Path, pixels: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


def class_folders(folder: Path, classes: tuple[str, ...] = ("ill", "well"), images: int = 10) -> Path:
    """`images` different pictures a class."""
    for c, name in enumerate(classes):
        for i in range(images):
            save(folder / name / f"{i:02d}.png", noise(1000 * c + i))
    return folder


def write_metadata(folder: Path, rows: list[dict[str, str]]) -> Path:
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def with_metadata(folder: Path, patients: int = 10, images: int = 2, split: dict[int, str] | None = None) -> Path:
    """Patient p is ill where p is odd; `split` gives the official split of each patient."""
    rows = []
    for patient in range(patients):
        for i in range(images):
            file = f"{patient}_{i}.png"
            save(folder / file, noise(100 * patient + i))
            row = {"file": file, "label": "ill" if patient % 2 else "well", "patient_id": f"P{patient}", "age": "50"}
            rows.append(row | ({"split": split[patient]} if split else {}))
    return write_metadata(folder, rows)


def medmnist_file(file: Path, images: int = 8, **replaced: np.ndarray) -> Path:
    """Two classes in all splits, every picture different."""
    arrays: dict[str, np.ndarray] = {}
    for number, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"] = np.stack([noise(100 * number + i, (28, 28)) for i in range(images)])
        arrays[f"{split}_labels"] = (np.arange(images, dtype=np.uint8) % 2)[:, None]
    np.savez(file, **(arrays | replaced))
    return file
