"""One temperature that makes a classifier's probabilities say how often it is right (Guo et al., ICML 2017)."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from dcube.artifacts.schemas.candidate import Calibration

SMALLEST = np.finfo(np.float32).tiny  # the logarithm of a probability that float32 rounds to 0 must exist
LARGEST = 20.0


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of (n, classes) probabilities, float64. No T changes which class is the most probable."""
    return softmax(np.log(np.maximum(probabilities, SMALLEST).astype(np.float64)) / temperature, axis=1)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Calibration:
    """The temperature, 1 or more, with the smallest cross-entropy of (n, classes) probabilities against labels (n,).

    Weights (n,) say how much each image counts, by default equally.

    Doubt is added and never taken away: the validation images have chosen the weights, so that they are predicted
    better than any image to come, and a temperature below 1 would turn that flattery into certainty. The cross-entropy
    is convex in 1/T: there is one minimum.
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
