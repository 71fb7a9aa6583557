"""Temperature scaling of a classifier's probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from dcube.classifier.calibration import fit_temperature, with_temperature


def overconfident(temperature: float, images: int = 20_000, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are correct after scaling by `temperature`, and labels drawn from the correct ones."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (images, classes))
    chances = softmax(logits, axis=1)
    labels = (chances.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1)
    return softmax(logits * temperature, axis=1), labels


@pytest.mark.parametrize("temperature", [1.0, 1.5, 4.0])
def test_fit_recovers_the_true_temperature(temperature: float) -> None:
    fitted = fit_temperature(*overconfident(temperature))
    assert fitted.temperature == pytest.approx(temperature, rel=0.03)


def test_fitted_temperature_is_never_below_one() -> None:
    """The weights were selected on the same images, so their confidence is too high and must not be raised."""
    assert fit_temperature(*overconfident(0.4)).temperature == pytest.approx(1.0, abs=1e-6)
    probabilities, labels = np.array([[0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]), np.array([0, 0, 1])
    assert fit_temperature(probabilities, labels).temperature == pytest.approx(1)


def test_calibrated_probabilities_have_temperature_one() -> None:
    """Of four images with p = 3/4 three are right, of four with p = 1/2 two: the only minimum is at T = 1."""
    probabilities = np.array([[0.75, 0.25]] * 4 + [[0.5, 0.5]] * 4)
    labels = np.array([0, 0, 0, 1, 0, 0, 1, 1])
    assert fit_temperature(probabilities, labels).temperature == pytest.approx(1.0, abs=1e-5)


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 40), st.floats(0.1, 30))
def test_calibration_keeps_predictions_and_does_not_raise_cross_entropy(seed, classes, images, spread) -> None:
    generator = np.random.default_rng(seed)
    probabilities = softmax(generator.normal(0, spread, (images, classes)), axis=1).astype(np.float32)
    labels = generator.integers(0, classes, images)
    fitted = fit_temperature(probabilities, labels)
    after = with_temperature(probabilities, fitted.temperature)
    assert fitted.cross_entropy <= fitted.cross_entropy_before
    np.testing.assert_allclose(after.sum(axis=1), 1)
    np.testing.assert_array_equal(
        after.argmax(axis=1), np.maximum(probabilities, np.finfo(np.float32).tiny).argmax(axis=1)
    )


def test_temperature_divides_the_logits() -> None:
    logits = np.random.default_rng(1).normal(0, 3, (50, 4))
    expected = np.exp(log_softmax(logits / 1.7, axis=1))
    np.testing.assert_allclose(with_temperature(softmax(logits, axis=1), 1.7), expected, rtol=1e-6)


def test_weight_of_an_image_equals_its_repetition() -> None:
    probabilities, labels = overconfident(3.0, images=300)
    counts = np.random.default_rng(0).integers(0, 4, len(labels))
    weighted = fit_temperature(probabilities, labels, counts.astype(float))
    repeated = fit_temperature(probabilities.repeat(counts, axis=0), labels.repeat(counts))
    assert weighted.temperature == pytest.approx(repeated.temperature)
    assert weighted.cross_entropy == pytest.approx(repeated.cross_entropy)
