"""From probabilities to a class, as `predict`, serving and evaluation do. Needs only NumPy."""

import numpy as np

from dcube.artifacts.schemas.decision import DecisionRule


def apply_decision_rule(probabilities: np.ndarray, classes: list[str], rule: DecisionRule) -> np.ndarray:
    """Return the (n,) class indices that the rule gives for (n, classes) probabilities without NaN."""
    if rule.weights:
        probabilities = probabilities * np.array(rule.weights)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    if rule.of_class is None:
        return probabilities.argmax(axis=1)
    index = classes.index(rule.of_class)
    others = probabilities.copy()
    others[:, index] = -1.0
    return np.where(probabilities[:, index] >= rule.threshold, index, others.argmax(axis=1))
