"""Which few images of many a study looks at: random, repeatable, in the classes' own ratio."""

import numpy as np

from dcube.engine.seeds import numpy_generator
from dcube.errors import DcubeError


def draw_labelled(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of `count` images, ascending, every class by its share and at least once.

    For two counts and one seed, the fewer images that a class has in one of them are among those it has in the other.
    A larger count thus holds a smaller one's images, but for a class whose share rounds to one image fewer.

    Args:
        labels: (n,) class indices.
        seed: of the choice.

    Raises:
        DcubeError: there are not that many images, or more classes.
    """
    classes, available = np.unique(labels, return_counts=True)
    if not len(classes) <= count <= len(labels):
        raise DcubeError(
            f"labels.count: {count} images cannot be drawn from {len(labels)} of {len(classes)} classes: "
            f"choose from {len(classes)} to {len(labels)}"
        )
    counts = _shares(available, count)
    generator = numpy_generator(seed, "labelled images")
    orders = [generator.permutation(np.flatnonzero(labels == label)) for label in classes]
    return np.sort(np.concatenate([order[:number] for order, number in zip(orders, counts, strict=True)]))


def _shares(available: np.ndarray, count: int) -> np.ndarray:
    """(classes,) how many of each, `count` in all: one each, the rest by largest remainder."""
    exact = (count - len(available)) * (available - 1) / max(available.sum() - len(available), 1)
    counts = 1 + np.floor(exact).astype(np.int64)
    rest = np.argsort(-(exact - np.floor(exact)), kind="stable")[: count - counts.sum()]
    counts[rest] += 1
    return counts
