"""A random, repeatable choice of a few labelled images for a study, with the class ratio of all images."""

import numpy as np

from dcube.engine.seeds import numpy_generator
from dcube.errors import DcubeError


def draw_labelled(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` images: each class in proportion to its frequency, and at least one image per class.

    With the same seed, the images of a class for a smaller count are among those for a larger count. The only
    exception is a class whose share rounds to one image fewer for the larger count.

    Args:
        labels: (n,) class indices.
        count: number of images.
        seed: seed of the random choice.

    Returns:
        (count,) indices of the chosen images, ascending.

    Raises:
        DcubeError: if there are fewer than `count` images, or more than `count` classes.
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
    """Return (classes,) numbers of images that add up to `count`: one each, the rest by largest remainder."""
    exact = (count - len(available)) * (available - 1) / max(available.sum() - len(available), 1)
    counts = 1 + np.floor(exact).astype(np.int64)
    rest = np.argsort(-(exact - np.floor(exact)), kind="stable")[: count - counts.sum()]
    counts[rest] += 1
    return counts
