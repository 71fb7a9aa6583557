"""All figures of one model on one test, with intervals: the content of `metrics.json`."""

import numpy as np

from dcube.config.schema import Evaluation
from dcube.evaluation.bootstrap import bootstrap, interval
from dcube.evaluation.metrics import Figures, measure, selective
from dcube.evaluation.predictions import Predictions


def summarise(predictions: Predictions, evaluation: Evaluation) -> dict:
    """`test` (name → value), `interval` (name → low, high), and what they rest on."""

    def figures(weights: np.ndarray) -> Figures:
        return measure(
            predictions.labels,
            predictions.probabilities,
            predictions.classes,
            evaluation.calibration_bins,
            weights,
        ) | selective(predictions.labels, predictions.probabilities, evaluation.abstain_below, weights)

    values = figures(np.ones((1, len(predictions.labels))))
    resampled = bootstrap(figures, predictions.groups, evaluation.bootstrap_samples, evaluation.seed)
    intervals = {name: interval(resampled[name], evaluation.confidence) for name in values}
    return {
        "test": {name: float(value[0]) for name, value in values.items()},
        "interval": {name: {"low": low, "high": high} for name, (low, high) in intervals.items()},
        "confidence": evaluation.confidence,
        "abstain_below": evaluation.abstain_below,
        "resampled": "patients" if predictions.knows_patients else "images",
        "resamples": evaluation.bootstrap_samples,
        "resamples_without_a_class": int(np.isnan(resampled["auroc"]).sum()),
        "test_images": len(predictions.labels),
        "test_patients": int(predictions.groups.max()) + 1 if predictions.knows_patients else None,
        "test_fingerprint": predictions.fingerprint,
    }
