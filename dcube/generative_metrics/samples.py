"""Real and generated images side by side, for visual comparison."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from dcube.generative_metrics.frechet import FrechetTracker
from dcube.generative_metrics.plots import image_rows

SHOWN = 8  # images per class


@dataclass(frozen=True)
class Samples:
    """The first images of every class, uint8 (n, C, S, S), and their class indices (n,)."""

    real: np.ndarray
    real_labels: np.ndarray
    generated: np.ndarray
    generated_labels: np.ndarray

    @classmethod
    def of(cls, tracker: FrechetTracker, images: Tensor, labels: Tensor) -> "Samples":
        """Choose samples from the real images of a tracker and from generated images (n, C, S, S) uint8."""
        first = one_image_per_patient_first(tracker.dataset.manifest["patient"].iloc[tracker.rows])
        real, real_labels = tracker.real_images[first], tracker.real_labels[first]
        generated, generated_labels = images.numpy(), labels.numpy()
        classes = len(tracker.dataset.classes)
        rows, generated_rows = (_first_of_each(it, classes) for it in (real_labels, generated_labels))
        return cls(real[rows], real_labels[rows], generated[generated_rows], generated_labels[generated_rows])

    def save(self, path: Path) -> None:
        np.savez_compressed(path, **vars(self))

    def figure(self, classes: list[str]) -> Figure:
        """Draw two rows per class: real images, and below them generated ones."""
        rows = {}
        for index, name in enumerate(classes):
            rows[f"{name}, real"] = self.real[self.real_labels == index]
            rows[f"{name}, generated"] = self.generated[self.generated_labels == index]
        return image_rows(rows)


def one_image_per_patient_first(patients: pd.Series) -> np.ndarray:
    """Return all positions, first one image of each patient, then the rest.

    Each image of an unknown patient counts as another patient.
    """
    repeated = patients.duplicated() & (patients != "")
    return np.argsort(repeated.to_numpy(), kind="stable")


def _first_of_each(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.concatenate([np.flatnonzero(labels == index)[:SHOWN] for index in range(classes)])
