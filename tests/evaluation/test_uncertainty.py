"""Coverage of bootstrap intervals, and statistical comparison of models."""

import numpy as np
import pandas as pd
import pytest

from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.schema import Evaluation, Params
from dcube.errors import DcubeError
from dcube.evaluation.bootstrap import bootstrap, interval, resample_weights, two_sided_p
from dcube.evaluation.comparison import compare, holm, mcnemar
from dcube.evaluation.model_card import limits_of
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.summary import evaluate_candidate
from dcube.evaluation.summary import tested_on as images_tested_on
from tests.support.evaluated_candidates import DATASET
from tests.support.random_candidate import candidate_config

EVALUATION = Evaluation(bootstrap_samples=500)


def table(probabilities, labels, patients=None, classes=("no", "yes")) -> Predictions:
    n = len(labels)
    frame = pd.DataFrame(
        {
            "id": [f"i{i}" for i in range(n)],
            "file": [f"i{i}.png" for i in range(n)],
            "patient": patients if patients is not None else [""] * n,
            "sha256": [f"{i:064x}" for i in range(n)],
            "label": np.array(classes)[labels],
            "prediction": np.array(classes)[probabilities.argmax(1)],
        }
    )
    for index, name in enumerate(classes):
        frame[f"probability_{name}"] = probabilities[:, index]
    return Predictions(frame)


def test_resampling_unit_depends_on_known_patients() -> None:
    labels = np.arange(40) % 2
    for known, resampled, words in (
        (40, "patients", "40 images of 10 patients"),
        (20, "patients or single images", "40 images"),
        (0, "images", "40 images"),
    ):
        patients = [f"p{i // 4}" if i < known else "" for i in range(40)]
        metrics = evaluated(table(scores(labels, 1, np.random.default_rng(0)), labels, patients))
        assert (metrics.resampled, images_tested_on(metrics)) == (resampled, words)
        assert any("are unknown: " in limit for limit in limits_of(metrics)) == (known < 40)


def scores(labels, strength, generator):
    score = 1 / (1 + np.exp(-generator.normal(strength * (2 * labels - 1), 1)))
    return np.stack([1 - score, score], 1)


def evaluated(predictions: Predictions) -> Metrics:
    return evaluate_candidate("a", candidate_config(Params()), DATASET, predictions, EVALUATION)


def width(result, name="accuracy"):
    return result.interval[name].high - result.interval[name].low


def test_resamples_draw_whole_patients_and_keep_their_number():
    groups = np.array([0, 0, 1, 2, 2, 2])
    weights = np.concatenate(list(resample_weights(groups, 300, seed=0)))
    assert weights.shape == (300, 6)
    assert (weights[:, groups == 2] == weights[:, [3]]).all()
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()


def test_interval_covers_the_true_mean_as_often_as_expected():
    """For the mean of 40 normal numbers, a 95% percentile interval covers the truth in about 93 of 100 cases."""
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(400):
        sample = generator.normal(size=40)
        means = bootstrap(lambda w, x=sample: {"mean": w @ x / w.sum(1)}, np.arange(40), 400, seed)["mean"]
        low, high = interval(means, 0.95)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 400 <= 0.97


def test_repeated_images_of_a_patient_do_not_narrow_the_interval():
    """With ten copies of every image, the interval over patients stays, and that over images shrinks by about √10."""
    generator = np.random.default_rng(1)
    labels = np.arange(60) % 2
    probabilities = scores(labels, 0.5, generator)
    many_labels, many_probabilities = np.repeat(labels, 10), np.repeat(probabilities, 10, axis=0)
    patients = [f"p{i}" for i in np.repeat(np.arange(60), 10)]
    once = width(evaluated(table(probabilities, labels)))
    by_patient = evaluated(table(many_probabilities, many_labels, patients))
    by_image = evaluated(table(many_probabilities, many_labels))
    assert width(by_patient) == pytest.approx(once, rel=0.25)
    assert width(by_image) == pytest.approx(once / np.sqrt(10), rel=0.25)
    assert by_patient.test_patients == 60 and by_image.test_patients is None


def test_resamples_without_a_class_are_left_out_and_counted():
    labels = np.array([0] * 8 + [1])
    summary = evaluated(table(scores(labels, 1.0, np.random.default_rng(0)), labels))
    missing = summary.resamples_without_a_class / EVALUATION.bootstrap_samples
    assert missing == pytest.approx((8 / 9) ** 9, abs=0.06)
    assert 0 <= summary.interval["auroc"].low <= summary.interval["auroc"].high <= 1


def test_mcnemar_equals_manual_result():
    """Ten disagreements, 1 against 9: p = 2 · (1 + 10) / 2¹⁰."""
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1.0


def test_holm_equals_manual_result():
    corrected = holm(np.array([[0.01, 0.04], [0.03, 0.005]]))  # in ascending order × 4, × 3, × 2, × 1, never decreasing
    np.testing.assert_allclose(corrected, [[0.03, 0.06], [0.06, 0.02]])
    assert holm(np.array([0.7, 0.8])).tolist() == [1, 1]


def test_p_value_of_bootstrap_differences_is_two_sided():
    assert two_sided_p(np.full(999, 0.1)) == pytest.approx(2 / 1000)
    assert two_sided_p(np.array([-1.0, 1.0] * 50)) == 1.0


def test_model_equals_itself_and_is_better_than_chance():
    generator = np.random.default_rng(2)
    labels = np.arange(200) % 2
    good, coin = (table(scores(labels, strength, generator), labels) for strength in (1.0, 0.0))
    itself, other, reverse = (
        compare(good, good, EVALUATION),
        compare(good, coin, EVALUATION),
        compare(coin, good, EVALUATION),
    )
    assert all(d.value == d.low == d.high == 0 and d.p == 1 for d in itself.differences.values())
    assert other.differences["auroc"].low > 0 and other.differences["auroc"].p < 0.01 and other.mcnemar_p < 0.01
    for name, difference in other.differences.items():
        mirrored = reverse.differences[name]
        assert (difference.value, difference.low) == pytest.approx((-mirrored.value, -mirrored.high))


@pytest.mark.slow
def test_comparison_rarely_finds_a_difference_between_equal_models():
    generator = np.random.default_rng(3)
    labels = np.arange(80) % 2

    def draw() -> Predictions:
        return table(scores(labels, 0.7, generator), labels)

    assert sum(compare(draw(), draw(), EVALUATION).differences["auroc"].p < 0.05 for _ in range(100)) <= 11


def test_comparison_does_not_depend_on_row_order():
    generator = np.random.default_rng(4)
    labels = np.arange(50) % 2
    first, second = (table(scores(labels, 0.5, generator), labels) for _ in range(2))
    shuffled = Predictions(second.table.sample(frac=1, random_state=0))
    assert compare(first, second, EVALUATION) == compare(first, shuffled, EVALUATION)


def test_predictions_on_different_images_are_not_compared():
    labels = np.arange(20) % 2
    probabilities = scores(labels, 1.0, np.random.default_rng(0))
    with pytest.raises(DcubeError, match="different images"):
        compare(table(probabilities, labels), table(probabilities, labels[::-1]), EVALUATION)


def test_predictions_are_read_back_as_written(tmp_path):
    labels = np.arange(20) % 2
    patients = ["", "007"] * 10
    before = table(scores(labels, 1.0, np.random.default_rng(0)), labels, patients, classes=("CT, non-COVID", "NA"))
    before.save(tmp_path / "predictions.csv")
    after = Predictions.load(tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(after.table, before.table)
    assert after.fingerprint == before.fingerprint and after.classes == before.classes
    assert len(set(after.groups)) == 11
