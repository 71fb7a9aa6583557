"""The metrics of a classifier as functions of per-image weights, and the list that describes all metrics.

If all weights are one, these are the usual metrics; if the weights are the counts of a bootstrap resample, they are the
metrics of that resample. All resamples are computed at once. Tests compare every metric with scikit-learn.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dcube.engine.classification_metrics import accuracy, areas, confusion, macro_f1, only_complete, ratio
from dcube.errors import DcubeError

MetricValues = dict[str, np.ndarray]


@dataclass(frozen=True)
class Metric:
    """Description of a metric. A new metric needs an entry in `METRICS` and its formula below.

    Attributes:
        name: name in `metrics.json`, `fid.json` and MLflow.
        label: name shown to users.
        headline: whether the tables that list models show it: `dcube results`, `dcube evaluate`, the report, the page
            in Prefect, subgroups, and by default studies. The pipeline's run in MLflow has it too.
        compared: whether differences between models are tested for it (`dcube results`, the report). It is a column of
            `dcube models`, and stays in tables that a narrow terminal shortens. The tags on a version's page are
            chosen in `registry/version_page.py`.
        by_class: whether there is one value per class, `NAME/CLASS` (for generated images `NAME, CLASS`).
        of_images: whether it measures generated images instead of a classifier.
        in_validation: its name under `validation` in `metrics.json`, if different.
    """

    name: str
    label: str
    higher_is_better: bool = True
    headline: bool = False
    compared: bool = False
    by_class: bool = False
    of_images: bool = False
    in_validation: str = ""

    @property
    def title(self) -> str:
        return self.label if self.higher_is_better else f"{self.label} (lower is better)"


METRICS = (
    Metric("accuracy", "accuracy", headline=True, compared=True),
    Metric("macro_precision", "macro precision", headline=True),
    Metric("macro_recall", "macro recall", headline=True),
    Metric("macro_f1", "macro F1", headline=True, compared=True),
    Metric("auroc", "AUROC", headline=True, compared=True),
    Metric("auprc", "AUPRC (average precision)"),
    Metric("ece", "expected calibration error", higher_is_better=False),
    Metric("brier", "Brier score", higher_is_better=False),
    Metric("nll", "cross-entropy", higher_is_better=False, in_validation="cross_entropy"),
    Metric("predicted_share", "share of images that are predicted"),
    Metric("accuracy_when_predicting", "accuracy when predicting"),
    Metric("sensitivity", "sensitivity", by_class=True),
    Metric("specificity", "specificity", by_class=True),
    Metric("fid", "Fréchet distance (FID)", higher_is_better=False, of_images=True),
    Metric("kid", "kernel distance (KID)", higher_is_better=False, of_images=True),
    Metric("kid_std", "standard deviation of KID", higher_is_better=False, of_images=True),
)
HEADLINES = tuple(metric for metric in METRICS if metric.headline)
COMPARED = tuple(metric for metric in METRICS if metric.compared)


def metric_of(name: str) -> Metric:
    """Return the metric of a value's name, which may include a class: `sensitivity/benign`, `fid, benign`."""
    own = re.split("/|, ", name, maxsplit=1)[0]
    for metric in METRICS:
        if metric.name == own:
            return metric
    raise DcubeError(f"no metric {name!r}: choose from {', '.join(metric.name for metric in METRICS)}")


def title_of(name: str) -> str:
    """Return the name of a value for users: `macro F1`, `sensitivity, benign`."""
    metric = metric_of(name)
    label = name.removeprefix(metric.name).lstrip("/, ")
    return f"{metric.title}, {label}" if label else metric.title


def names_of(test: Iterable[str]) -> list[str]:
    """Sort the names of a test's values in the order of `METRICS`; values of classes keep their own order."""
    order = [metric.name for metric in METRICS]
    return sorted(test, key=lambda name: order.index(metric_of(name).name))


def measure(
    labels: np.ndarray, probabilities: np.ndarray, classes: list[str], bins: int, weights: np.ndarray | None = None
) -> MetricValues:
    """Compute the metrics for every row of weights.

    Args:
        labels: (n,) class indices.
        probabilities: (n, c), rows add up to one. The prediction is the most probable class.
        classes: c names, for `sensitivity/NAME` and `specificity/NAME`.
        bins: number of bins of the expected calibration error.
        weights: (b, n), not negative; one row of ones by default.

    Returns:
        Name → (b,). Rates are in 0…1. `auroc` and `auprc` are means over the classes, each against the rest; for two
        classes, `auroc` uses the probability of the second class. NaN if the weights leave a class without an image.
    """
    if weights is None:
        weights = np.ones((1, len(labels)))
    auroc, auprc = areas(labels, probabilities, weights)
    return (
        _from_confusion(confusion(labels, probabilities, weights), classes)
        | {"auroc": auroc, "auprc": auprc}
        | _calibration(labels, probabilities, weights, bins)
    )


def selective(labels: np.ndarray, probabilities: np.ndarray, abstain_below: float, weights: np.ndarray) -> MetricValues:
    """Compute how often a model predicts that abstains below a confidence, and its accuracy when it predicts.

    The results are (b,) each; the accuracy is NaN if the model never predicts. Arguments are as in `measure`.
    """
    confident = probabilities.max(1) >= abstain_below
    right = confident & (probabilities.argmax(1) == labels)
    predicted = weights @ confident
    return {
        "predicted_share": predicted / weights.sum(1),
        "accuracy_when_predicting": ratio(weights @ right, predicted),
    }


def calibration_bins(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> tuple[np.ndarray, ...]:
    """Return bin (of equal width, closed on the right), confidence and correctness of every prediction, (n,) each."""
    confidence = probabilities.max(1)
    correct = (probabilities.argmax(1) == labels).astype(float)
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1), confidence, correct


def _from_confusion(table: np.ndarray, classes: list[str]) -> MetricValues:
    hits = np.diagonal(table, axis1=1, axis2=2)
    actual, predicted = table.sum(2), table.sum(1)
    precision = ratio(hits, predicted, otherwise=0.0)  # a class that is never predicted has precision 0
    sensitivity = ratio(hits, actual)
    others = table.sum((1, 2))[:, None] - actual
    specificity = ratio(others - (predicted - hits), others)
    return {
        "accuracy": accuracy(table),
        "macro_precision": precision.mean(1) * only_complete(table),
        "macro_recall": sensitivity.mean(1),
        "macro_f1": macro_f1(table),
        **{f"sensitivity/{name}": sensitivity[:, i] for i, name in enumerate(classes)},
        **{f"specificity/{name}": specificity[:, i] for i, name in enumerate(classes)},
    }


def _calibration(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, bins: int) -> MetricValues:
    """Compute expected calibration error (Guo et al., 2017), Brier score and negative log-likelihood.

    The Brier score is the squared distance to the unit vector of the true class. For two classes it is halved (as in
    scikit-learn), so that it is the squared error of one probability.
    """
    place, confidence, correct = calibration_bins(labels, probabilities, bins)
    gap = np.abs((weights * (confidence - correct)) @ np.eye(bins)[place]).sum(1)
    distance = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1)
    distance /= 2 if probabilities.shape[1] == 2 else 1
    likelihood = probabilities[np.arange(len(labels)), labels].clip(np.finfo(float).eps)
    total = weights.sum(1)
    return {
        "ece": gap / total,
        "brier": weights @ distance / total,
        "nll": weights @ -np.log(likelihood) / total,
    }
