"""Discs whose brightness says the class: a data set small enough to train on in seconds, and parameters to match."""

from pathlib import Path

import numpy as np
import pandas as pd

from dcube.artifacts.layout import DATASET
from dcube.artifacts.schemas.dataset import DatasetInfo, InputSpec
from dcube.artifacts.tables import PREPARED_MANIFEST
from dcube.data.prepared import PreparedDataset

CLASSES = ["benign", "malignant", "normal"]
SIZES = {"train": 48, "validation": 18, "test": 18}


def write_dataset(folder: Path, unlabelled: int = 6) -> PreparedDataset:
    """Discs whose brightness says the class: arrays, manifest and dataset.json as `prepare` writes them."""
    generator = np.random.default_rng(0)
    splits = [split for split, n in SIZES.items() for _ in range(n)] + ["train"] * unlabelled
    labels = [CLASSES[i % 3] for i in range(sum(SIZES.values()))] + [""] * unlabelled
    rows, images = [], []
    for number, (split, label) in enumerate(zip(splits, labels, strict=True)):
        images.append(_disc(CLASSES.index(label) if label else number % 3, generator))
        rows.append(
            (
                number,
                f"{label or 'unlabelled'}/{number}.png",
                label,
                f"patient-{number // 2}-{split}",
                split,
                f"{number:064x}",
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    large = np.stack(images)[:, None]
    np.save(folder / "images-32.npy", large)
    np.save(folder / "images-16.npy", large[:, :, ::2, ::2].copy())
    pd.DataFrame(rows, columns=list(PREPARED_MANIFEST.columns)).to_csv(folder / "manifest.csv", index=False)
    DatasetInfo(
        name="discs", is_phantom=True, classes=CLASSES,
        input=InputSpec(channels=1, image_size=32, diffusion_image_size=16, fit="crop"),
        counts={split: dict.fromkeys(CLASSES, count // 3) for split, count in SIZES.items()},
        unlabelled=unlabelled, grouping="patients", split_origin="generated", fingerprint="f" * 64,
    ).save(folder / DATASET)  # fmt: skip
    return PreparedDataset.load(folder)


def _disc(kind: int, generator: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:32, :32]
    centre = generator.uniform(12, 20, size=2)
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < generator.uniform(5, 9) ** 2
    image = 30 + generator.integers(0, 20, (32, 32)) + inside * (60 + 60 * kind)
    return np.clip(image, 0, 255).astype(np.uint8)


TINY = {
    "data": {"name": "discs", "image_size": 32, "diffusion_image_size": 16},
    "diffusion": {
        "patch_size": 4, "width": 32, "depth": 2, "heads": 2, "prediction": "v_prediction", "epochs": 4,
        "batch_size": 16, "learning_rate": 0.002, "fid_every": 2, "ema_decay": 0.99, "label_dropout": 0.5,
        "margin": 1.0,
    },
    "fid": {"extractor": "efficientnet_lite0", "resize": 32, "samples": 12, "sampling_steps": 4},
    "features": {"keep": 2, "images": 16},
    "synthesis": {"sampling_steps": 4, "ratio": {"benign": 2, "malignant": 1, "normal": 1}, "maximum": 20},
    "classifier": {
        "sub_features": {"architecture": "tf_efficientnet_lite0", "stage": 1, "weights": "none"},
        "timestep_high": 5, "epochs": 3, "batch_size": 16, "learning_rate": 0.002, "ema_decay": 0.9,
    },
    "baseline": {
        "method": "resnet18", "weights": "none", "optimiser": "adamw", "epochs": 2, "batch_size": 16,
        "learning_rate": 0.002, "ema_decay": 0.9,
    },
    "probe": {"labels": [9, 500], "draws": 2, "timesteps": [1, 50], "batch_size": 32},
    "evaluation": {"bootstrap_samples": 100},
    "compute": {"device": "cpu", "precision": "float32"},
}  # fmt: skip
