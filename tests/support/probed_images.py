"""Labels of invented images in three splits, and features that contain the classes or only noise, for linear probes."""

import numpy as np

from dcube.data.prepared import UNLABELLED
from dcube.features.probing import ProbeImages

SIZES = {"train": 90, "unlabelled": 15, "validation": 45, "test": 45}


def probe_images(classes: int = 3) -> ProbeImages:
    labels = np.arange(sum(SIZES.values())) % classes
    ends = np.cumsum(list(SIZES.values()))
    train, unlabelled, validation, test = np.split(np.arange(len(labels)), ends[:-1])
    labels[unlabelled] = UNLABELLED
    together = np.concatenate([train, unlabelled])
    return ProbeImages(np.arange(len(labels)), labels, together, train, {"validation": validation, "test": test})


def noise(width: int, seed: int = 0) -> np.ndarray:
    """Return features (n, width) from a standard normal distribution."""
    return np.random.default_rng(seed).normal(size=(sum(SIZES.values()), width)).astype(np.float32)


def perfect(images: ProbeImages, width: int = 6) -> np.ndarray:
    """Return features (n, width) with which a linear probe recognises every class."""
    return 0.01 * noise(width) + np.eye(width, dtype=np.float32)[images.labels]
