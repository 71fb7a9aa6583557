"""Comparison of two models on the same test images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcube.config.schema import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.bootstrap import bootstrap, interval, two_sided_p
from dcube.evaluation.metrics import COMPARED, MetricValues, measure
from dcube.evaluation.predictions import Predictions

NAMES = tuple(metric.name for metric in COMPARED)


@dataclass(frozen=True)
class Difference:
    """Difference of a metric between two models.

    Attributes:
        first, second: values of the two models.
        value, low, high: first minus second, with its confidence interval.
        p: two-sided p-value.
    """

    first: float
    second: float
    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class ModelComparison:
    """Comparison of two models.

    Attributes:
        differences: differences by metric, from a paired bootstrap over patients; p-values are not corrected.
        only_first, only_second: numbers of images that only one of the two models predicts correctly.
        mcnemar_p: p-value of the exact McNemar test of these two numbers. The test assumes independent images: if
            patients have several images, use the bootstrap instead.
    """

    differences: dict[str, Difference]
    only_first: int
    only_second: int
    mcnemar_p: float


def compare(
    first: Predictions,
    second: Predictions,
    evaluation: Evaluation,
    compared: Sequence[str] = NAMES,
) -> ModelComparison:
    """Compare two models by the metrics `compared` (names of `measure`).

    Raises:
        DcubeError: if the two tables do not contain the same images with the same labels.
    """
    if first.fingerprint != second.fingerprint or first.classes != second.classes:
        raise DcubeError("the two models were tested on different images: evaluate both on one prepared data set")
    second = Predictions(second.table.set_index("id").loc[first.table["id"]].reset_index())

    def metrics(weights: np.ndarray | None = None) -> list[MetricValues]:
        return [
            measure(first.labels, model.probabilities, first.classes, evaluation.calibration_bins, weights)
            for model in (first, second)
        ]

    def differences(weights: np.ndarray) -> MetricValues:
        ours, theirs = metrics(weights)
        return {name: ours[name] - theirs[name] for name in compared}

    ours, theirs = metrics()
    resampled = bootstrap(differences, first.groups, evaluation.bootstrap_samples, evaluation.seed)
    right = [model.probabilities.argmax(1) == first.labels for model in (first, second)]
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    return ModelComparison(
        differences={
            name: Difference(
                float(ours[name][0]),
                float(theirs[name][0]),
                float(ours[name][0] - theirs[name][0]),
                *interval(resampled[name], evaluation.confidence),
                two_sided_p(resampled[name]),
            )
            for name in compared
        },
        only_first=only_first,
        only_second=only_second,
        mcnemar_p=mcnemar(only_first, only_second),
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values of any shape, corrected for their number (Holm, 1979).

    If there is no difference at all, at most 5% of such tables contain a corrected p-value below 0.05.
    """
    ranked = np.argsort(p_values, axis=None)
    scaled = p_values.flat[ranked] * np.arange(p_values.size, 0, -1)
    corrected = np.empty(p_values.size)
    corrected[ranked] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected.reshape(p_values.shape)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value under the hypothesis that either model is the correct one equally often."""
    from scipy.special import bdtr  # `scipy.stats` takes 0.8 s longer to import

    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))
