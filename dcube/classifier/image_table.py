"""Tables of labelled images for training and validation of a classifier."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dcube.artifacts.layout import MANIFEST
from dcube.artifacts.tables import SYNTHETIC_MANIFEST
from dcube.config.schema import ExtraImages, Labels
from dcube.data.label_subset import draw_labelled
from dcube.data.prepared import PreparedDataset
from dcube.engine.seeds import numpy_generator


@dataclass(frozen=True)
class ImageTable:
    """Labelled images at both sizes.

    Attributes:
        images, diffusion_images: arrays (N, C, S, S) and (N, C, s, s) uint8 of which the table uses some rows.
        labels: (n,) class indices.
        rows: (n,) the rows that the table uses.
        extra: extra images (synthetic or repeated real ones), whose positions follow those of the others.
    """

    images: np.ndarray
    diffusion_images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    extra: "ImageTable | None" = None

    @classmethod
    def of_split(cls, dataset: PreparedDataset, split: str) -> "ImageTable":
        return cls.of_rows(dataset, dataset.indices(split))

    @classmethod
    def of_rows(cls, dataset: PreparedDataset, rows: np.ndarray, extra: "ImageTable | None" = None) -> "ImageTable":
        images = dataset.images(dataset.image_size), dataset.images(dataset.diffusion_image_size)
        return cls(*images, dataset.labels[rows], rows, extra)

    def __len__(self) -> int:
        return len(self.rows) + (len(self.extra) if self.extra else 0)

    @property
    def all_labels(self) -> np.ndarray:
        """(n,) class indices, with those of the extra images last."""
        return np.concatenate((self.labels, self.extra.labels)) if self.extra else self.labels

    def take(self, positions: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return images at both sizes and labels at some positions, as tensors on the device."""
        further = positions >= len(self.rows)
        parts = [self.arrays(positions[~further])]
        if self.extra and further.any():
            parts.append(self.extra.arrays(positions[further] - len(self.rows)))
        images, small, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return tuple(torch.from_numpy(array).to(device, non_blocking=True) for array in (images, small, labels))  # type: ignore[return-value]

    def arrays(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return images at both sizes and labels at some positions, which must not be those of extra images."""
        rows = self.rows[positions]
        return self.images[rows], self.diffusion_images[rows], self.labels[positions]


def training_images(
    dataset: PreparedDataset, labels: Labels, extra_images: ExtraImages, synthetic: Path, seed: int
) -> ImageTable:
    """Return the labelled training images, or the subset that `labels` requests, with the extra images.

    Args:
        synthetic: folder of the synthetic images.
        seed: seed of the choice of repeated real images.
    """
    rows = dataset.indices("train")
    if labels.count is not None:
        rows = rows[draw_labelled(dataset.labels[rows], labels.count, labels.seed)]
    extra = None if extra_images == "none" else synthetic_images(synthetic, dataset)
    if extra is not None and extra_images == "duplicates":
        extra = repeated_images(dataset, rows, extra.labels, seed)
    return ImageTable.of_rows(dataset, rows, extra)


def synthetic_images(folder: Path, dataset: PreparedDataset) -> ImageTable:
    manifest = SYNTHETIC_MANIFEST.load(folder / MANIFEST)
    index = {name: i for i, name in enumerate(dataset.classes)}
    sizes = dataset.image_size, dataset.diffusion_image_size
    large, small = (np.load(folder / f"images-{size}.npy", mmap_mode="r") for size in sizes)
    labels = np.array([index[label] for label in manifest["label"]], dtype=np.int64)
    return ImageTable(large, small, labels, np.arange(len(labels)))


def repeated_images(dataset: PreparedDataset, rows: np.ndarray, labels: np.ndarray, seed: int) -> ImageTable:
    """Return random real images of `rows` with the class counts of `labels` (n,); repeated if a class has too few."""
    generator = numpy_generator(seed, "duplicates")
    chosen = []
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        own = generator.permutation(rows[dataset.labels[rows] == label])
        chosen.append(np.resize(own, count))
    return ImageTable.of_rows(dataset, np.concatenate([np.empty(0, dtype=np.int64), *chosen]))
