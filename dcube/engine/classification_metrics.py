"""Accuracy, F1 and areas under the curves of a classifier, for validation in training, probes and the evaluation.

Each is a function of image weights (b, n) and returns b values. Weights of one give the usual value, and the counts of
a bootstrap resample give the value of that resample. The value is NaN if the weights leave a class without images.
"""

import numpy as np


def confusion(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (b, c, c): total weight of the images of class i that were predicted as class j."""
    count = probabilities.shape[1]
    cell = labels * count + probabilities.argmax(1)
    return (weights @ np.eye(count * count)[cell]).reshape(-1, count, count)


def accuracy(table: np.ndarray) -> np.ndarray:
    """Return the accuracy (b,) of confusion matrices (b, c, c)."""
    return np.diagonal(table, axis1=1, axis2=2).sum(1) / table.sum((1, 2))


def macro_f1(table: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes, (b,), of confusion matrices (b, c, c)."""
    hits, actual, predicted = np.diagonal(table, axis1=1, axis2=2), table.sum(2), table.sum(1)
    return ratio(2 * hits, actual + predicted, otherwise=0.0).mean(1) * only_complete(table)


def only_complete(table: np.ndarray) -> np.ndarray:
    """Return a factor (b,): one, or NaN if a class has no image."""
    return np.where((table.sum(2) > 0).all(1), 1.0, np.nan)


def areas(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and area under the precision–recall curve, (b,) each, one-vs-rest means over the classes.

    With two classes, AUROC is that of the second class.
    """
    by_class = [_areas(labels == i, probabilities[:, i], weights) for i in range(probabilities.shape[1])]
    auroc, auprc = np.array(by_class).swapaxes(0, 1)
    return (auroc[1] if len(auroc) == 2 else auroc.mean(0)), auprc.mean(0)


def unweighted_auroc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the one-vs-rest mean AUROC by scikit-learn, which may differ from `areas` in the last digit.

    It is kept because validation during training reports it, and these values must not change.
    """
    from sklearn.metrics import roc_auc_score  # takes a second to import, and is rarely needed

    return float(roc_auc_score(np.eye(probabilities.shape[1])[labels], probabilities, average="macro"))


def ratio(part: np.ndarray, whole: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0)


def _areas(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC (by trapezoids) and average precision (precision–recall curve by steps), (b,) each."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    sorted_weights = weights[:, order]
    true = np.cumsum(sorted_weights * positive[order], axis=1)[:, last_of_tie]
    false = np.cumsum(sorted_weights * ~positive[order], axis=1)[:, last_of_tie]
    gained = np.diff(true, axis=1, prepend=0.0)
    passed = np.diff(false, axis=1, prepend=0.0)
    positives, negatives = true[:, -1], false[:, -1]
    auroc = ratio((passed * (true - gained / 2)).sum(1), positives * negatives)
    auprc = ratio((gained * ratio(true, true + false, otherwise=0.0)).sum(1), positives)
    return auroc, np.where(negatives > 0, auprc, np.nan)
