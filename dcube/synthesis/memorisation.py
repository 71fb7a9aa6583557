"""Audit of memorisation: whether generated images are copies of training images.

Images are compared by their pixels, because memorisation copies pixels. They are reduced to thumbnails of at most 32
pixels per side and standardised, so that noise or brightness cannot hide a copy. The distance of two thumbnails with
correlation r is √(2 − 2 r): 0 for copies, about 1.4 for unrelated images. The threshold depends on the data set: the
distances of held-out images, which no model can have copied, show which distances are natural.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from dcube.artifacts.schemas.audit import Audit, Neighbour
from dcube.generative_metrics.plots import image_rows

THUMBNAIL = 32
REFERENCE_QUANTILE = 0.01
COMPARED_AT_ONCE = 512
SHOWN = 8


@dataclass(frozen=True)
class MemorisationAudit:
    """Distances to the nearest training image.

    Attributes:
        neighbours: (n,) row of the nearest training image of each synthetic image.
        distances: (n,) distance of each synthetic image to it.
        reference: (m,) distance of each held-out image to its nearest training image.
        exact_copies: number of synthetic images that equal a training image in every pixel.
    """

    neighbours: np.ndarray
    distances: np.ndarray
    reference: np.ndarray
    exact_copies: int

    @property
    def threshold(self) -> float:
        """Distance below which only 1 % of the held-out images are."""
        return float(np.quantile(self.reference, REFERENCE_QUANTILE))

    def nearest(self) -> np.ndarray:
        """Return the rows of the synthetic images that are closest to a training image, the closest first."""
        return np.argsort(self.distances, kind="stable")[:SHOWN]

    def summary(self) -> Audit:
        return Audit(
            n_synthetic=len(self.distances),
            n_held_out=len(self.reference),
            exact_copies=self.exact_copies,
            share_nearer_than_threshold=_or_none(np.mean, self.distances < self.threshold),
            threshold=self.threshold,
            threshold_quantile_of_held_out=REFERENCE_QUANTILE,
            median_distance=_or_none(np.median, self.distances),
            median_distance_of_held_out=float(np.median(self.reference)),
            nearest=[
                Neighbour(synthetic=i, training=self.neighbours[i], distance=self.distances[i]) for i in self.nearest()
            ],
        )


def audit_memorisation(synthetic: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> MemorisationAudit:
    """Compare synthetic and held-out images with the training images.

    Args:
        synthetic, training, held_out: (n, C, S, S) uint8 images of the same size; `synthetic` may be empty.
    """
    known = _thumbnails(training)
    neighbours, distances = _nearest(_thumbnails(synthetic), known)
    _, reference = _nearest(_thumbnails(held_out), known)
    originals = {_digest(image) for image in training}
    copies = sum(_digest(image) in originals for image in synthetic)
    return MemorisationAudit(neighbours, distances, reference, copies)


def nearest_figure(audit: MemorisationAudit, synthetic: np.ndarray, training: np.ndarray) -> Figure:
    """Draw the most suspicious synthetic images above their nearest training images."""
    shown = audit.nearest()
    return image_rows({"synthetic": synthetic[shown], "nearest in training": training[audit.neighbours[shown]]})


def _thumbnails(images: np.ndarray) -> Tensor:
    """Reduce images (n, C, S, S) uint8 to (n, C·s·s) float32 rows with mean 0 and norm 1 (all 0 for a flat image)."""
    size = min(THUMBNAIL, images.shape[-1])
    parts = [torch.empty((0, images.shape[1] * size**2))]
    for start in range(0, len(images), COMPARED_AT_ONCE):
        part = torch.from_numpy(np.array(images[start : start + COMPARED_AT_ONCE])).float()
        small = F.interpolate(part, (size, size), mode="bilinear", antialias=True).flatten(1)
        parts.append(F.normalize(small - small.mean(dim=1, keepdim=True)))
    return torch.cat(parts)


def _nearest(images: Tensor, known: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return row and distance of the nearest known image, (n,) each."""
    rows, distances = [torch.empty(0, dtype=torch.int64)], [torch.empty(0)]
    for part in images.split(COMPARED_AT_ONCE):
        correlation, row = (part @ known.T).max(dim=1)
        rows.append(row)
        distances.append((2 - 2 * correlation).clamp_min(0).sqrt())
    return torch.cat(rows).numpy(), torch.cat(distances).numpy()


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _or_none(statistic, values: np.ndarray) -> float | None:
    return float(statistic(values)) if len(values) else None
