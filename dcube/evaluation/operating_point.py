"""The operating point: the threshold probability from which a class is decided, chosen on the validation images."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from dcube.artifacts.schemas.decision import MOST_PROBABLE, DecisionRule, Estimate, OperatingPoint
from dcube.config.schema import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.bootstrap import interval, resample_weights
from dcube.evaluation.decision_rule import apply_decision_rule
from dcube.evaluation.estimates import estimates
from dcube.evaluation.metrics import MetricValues
from dcube.evaluation.predictions import Predictions

LABELS = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV", "npv": "NPV"}


def choose_operating_point(validation: Predictions, evaluation: Evaluation) -> OperatingPoint:
    """Choose the operating point for `evaluation`, with intervals over patients (over images if these are unknown).

    Raises:
        DcubeError: if the class does not exist, or no threshold reaches the target.
    """
    if evaluation.operating_point == "most_probable":
        return OperatingPoint()
    refuse_unknown_class(evaluation, validation.classes)
    name, classes = str(evaluation.positive_class), validation.classes
    positive, scores = validation.labels == classes.index(name), validation.probabilities[:, classes.index(name)]
    threshold = _threshold(positive, scores, np.ones(len(scores)), evaluation)
    if np.isnan(threshold):
        raise DcubeError(_unreachable(positive, scores, evaluation))
    seed, samples = evaluation.seed, evaluation.bootstrap_samples
    again = [
        _threshold(positive, scores, weights, evaluation)
        for chunk in resample_weights(validation.groups, samples, seed)
        for weights in chunk
    ]
    low, high = interval(np.array(again), evaluation.confidence)
    point = OperatingPoint(
        rule=DecisionRule(of_class=name, threshold=threshold),
        chosen_by=evaluation.operating_point,
        target=evaluation.operating_target,
        threshold=Estimate(value=threshold, low=low, high=high),
        prevalence=evaluation.prevalence,
        validation_images=len(scores),
        validation_patients=int(validation.groups.max()) + 1 if validation.knows_patients else None,
    )
    return point.model_copy(update={"validation": _estimates(point, validation, evaluation)})


def refuse_unknown_class(evaluation: Evaluation, classes: Sequence[str]) -> None:
    """Raise `DcubeError` if the class of the operating point is not one of `classes`."""
    if (name := evaluation.positive_class) and name not in classes:
        raise DcubeError(f"evaluation.positive_class: there is no class {name!r}: choose from {', '.join(classes)}")


def measured_on(point: OperatingPoint, test: Predictions, evaluation: Evaluation) -> OperatingPoint:
    """Return the point with its rates on the test images, which are not used for the choice."""
    return point.model_copy(update={"test": _estimates(point, test, evaluation)})


def rates(point: OperatingPoint, predictions: Predictions, weights: np.ndarray) -> MetricValues:
    """Compute sensitivity, specificity, PPV and NPV of the point's class for weights (b, n): name → (b,).

    Images of the class are positive. PPV and NPV are computed for the point's prevalence (Bayes), or for the share of
    the class if it has none.
    """
    index = predictions.classes.index(str(point.rule.of_class))
    positive = predictions.labels == index
    called = apply_decision_rule(predictions.probabilities, predictions.classes, point.rule) == index
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = weights @ (positive & called) / (weights @ positive)
        specificity = weights @ (~positive & ~called) / (weights @ ~positive)
        share = weights @ positive / weights.sum(axis=1) if point.prevalence is None else point.prevalence
        ppv = sensitivity * share / (sensitivity * share + (1 - specificity) * (1 - share))
        npv = specificity * (1 - share) / (specificity * (1 - share) + (1 - sensitivity) * share)
    return {"sensitivity": sensitivity, "specificity": specificity, "ppv": ppv, "npv": npv}


def _estimates(point: OperatingPoint, predictions: Predictions, evaluation: Evaluation) -> dict[str, Estimate]:
    if point.rule.of_class is None:
        return {}
    return estimates(partial(rates, point, predictions), predictions.groups, evaluation)


def _curve(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sensitivity, specificity and threshold, (k,) each, without thresholds that give all images one class."""
    from sklearn.metrics import roc_curve  # slow to import, and `dcube models` does not need it

    if not (weights @ positive and weights @ ~positive):
        return (np.empty(0),) * 3
    drawn = weights > 0
    false, true, at = roc_curve(positive[drawn], scores[drawn], sample_weight=weights[drawn], drop_intermediate=False)
    between = np.append((at[:-1] + at[1:]) / 2, at[-1])  # midway between two scores
    used = (true > 0) & (false < 1)
    return true[used], 1 - false[used], between[used]


def _threshold(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray, evaluation: Evaluation) -> float:
    """Return the best threshold for the weighted images; NaN if no threshold reaches the target."""
    sensitivity, specificity, thresholds = _curve(positive, scores, weights)
    if not len(thresholds):
        return float("nan")
    target = evaluation.operating_target or 0.0
    share = evaluation.prevalence or float(weights @ positive / weights.sum())
    merits = {
        "sensitivity": np.where(sensitivity >= target, specificity, -np.inf),
        "specificity": np.where(specificity >= target, sensitivity, -np.inf),
        "youden": sensitivity + specificity,
        "cost": -target * share * (1 - sensitivity) - (1 - share) * (1 - specificity),
    }
    merit = merits[evaluation.operating_point]
    return float(thresholds[merit.argmax()]) if merit.max() > -np.inf else float("nan")


def _unreachable(positive: np.ndarray, scores: np.ndarray, evaluation: Evaluation) -> str:
    criterion, name = evaluation.operating_point, evaluation.positive_class
    sensitivity, specificity, _ = _curve(positive, scores, np.ones(len(scores)))
    required, other = (sensitivity, specificity) if criterion == "sensitivity" else (specificity, sensitivity)
    if not len(required):
        return f"evaluation.operating_point: every validation image has the same probability of {name}: train again"
    best = required.argmax()
    other_name = "specificity" if criterion == "sensitivity" else "sensitivity"
    return (
        f"evaluation.operating_target: no threshold reaches a {criterion} of {evaluation.operating_target:g} for "
        f"{name} on the validation images, unless all are decided alike: {required[best]:.3f} is reachable, at a "
        f"{other_name} of {other[best]:.3f}"
    )


def decision_in_words(point: OperatingPoint, confidence: float, threshold: str = "") -> str:
    """Describe the decision rule and how it was chosen, in one or a few sentences.

    Args:
        threshold: text to show instead of the point's own threshold.
    """
    if point.rule.of_class is None:
        return f"The {MOST_PROBABLE} decides: no operating point was chosen (evaluation.operating_point)."
    criterion = {
        "sensitivity": f"a sensitivity of {point.target}",
        "specificity": f"a specificity of {point.target}",
        "youden": "the largest sum of sensitivity and specificity",
        "cost": f"the smallest cost, a miss costing {point.target} false alarms",
    }.get(point.chosen_by, "a criterion that was not recorded")
    patients = f" of {point.validation_patients} patients or groups" if point.validation_patients else ""
    start = threshold or f"a probability of {threshold_in_words(point)}"
    return (
        f"{point.rule.of_class} is decided from {start} on, else the most probable of "
        f"the other classes: chosen on {point.validation_images} validation images{patients} for {criterion}. PPV and "
        f"NPV are for {_prevalence(point)}; intervals: {confidence:.0%}."
    )


def threshold_in_words(point: OperatingPoint) -> str:
    at = point.threshold
    resampled = f" ({at.low:.3f} to {at.high:.3f} on resamples)" if at else ""
    return f"{point.rule.threshold:.3f}{resampled}"


def _prevalence(point: OperatingPoint) -> str:
    if point.prevalence is None:
        return "the class's share among the images measured"
    return f"a prevalence of {point.prevalence:g}"


def table_rows(point: OperatingPoint) -> list[tuple[str, str, str]]:
    """Return rows of rate, value on validation and value on test; empty if the most probable class decides."""
    return [(LABELS[name], str(point.validation[name]), str(value)) for name, value in point.test.items()]
