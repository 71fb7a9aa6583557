"""The figures of a classifier, each as a function of per-image weights.

With weight one everywhere they are the usual figures; with the counts of a bootstrap resample they are that
resample's. All resamples go through one set of array operations. Tests compare every figure with scikit-learn.
"""

import numpy as np

Figures = dict[str, np.ndarray]

HEADLINES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "auroc")
SPELLED = {
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "auprc": "AUPRC (average precision)",
    "ece": "expected calibration error (lower is better)",
    "brier": "Brier score (lower is better)",
    "nll": "cross-entropy (lower is better)",
    "coverage": "coverage (share that is answered)",
}


def spelled(name: str) -> str:
    """A figure's name for people: `macro F1`, `sensitivity, benign`."""
    return SPELLED.get(name, name.replace("_", " ") if "/" not in name else name.replace("/", ", ", 1))


def measure(
    labels: np.ndarray, probabilities: np.ndarray, classes: list[str], bins: int, weights: np.ndarray | None = None
) -> Figures:
    """Figures for every row of weights.

    Args:
        labels: (n,) class indices.
        probabilities: (n, c), rows add up to one. The prediction is the most probable class.
        classes: c names, for `sensitivity/NAME` and `specificity/NAME`.
        bins: of the expected calibration error.
        weights: (b, n), not negative; one row of ones if not given.

    Returns:
        Name → (b,). Rates are 0…1. `auroc` and `auprc` are means over the classes, each against the rest; of two
        classes, `auroc` ranks by the second's probability. NaN where a weighting leaves a class without an image.
    """
    if weights is None:
        weights = np.ones((1, len(labels)))
    return (
        _from_confusion(confusion(labels, probabilities, weights), classes)
        | _ranking(labels, probabilities, weights)
        | _calibration(labels, probabilities, weights, bins)
    )


def selective(labels: np.ndarray, probabilities: np.ndarray, abstain_below: float, weights: np.ndarray) -> Figures:
    """How often a model answers that abstains below a confidence, and how often its answers are then right.

    The second is NaN where it never answers. Arguments as of `measure`; (b,) each.
    """
    answers = probabilities.max(1) >= abstain_below
    right = answers & (probabilities.argmax(1) == labels)
    answered = weights @ answers
    return {
        "coverage": answered / weights.sum(1),
        "accuracy_when_answering": _ratio(weights @ right, answered),
    }


def confusion(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(b, c, c): weight of the images of class i that were predicted to be class j."""
    count = probabilities.shape[1]
    cell = labels * count + probabilities.argmax(1)
    return (weights @ np.eye(count * count)[cell]).reshape(-1, count, count)


def calibration_bins(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> tuple[np.ndarray, ...]:
    """Bin (equal widths, closed on the right), confidence and correctness of every prediction, (n,) each."""
    confidence = probabilities.max(1)
    correct = (probabilities.argmax(1) == labels).astype(float)
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1), confidence, correct


def _from_confusion(table: np.ndarray, classes: list[str]) -> Figures:
    total = table.sum((1, 2))
    hits = np.diagonal(table, axis1=1, axis2=2)
    actual, predicted = table.sum(2), table.sum(1)
    precision = _ratio(hits, predicted, otherwise=0.0)  # a class that is never predicted has earned none
    sensitivity = _ratio(hits, actual)
    f1 = _ratio(2 * hits, actual + predicted, otherwise=0.0)
    others = total[:, None] - actual
    specificity = _ratio(others - (predicted - hits), others)
    complete = np.where((actual > 0).all(1), 1.0, np.nan)
    return {
        "accuracy": hits.sum(1) / total,
        "macro_precision": precision.mean(1) * complete,
        "macro_recall": sensitivity.mean(1),
        "macro_f1": f1.mean(1) * complete,
        **{f"sensitivity/{name}": sensitivity[:, i] for i, name in enumerate(classes)},
        **{f"specificity/{name}": specificity[:, i] for i, name in enumerate(classes)},
    }


def _ranking(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> Figures:
    areas = np.array([_areas(labels == i, probabilities[:, i], weights) for i in range(probabilities.shape[1])])
    auroc, auprc = areas.swapaxes(0, 1)
    return {"auroc": auroc[1] if len(auroc) == 2 else auroc.mean(0), "auprc": auprc.mean(0)}


def _areas(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas under the ROC curve (trapezoids) and under precision–recall (steps, "average precision"), (b,) each."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    sorted_weights = weights[:, order]
    true = np.cumsum(sorted_weights * positive[order], axis=1)[:, last_of_tie]
    false = np.cumsum(sorted_weights * ~positive[order], axis=1)[:, last_of_tie]
    gained = np.diff(true, axis=1, prepend=0.0)
    passed = np.diff(false, axis=1, prepend=0.0)
    positives, negatives = true[:, -1], false[:, -1]
    auroc = _ratio((passed * (true - gained / 2)).sum(1), positives * negatives)
    auprc = _ratio((gained * _ratio(true, true + false, otherwise=0.0)).sum(1), positives)
    return auroc, np.where(negatives > 0, auprc, np.nan)


def _calibration(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, bins: int) -> Figures:
    """Expected calibration error (Guo et al., 2017), Brier score, negative log-likelihood.

    The Brier score is the squared distance to the true class's unit vector, halved for two classes (as in
    scikit-learn), where it then is the squared error of the one probability.
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


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0)
