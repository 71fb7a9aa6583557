"""The temperature of a classifier's probabilities: what it changes, and what it never does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from dcube.classifier.calibration import fit_temperature, with_temperature


def overconfident(temperature: float, images: int = 20_000, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right once they are tempered by `temperature`, and labels drawn from the right ones."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (images, classes))
    chances = softmax(logits, axis=1)
    labels = (chances.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1)
    return softmax(logits * temperature, axis=1), labels


@pytest.mark.parametrize("temperature", [1.0, 1.5, 4.0])
def test_it_finds_the_temperature_that_was_put_in(temperature: float) -> None:
    fitted = fit_temperature(*overconfident(temperature))
    assert fitted.temperature == pytest.approx(temperature, rel=0.03)


def test_it_never_takes_doubt_away() -> None:
    """The images that it is fitted on have chosen the weights, and flatter."""
    assert fit_temperature(*overconfident(0.4)).temperature == pytest.approx(1.0, abs=1e-6)
    probabilities, labels = np.array([[0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]), np.array([0, 0, 1])
    assert fit_temperature(probabilities, labels).temperature == pytest.approx(1)


def test_perfectly_calibrated_probabilities_stay_as_they_are() -> None:
    """Three of four with 3/4, two of four with 1/2: the one minimum is at T = 1 exactly."""
    probabilities = np.array([[0.75, 0.25]] * 4 + [[0.5, 0.5]] * 4)
    labels = np.array([0, 0, 0, 1, 0, 0, 1, 1])
    assert fit_temperature(probabilities, labels).temperature == pytest.approx(1.0, abs=1e-5)


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 40), st.floats(0.1, 30))
def test_the_answer_stays_and_the_cross_entropy_is_not_worse(seed, classes, images, spread) -> None:
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


def test_it_is_the_softmax_of_divided_logits() -> None:
    logits = np.random.default_rng(1).normal(0, 3, (50, 4))
    expected = np.exp(log_softmax(logits / 1.7, axis=1))
    np.testing.assert_allclose(with_temperature(softmax(logits, axis=1), 1.7), expected, rtol=1e-6)


def test_weights_count_images_as_often() -> None:
    probabilities, labels = overconfident(3.0, images=300)
    counts = np.random.default_rng(0).integers(0, 4, len(labels))
    weighted = fit_temperature(probabilities, labels, counts.astype(float))
    repeated = fit_temperature(probabilities.repeat(counts, axis=0), labels.repeat(counts))
    assert weighted.temperature == pytest.approx(repeated.temperature)
    assert weighted.cross_entropy == pytest.approx(repeated.cross_entropy)
