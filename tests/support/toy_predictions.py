"""Predictions for images of two a patient, some of which are wrong."""

import numpy as np
import pandas as pd

from dcube.evaluation.predictions import Predictions

CLASSES = ["benign", "malignant", "normal"]


def toy_predictions(seed: int, images: int = 200, separation: float = 1.5, of_patient: int = 2) -> Predictions:
    """One image in five is malignant; its probability is usually higher."""
    rng = np.random.default_rng(seed)
    labels = np.where(np.arange(images) % 5 == 0, 1, 2 * (np.arange(images) % 2))
    logits = rng.normal(0, 1, (images, 3)) + separation * np.eye(3)[labels] - np.array([0, 1, 0])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = pd.DataFrame(
        {
            "id": [str(n) for n in range(images)],
            "patient": [str(n // of_patient) for n in range(images)],
            "sha256": [f"{n:064x}" for n in range(images)],
            "label": np.array(CLASSES)[labels],
            **{f"probability_{name}": probabilities[:, i] for i, name in enumerate(CLASSES)},
        }
    )
    return Predictions(table)
