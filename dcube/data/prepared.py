"""The prepared data set: what the stage `prepare` writes and every later stage reads."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dcube.artifacts.layout import DATASET, MANIFEST
from dcube.artifacts.schemas.dataset import SUBGROUP, DatasetInfo
from dcube.artifacts.tables import PREPARED_MANIFEST

UNLABELLED = -1  # as a class index; the U-ViT is given no label for it


@dataclass(frozen=True)
class PreparedDataset:
    """Arrays, labels and splits. Row i of the manifest describes image i of every array.

    Attributes:
        folder: where `images-SIZE.npy`, `manifest.csv` and `dataset.json` stand.
        manifest: columns of `PREPARED_MANIFEST` and of subgroups; an image without a label has an empty `label`.
        info: `dataset.json`.
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
        """Side in pixels that CNNs see."""
        return self.info.input.image_size

    @property
    def diffusion_image_size(self) -> int:
        """Side in pixels that the U-ViT sees."""
        return self.info.input.diffusion_image_size

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int64 class indices; `UNLABELLED` where there is no label."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index.get(label, UNLABELLED) for label in self.manifest["label"]], dtype=np.int64)

    @cached_property
    def patients(self) -> np.ndarray | None:
        """(n,) patient ids, or None where the set has none."""
        patients = self.manifest["patient"].to_numpy()
        return patients if (patients != "").any() else None

    def subgroups(self, rows: np.ndarray) -> pd.DataFrame:
        """The columns of `data.subgroups`, one row for each of the images in `rows`."""
        names = {f"{SUBGROUP}{name}": name for name in self.info.subgroups}
        return self.manifest.iloc[rows][list(names)].rename(columns=names).reset_index(drop=True)

    def images(self, size: int) -> np.ndarray:
        """(n, channels, size, size) uint8, memory-mapped."""
        return np.load(self.folder / f"images-{size}.npy", mmap_mode="r")

    def indices(self, split: str, labelled: bool = True) -> np.ndarray:
        """Rows of a split, ascending; without `labelled`, unlabelled images are among them."""
        chosen = (self.manifest["split"] == split).to_numpy()
        if labelled:
            chosen = chosen & (self.labels != UNLABELLED)
        return np.flatnonzero(chosen)
