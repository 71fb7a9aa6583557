"""Rates with confidence intervals, as in `metrics.json`."""

from collections.abc import Callable

import numpy as np

from dcube.artifacts.schemas.decision import Estimate
from dcube.config.schema import Evaluation
from dcube.evaluation.bootstrap import bootstrap, interval
from dcube.evaluation.metrics import MetricValues


def estimates(
    rates: Callable[[np.ndarray], MetricValues], groups: np.ndarray, evaluation: Evaluation
) -> dict[str, Estimate]:
    """Return name → value with bootstrap interval.

    Args:
        rates: maps image weights (b, n) to name → (b,).
        groups: (n,) number of the patient of each image, or of the image if patients are unknown.
    """
    values = rates(np.ones((1, len(groups))))
    samples = bootstrap(rates, groups, evaluation.bootstrap_samples, evaluation.seed)
    found = {name: interval(samples[name], evaluation.confidence) for name in values}
    return {name: Estimate(value=float(values[name][0]), low=low, high=high) for name, (low, high) in found.items()}
