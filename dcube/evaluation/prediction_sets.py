"""Split conformal prediction sets (Vovk et al. 2005): the possible classes of an image, with a stated coverage.

A class is in the set if its probability reaches a threshold that is calibrated on the validation images. Each patient
has one score, from the image whose true class is least probable. So for a similar new patient, the sets of *all* images
contain their true classes with the stated probability. If patients are unknown, each image counts as a patient.
"""

from collections.abc import Mapping
from functools import partial
from math import ceil

import numpy as np
import pandas as pd

from dcube.artifacts.schemas.decision import PredictionSets
from dcube.config.schema import Evaluation
from dcube.evaluation.estimates import estimates
from dcube.evaluation.metrics import MetricValues
from dcube.evaluation.predictions import Predictions

LABELS = {
    "coverage": "covered",
    "image_coverage": "images covered",
    "size": "classes in a set",
    "single": "sets of one class",
}


def calibrate_sets(validation: Predictions, evaluation: Evaluation) -> PredictionSets:
    """Calibrate prediction sets; with too few patients for the coverage, every class is in every set."""
    least = pd.Series(_of_truth(validation)).groupby(validation.groups).min().sort_values(ascending=False).to_numpy()
    rank = ceil((len(least) + 1) * evaluation.set_coverage)
    return PredictionSets(
        coverage=evaluation.set_coverage,
        threshold=float(least[rank - 1]) if rank <= len(least) else 0.0,
        calibrated_on=len(least),
        abstain=evaluation.abstain_by_set,
    )


def sets_measured_on(sets: PredictionSets, test: Predictions, evaluation: Evaluation) -> PredictionSets:
    """Return the sets with their rates on the test images."""
    return sets.model_copy(update={"test": estimates(partial(set_rates, sets, test), test.groups, evaluation)})


def set_rates(sets: PredictionSets, predictions: Predictions, weights: np.ndarray) -> MetricValues:
    """Compute the rates of `LABELS` for weights (b, n), which are equal within a patient: name → (b,)."""
    covered = _of_truth(predictions) >= sets.threshold
    size = (predictions.probabilities >= sets.threshold).sum(axis=1)
    by_patient = pd.Series(covered).groupby(predictions.groups)
    images, total = by_patient.transform("size").to_numpy(), weights.sum(axis=1)
    of_patients = weights / images
    return {
        "coverage": of_patients @ by_patient.transform("all").to_numpy() / of_patients.sum(axis=1),
        "image_coverage": weights @ covered / total,
        "size": weights @ size / total,
        "single": weights @ (size == 1) / total,
    }


def _of_truth(predictions: Predictions) -> np.ndarray:
    return predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels]


def sets_in_words(sets: PredictionSets, confidence: float, owners: str) -> str:
    """Describe how the sets were made and their rates on test; empty for a model without sets.

    Args:
        owners: the units of the calibration: patients, groups or images.
    """
    if not sets.calibrated_on:
        return ""
    few = " Too few for this coverage: every class is in every set." if sets.threshold == 0 else ""
    abstains = " It abstains unless the set is the decided class alone." if sets.abstain else ""
    return (
        f"Prediction sets hold the classes from a probability of {sets.threshold:.3g} on, for a coverage of "
        f"{sets.coverage:.0%}, calibrated on {sets.calibrated_on} validation {owners}.{few}{abstains} "
        f"On test, {rates_in_words(sets, confidence, owners)}."
    )


def rates_in_words(sets: PredictionSets, confidence: float, owners: str) -> str:
    """Return the rates of the sets on test as text; `owners` are the units: patients, groups or images."""
    twice = "image_coverage" if owners == "images" else ""
    rates = (f"{LABELS[name]} {it}" for name, it in sets.test.items() if name != twice)
    return f"with {confidence:.0%} intervals: {owners} {', '.join(rates)}"


def sets_compared(sets: Mapping[str, PredictionSets], owners: str) -> str:
    """Return one sentence about the sets of several models."""
    first = next(iter(sets.values()))
    each = (
        f"{name} {it.test['coverage'].value:.0%} ({it.test['coverage'].low:.0%}–{it.test['coverage'].high:.0%}) with "
        f"{it.test['size'].value:.2f}"
        for name, it in sets.items()
    )
    return (
        f"Prediction sets for a coverage of {first.coverage:.0%}, calibrated on {first.calibrated_on} validation "
        f"{owners}; covered {owners} on test, and classes in a set: {', '.join(each)}."
    )
