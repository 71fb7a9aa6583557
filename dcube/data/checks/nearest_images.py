"""How much a split leaks, measured without training: the nearest image by pixels predicts the class.

Where images of one patient are in training and test, the nearest training image is often the patient's own, and has
the right class for that reason alone. The accuracy then falls as soon as groups stay together. It also falls a little
whatever belongs together, because a class may lack the images of a large group: hence groups drawn at random beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5
DIVISIONS = 5  # into folds, of which the mean is taken
DRAWS = 30  # of random groups
MOST_IMAGES = 20_000
MOST_QUERIES = 1_000
QUERIES_AT_ONCE = 100


@dataclass(frozen=True)
class NearestImages:
    """Under one grouping.

    Attributes:
        accuracy: share of images whose nearest image in the other four fifths of the groups has the same class.
        at_random: mean of the same with groups of the same sizes and classes, drawn at random.
        spread: standard deviation of the same over the draws.
        own_group: share of images whose nearest image of all is in the same group.
    """

    accuracy: float
    at_random: float
    spread: float
    own_group: float


def nearest_images(pixels: np.ndarray, labels: np.ndarray, groupings: Sequence[np.ndarray]) -> list[NearestImages]:
    """One result for each grouping, on the same images. Bounded: at most `MOST_QUERIES` × `MOST_IMAGES` distances.

    Args:
        pixels: (n, pixels) of small images, any real type.
        labels: (n,) class numbers.
        groupings: (n,) group numbers each; the groups of the first, which are copies, stay whole in all others, and
            in those that are drawn.
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
    """(queries, n - 1) all other images, the nearest first."""
    squares = np.einsum("ij,ij->i", points, points)
    order = np.empty((len(queries), len(points) - 1), np.int32)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        rows = queries[start : start + QUERIES_AT_ONCE]
        distances = squares - 2 * points[rows] @ points.T  # without the query's own square, the same for all
        distances[np.arange(len(rows)), rows] = np.inf
        order[start : start + len(rows)] = distances.argsort(axis=1)[:, :-1]
    return order


def _accuracy(neighbours: np.ndarray, queries: np.ndarray, classes: np.ndarray, fold: np.ndarray) -> float:
    """The nearest image of another fold decides; a query that has none is wrong."""
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
    """(n,) groups each, in which pictures have changed places with others of their class."""
    first = np.unique(copies, return_index=True)[1]  # a row of each picture
    of_picture, class_of_picture = groups[first], classes[first]
    members = [np.flatnonzero(class_of_picture == one) for one in np.unique(class_of_picture)]
    for _ in range(DRAWS):
        shuffled = of_picture.copy()
        for rows in members:
            shuffled[rows] = of_picture[rng.permutation(rows)]
        yield shuffled[copies]


def _folds(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) whole groups in random order, as equal in their numbers of images as whole groups allow."""
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    fold = np.empty(len(sizes), int)
    fold[order] = (middle / len(groups) * FOLDS).astype(int)
    return fold[groups]
