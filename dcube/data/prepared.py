"""The prepared data set: what the stage `prepare` writes and every later stage reads."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dcube.artifacts.layout import DATASET, MANIFEST
from dcube.artifacts.schemas.dataset import SUBGROUP, DatasetInfo
from dcube.artifacts.tables import PREPARED_MANIFEST

UNLABELLED = -1  # class index of an image without a label; the U-ViT gets no label for it


@dataclass(frozen=True)
class PreparedDataset:
    """Image arrays, labels and splits. Row i of the manifest describes image i of every array.

    Attributes:
        folder: the folder of `images-SIZE.npy`, `manifest.csv` and `dataset.json`.
        manifest: table with the columns of `PREPARED_MANIFEST` and the subgroups; `label` is empty without a label.
        info: content of `dataset.json`.
    """

    folder: Path
    manifest: pd.DataFrame
    info: DatasetInfo

    @classmethod
    def load(cls, folder: Path) -> "PreparedDataset":
        info = DatasetInfo.load(folder / DATASET)
        subgroups = (f"{SUBGROUP}{name}" for name in info.subgroups)
        return cls(folder, PREPARED_MANIFEST.load(folder / MANIFEST, subgroups), info)

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def classes(self) -> list[str]:
        return self.info.classes

    @property
    def channels(self) -> int:
        return self.info.input.channels

    @property
    def fingerprint(self) -> str:
        """Hash over every image, label, patient and split."""
        return self.info.fingerprint

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images for CNNs."""
        return self.info.input.image_size

    @property
    def diffusion_image_size(self) -> int:
        """Side in pixels of the square images for the U-ViT."""
        return self.info.input.diffusion_image_size

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int64 class indices; `UNLABELLED` for images without a label."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index.get(label, UNLABELLED) for label in self.manifest["label"]], dtype=np.int64)

    @cached_property
    def patients(self) -> np.ndarray | None:
        """(n,) patient or group ids, or None if the data set has none."""
        patients = self.manifest["patient"].to_numpy()
        return patients if (patients != "").any() else None

    def subgroups(self, rows: np.ndarray) -> pd.DataFrame:
        """Return the columns of `data.subgroups`, with one row for each of the images in `rows` (indices)."""
        names = {f"{SUBGROUP}{name}": name for name in self.info.subgroups}
        return self.manifest.iloc[rows][list(names)].rename(columns=names).reset_index(drop=True)

    def images(self, size: int) -> np.ndarray:
        """Return the images as a memory-mapped uint8 array (n, channels, size, size)."""
        return np.load(self.folder / f"images-{size}.npy", mmap_mode="r")

    def indices(self, split: str, labelled: bool = True) -> np.ndarray:
        """Return the row indices of a split, ascending; unlabelled images are included if `labelled` is false."""
        chosen = (self.manifest["split"] == split).to_numpy()
        if labelled:
            chosen = chosen & (self.labels != UNLABELLED)
        return np.flatnonzero(chosen)
