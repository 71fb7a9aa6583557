"""Leakage of a split, measured without training: the nearest image by pixels predicts the class.

If images of one patient are in training and test, the nearest training image is often one of the same patient, and has
the right class for this reason alone. The accuracy then falls when groups are kept together. It also falls a little
under any grouping, because a class may lack the images of a large group, so random groups are measured for comparison.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5
DIVISIONS = 5  # random divisions into folds, over which the accuracy is averaged
DRAWS = 30  # draws of random groups
MOST_IMAGES = 20_000
MOST_QUERIES = 1_000
QUERIES_AT_ONCE = 100


@dataclass(frozen=True)
class NearestImages:
    """Results of the nearest-image prediction under one grouping.

    Attributes:
        accuracy: share of images whose nearest image in the other folds has the same class.
        at_random: mean accuracy under random groups of the same sizes and classes.
        spread: standard deviation of the accuracy over the draws of random groups.
        own_group: share of images whose nearest other image is in the same group.
    """

    accuracy: float
    at_random: float
    spread: float
    own_group: float


def nearest_images(pixels: np.ndarray, labels: np.ndarray, groupings: Sequence[np.ndarray]) -> list[NearestImages]:
    """Measure each grouping on the same images, with at most `MOST_QUERIES` × `MOST_IMAGES` distances.

    Args:
        pixels: (n, pixels) of small images, any real type.
        labels: (n,) class numbers.
        groupings: (n,) group numbers each. The groups of the first one are copies of one image; they are never divided
            by the other groupings or by random groups.
    """
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.permutation(len(pixels))[:MOST_IMAGES])
    queries = rng.permutation(len(drawn))[:MOST_QUERIES]
    neighbours, classes = _neighbours(pixels[drawn].astype(np.float32), queries), labels[drawn]
    copies = np.unique(groupings[0][drawn], return_inverse=True)[1]

    def accuracy(groups: np.ndarray) -> float:
        divisions = (_folds(groups, rng) for _ in range(DIVISIONS))
        return float(np.mean([_accuracy(neighbours, queries, classes, fold) for fold in divisions]))

    found = []
    for grouping in groupings:
        groups = np.unique(grouping[drawn], return_inverse=True)[1]
        at_random = [accuracy(others) for others in _at_random(groups, copies, classes, rng)]
        own = groups[neighbours[:, 0]] == groups[queries]
        found.append(
            NearestImages(
                accuracy(groups), float(np.mean(at_random)), float(np.std(at_random, ddof=1)), float(own.mean())
            )
        )
    return found


def _neighbours(points: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return (queries, n - 1) indices of all other images of each query, the nearest first."""
    squares = np.einsum("ij,ij->i", points, points)
    order = np.empty((len(queries), len(points) - 1), np.int32)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        rows = queries[start : start + QUERIES_AT_ONCE]
        distances = squares - 2 * points[rows] @ points.T  # without the query's own square, the same for all
        distances[np.arange(len(rows)), rows] = np.inf
        order[start : start + len(rows)] = distances.argsort(axis=1)[:, :-1]
    return order


def _accuracy(neighbours: np.ndarray, queries: np.ndarray, classes: np.ndarray, fold: np.ndarray) -> float:
    """Return the accuracy of the nearest image in another fold; a query without such an image counts as wrong."""
    right, waiting = 0, np.arange(len(queries))
    for column in neighbours.T:
        nearest = column[waiting]
        allowed = fold[nearest] != fold[queries[waiting]]
        right += int((classes[nearest] == classes[queries[waiting]])[allowed].sum())
        waiting = waiting[~allowed]
        if not len(waiting):
            break
    return right / len(queries)


def _at_random(
    groups: np.ndarray, copies: np.ndarray, classes: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield (n,) random group numbers: pictures of the same class swap their groups."""
    first = np.unique(copies, return_index=True)[1]  # one row of each picture
    of_picture, class_of_picture = groups[first], classes[first]
    members = [np.flatnonzero(class_of_picture == one) for one in np.unique(class_of_picture)]
    for _ in range(DRAWS):
        shuffled = of_picture.copy()
        for rows in members:
            shuffled[rows] = of_picture[rng.permutation(rows)]
        yield shuffled[copies]


def _folds(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) fold numbers: whole groups in random order, with numbers of images as equal as possible."""
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    fold = np.empty(len(sizes), int)
    fold[order] = (middle / len(groups) * FOLDS).astype(int)
    return fold[groups]
