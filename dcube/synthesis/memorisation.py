"""Whether generated images are copies of training images: their nearest neighbours against a held-out reference.

An image is compared by its pixels, because memorisation is a copy of pixels: brought to a thumbnail of at most 32
pixels a side and standardised, so that neither noise nor brightness hides a copy. The distance of two thumbnails is
√(2 − 2 r), r being their correlation: 0 for copies, about 1.4 for unrelated images. How near is too near depends on
the data set; images of held-out patients, which no model can have copied, say what nearness is natural.
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
        neighbours: (n,) row of the training image that is nearest to every synthetic one.
        distances: (n,) to it.
        reference: (m,) distance of every held-out image to its nearest training image.
        exact_copies: synthetic images that equal a training image in every pixel.
    """

    neighbours: np.ndarray
    distances: np.ndarray
    reference: np.ndarray
    exact_copies: int

    @property
    def threshold(self) -> float:
        """Distance that only 1 % of the held-out images undercut."""
        return float(np.quantile(self.reference, REFERENCE_QUANTILE))

    def nearest(self) -> np.ndarray:
        """Rows of the synthetic images that are nearest to a training image, nearest first."""
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
    """Compare (n, C, S, S) uint8 images, all of one size; `synthetic` may be empty."""
    known = _thumbnails(training)
    neighbours, distances = _nearest(_thumbnails(synthetic), known)
    _, reference = _nearest(_thumbnails(held_out), known)
    originals = {_digest(image) for image in training}
    copies = sum(_digest(image) in originals for image in synthetic)
    return MemorisationAudit(neighbours, distances, reference, copies)


def nearest_figure(audit: MemorisationAudit, synthetic: np.ndarray, training: np.ndarray) -> Figure:
    """The most suspicious synthetic images above the training images that they resemble."""
    shown = audit.nearest()
    return image_rows({"synthetic": synthetic[shown], "nearest in training": training[audit.neighbours[shown]]})


def _thumbnails(images: np.ndarray) -> Tensor:
    """(n, C, S, S) uint8 to (n, C·s·s) float32 of mean 0 and norm 1 (0 for a flat image)."""
    size = min(THUMBNAIL, images.shape[-1])
    parts = [torch.empty((0, images.shape[1] * size**2))]
    for start in range(0, len(images), COMPARED_AT_ONCE):
        part = torch.from_numpy(np.array(images[start : start + COMPARED_AT_ONCE])).float()
        small = F.interpolate(part, (size, size), mode="bilinear", antialias=True).flatten(1)
        parts.append(F.normalize(small - small.mean(dim=1, keepdim=True)))
    return torch.cat(parts)


def _nearest(images: Tensor, known: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Row and distance of the nearest known image, (n,) each."""
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
