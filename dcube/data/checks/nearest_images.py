"""How much a split leaks, measured without training: the nearest image by pixels predicts the class.

Where images of one patient are in training and test, the nearest training image is often the patient's own, and has
the right class for that reason alone. The accuracy then falls as soon as groups stay together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5
MOST_IMAGES = 20_000
MOST_QUERIES = 1_000
QUERIES_AT_ONCE = 100


@dataclass(frozen=True)
class NearestImages:
    """Under one grouping.

    Attributes:
        accuracy: share of images whose nearest image in the other four fifths of the groups has the same class.
        own_group: share of images whose nearest image of all is in the same group.
    """

    accuracy: float
    own_group: float


def nearest_images(pixels: np.ndarray, labels: np.ndarray, groupings: Sequence[np.ndarray]) -> list[NearestImages]:
    """One result for each grouping, on the same images. Bounded: at most `MOST_QUERIES` × `MOST_IMAGES` distances.

    Args:
        pixels: (n, pixels) of small images, any real type.
        labels: (n,) class numbers.
        groupings: (n,) group numbers each.
    """
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.permutation(len(pixels))[:MOST_IMAGES])
    queries = rng.permutation(len(drawn))[:MOST_QUERIES]
    points, classes = pixels[drawn].astype(np.float32), labels[drawn]
    groups = [grouping[drawn] for grouping in groupings]
    folds = [_folds(grouping, rng) for grouping in groups]
    squares = np.einsum("ij,ij->i", points, points)
    right, own = np.zeros(len(groups)), np.zeros(len(groups))
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        rows = queries[start : start + QUERIES_AT_ONCE]
        distances = squares - 2 * points[rows] @ points.T  # without the query's own square, the same for all
        distances[np.arange(len(rows)), rows] = np.inf
        nearest = distances.argmin(axis=1)
        for i, (group, fold) in enumerate(zip(groups, folds, strict=True)):
            own[i] += (group[nearest] == group[rows]).sum()
            allowed = np.where(fold[rows, None] == fold, np.inf, distances)
            right[i] += (classes[allowed.argmin(axis=1)] == classes[rows]).sum()
    return [NearestImages(float(a), float(b)) for a, b in zip(right / len(queries), own / len(queries), strict=True)]


def _folds(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) whole groups in random order, as equal in their numbers of images as whole groups allow."""
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    fold = np.empty(len(sizes), int)
    fold[order] = (middle / len(groups) * FOLDS).astype(int)
    return fold[groups]
