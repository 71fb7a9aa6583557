"""All metrics of one model on one test, with intervals."""

import numpy as np

from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.artifacts.schemas.metrics import Interval, Metrics
from dcube.config.schema import Evaluation
from dcube.evaluation.bootstrap import bootstrap, interval
from dcube.evaluation.metrics import MetricValues, measure, selective
from dcube.evaluation.predictions import Predictions


def summarise(
    model: str, config: CandidateConfig, dataset: DatasetInfo, predictions: Predictions, evaluation: Evaluation
) -> Metrics:
    """Args:
    model: name of the candidate.
    config: of the candidate.
    dataset: that it was tested on.
    """

    def metrics(weights: np.ndarray) -> MetricValues:
        return measure(
            predictions.labels,
            predictions.probabilities,
            predictions.classes,
            evaluation.calibration_bins,
            weights,
        ) | selective(predictions.labels, predictions.probabilities, evaluation.abstain_below, weights)

    values = metrics(np.ones((1, len(predictions.labels))))
    resampled = bootstrap(metrics, predictions.groups, evaluation.bootstrap_samples, evaluation.seed)
    intervals = {name: interval(resampled[name], evaluation.confidence) for name in values}
    return Metrics(
        model=model,
        kind=config.kind,
        test={name: float(value[0]) for name, value in values.items()},
        interval={name: Interval(low=low, high=high) for name, (low, high) in intervals.items()},
        confidence=evaluation.confidence,
        abstain_below=evaluation.abstain_below,
        calibration_bins=evaluation.calibration_bins,
        resampled=dataset.owners if predictions.knows_patients else "images",
        resamples=evaluation.bootstrap_samples,
        resamples_without_a_class=int(np.isnan(resampled["auroc"]).sum()),
        test_images=len(predictions.labels),
        test_patients=int(predictions.groups.max()) + 1 if predictions.knows_patients else None,
        test_fingerprint=predictions.fingerprint,
        dataset=dataset.name,
        grouping=dataset.grouping,
        split_origin=dataset.split_origin,
        validation=config.validation,
        weights_sha256=config.weights_sha256,
        dataset_fingerprint=dataset.fingerprint,
        is_phantom=dataset.is_phantom,
    )


def tested_on(metrics: Metrics) -> str:
    """Of the test split, in words."""
    of_owners = f" of {metrics.test_patients} {metrics.resampled}" if metrics.test_patients else ""
    return f"{metrics.test_images} images{of_owners}"


def interval_text(metrics: Metrics, name: str, digits: int = 3) -> str:
    interval = metrics.interval[name]
    return f"{interval.low:.{digits}f}–{interval.high:.{digits}f}"
