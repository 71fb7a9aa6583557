"""Conformal prediction sets: coverage of new patients, and rates on test images."""

import numpy as np
import pytest

from dcube.config.schema import Evaluation
from dcube.evaluation.prediction_sets import calibrate_sets, set_rates, sets_in_words, sets_measured_on
from tests.support.toy_predictions import toy_predictions


@pytest.mark.parametrize("of_patient", [1, 4])
def test_prediction_sets_cover_new_patients_at_the_requested_rate(of_patient):
    """The guarantee holds for the mean over calibrations, so many are drawn."""
    evaluation = Evaluation(set_coverage=0.8)
    found = []
    for seed in range(60):
        sets = calibrate_sets(toy_predictions(2 * seed, 120, of_patient=of_patient), evaluation)
        test = toy_predictions(2 * seed + 1, 120, of_patient=of_patient)
        found.append(set_rates(sets, test, np.ones((1, 120)))["coverage"][0])
    assert sets.calibrated_on == 120 // of_patient
    assert np.mean(found) == pytest.approx(0.8 + 0.2 / 2 / (sets.calibrated_on + 1), abs=0.03)


def test_threshold_has_the_conformal_rank_and_test_rates_are_counted():
    validation, test = toy_predictions(0, 20, of_patient=2), toy_predictions(1)
    sets = sets_measured_on(calibrate_sets(validation, Evaluation()), test, Evaluation(bootstrap_samples=100))
    of_truth = validation.probabilities[np.arange(20), validation.labels].reshape(10, 2).min(axis=1)
    assert sets.threshold == np.sort(of_truth)[0]  # rank ⌈11 × 0.9⌉ = 10 of 10
    covered = test.probabilities[np.arange(200), test.labels] >= sets.threshold
    size = (test.probabilities >= sets.threshold).sum(axis=1)
    expected = {
        "coverage": covered.reshape(100, 2).all(axis=1).mean(), "image_coverage": covered.mean(),
        "size": size.mean(), "single": (size == 1).mean(),
    }  # fmt: skip
    assert {name: it.value for name, it in sets.test.items()} == pytest.approx(expected)
    assert all(it.low <= it.value <= it.high for it in sets.test.values())
    assert "for a coverage of 90%, calibrated on 10 validation patients" in sets_in_words(sets, 0.95, "patients")


def test_too_few_patients_give_sets_with_every_class():
    sets = calibrate_sets(toy_predictions(0, 16), Evaluation())
    assert sets.threshold == 0 and "every class is in every set" in sets_in_words(sets, 0.95, "patients")
