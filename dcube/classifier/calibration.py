"""Calibration of a classifier's probabilities by one temperature (Guo et al., ICML 2017)."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from dcube.artifacts.schemas.candidate import Calibration

SMALLEST = np.finfo(np.float32).tiny  # keeps the logarithm finite if float32 has rounded a probability to 0
LARGEST = 20.0


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(log p / T) of probabilities (n, classes), float64. The most probable class does not change."""
    return softmax(np.log(np.maximum(probabilities, SMALLEST).astype(np.float64)) / temperature, axis=1)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Calibration:
    """Fit the temperature, 1 or more, that minimises the cross-entropy on labelled images.

    Temperatures below 1 are excluded: the network's weights were selected on these validation images, which it
    therefore predicts better than new ones, and a temperature below 1 would make it too confident on new ones. The
    cross-entropy is convex in 1/T, so there is one minimum.

    Args:
        probabilities: (n, classes).
        labels: (n,) class indices.
        weights: (n,) weights of the images; None: all equal.
    """

    def cross_entropy(temperature: float) -> float:
        of_truth = with_temperature(probabilities, temperature)[np.arange(len(labels)), labels]
        return float(np.average(-np.log(np.maximum(of_truth, SMALLEST)), weights=weights))

    before = cross_entropy(1.0)
    sharpness = minimize_scalar(  # 1/T
        lambda inverse: cross_entropy(1.0 / inverse),
        bounds=(1 / LARGEST, 1.0),
        method="bounded",
        options={"xatol": 1e-9},
    ).x
    after = cross_entropy(1.0 / sharpness)
    temperature, after = (float(1.0 / sharpness), after) if after < before else (1.0, before)
    return Calibration(temperature=temperature, cross_entropy_before=before, cross_entropy=after)
