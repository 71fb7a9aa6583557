"""Rates with their intervals, as they stand in `metrics.json` beside the metrics."""

from collections.abc import Callable

import numpy as np

from dcube.artifacts.schemas.decision import Estimate
from dcube.config.schema import Evaluation
from dcube.evaluation.bootstrap import bootstrap, interval
from dcube.evaluation.metrics import MetricValues


def estimates(
    rates: Callable[[np.ndarray], MetricValues], groups: np.ndarray, evaluation: Evaluation
) -> dict[str, Estimate]:
    """Name → value and interval over `groups`, (n,): patients, or images where these are unknown.

    Args:
        rates: rows of image weights (b, n) to name → (b,).
    """
    values = rates(np.ones((1, len(groups))))
    samples = bootstrap(rates, groups, evaluation.bootstrap_samples, evaluation.seed)
    found = {name: interval(samples[name], evaluation.confidence) for name in values}
    return {name: Estimate(value=float(values[name][0]), low=low, high=high) for name, (low, high) in found.items()}
