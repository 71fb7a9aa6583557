"""Metrics: known cases, comparison with scikit-learn, and invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from dcube.errors import DcubeError
from dcube.evaluation.metrics import METRICS, measure, metric_of, selective, title_of

NAMES = ["benign", "malignant", "normal"]


def values(labels, probabilities, classes=None, weights=None, bins=10):
    classes = classes or NAMES[: probabilities.shape[1]]
    weights = None if weights is None else weights[None]
    return {name: value[0] for name, value in measure(labels, probabilities, classes, bins, weights).items()}


def random_case(seed: int, classes: int, n: int = 200, digits: int = 2):
    """Few digits make ties, and rounded probabilities keep them in later operations."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, n - classes)])
    logits = generator.normal(size=(n, classes)).round(digits) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits)
    probabilities = (probabilities / probabilities.sum(1, keepdims=True)).round(6)
    probabilities[:, -1] = 1 - probabilities[:, :-1].sum(1)
    return labels, probabilities


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("digits", [0, 3])
def test_metrics_equal_scikit_learn(classes, weighted, digits):
    labels, probabilities = random_case(classes, classes, digits=digits)
    weights = np.random.default_rng(1).integers(0, 4, len(labels)).astype(float) if weighted else None
    ours = values(labels, probabilities, weights=weights)
    predicted = probabilities.argmax(1)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        labels, predicted, average="macro", sample_weight=weights, zero_division=0
    )
    one_hot = np.eye(classes)[labels]
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted, sample_weight=weights),
        "macro_precision": precision,
        "macro_recall": recall,
        "macro_f1": f1,
        "auroc": sk.roc_auc_score(
            *((labels, probabilities[:, 1]) if classes == 2 else (one_hot, probabilities)), sample_weight=weights
        ),
        "auprc": sk.average_precision_score(one_hot, probabilities, average="macro", sample_weight=weights),
        "nll": sk.log_loss(labels, probabilities, sample_weight=weights),
        "brier": sk.brier_score_loss(
            labels, probabilities[:, 1] if classes == 2 else probabilities, sample_weight=weights
        ),
    }
    for index, name in enumerate(NAMES[:classes]):
        one = labels == index, predicted == index
        expected[f"sensitivity/{name}"] = sk.recall_score(*one, sample_weight=weights)
        expected[f"specificity/{name}"] = sk.recall_score(~one[0], ~one[1], sample_weight=weights)
    assert {name: ours[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert set(ours) - set(expected) == {"ece"}


def test_calibration_error_equals_manual_result():
    """Two of three predictions at 0.9 are right, and one at 0.6 is wrong: 3/4 · |0.9 − 2/3| + 1/4 · 0.6."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    labels = np.array([0, 0, 1, 0])
    assert values(labels, probabilities)["ece"] == pytest.approx(0.75 * (0.9 - 2 / 3) + 0.25 * 0.6)


def test_perfect_and_uniform_predictions_have_known_metrics():
    labels = np.array([0, 1, 2, 0, 1, 2])
    perfect = values(labels, np.eye(3)[labels])
    assert all(perfect[name] == 1 for name in perfect if name not in ("ece", "brier", "nll"))
    assert perfect["ece"] == perfect["brier"] == perfect["nll"] == 0
    useless = values(labels, np.full((6, 3), 1 / 3))
    assert useless["auroc"] == pytest.approx(0.5)
    assert useless["nll"] == pytest.approx(np.log(3))
    assert useless["macro_recall"] == pytest.approx(1 / 3)


def test_metrics_of_a_missing_class_are_nan():
    labels, probabilities = np.array([0, 0, 1]), np.array([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1]])
    found = values(labels, probabilities)
    undefined = {"auroc", "auprc", "macro_precision", "macro_recall", "macro_f1", "sensitivity/normal"}
    assert {name for name, value in found.items() if np.isnan(value)} == undefined


cases = st.integers(0, 10_000).map(lambda seed: random_case(seed, 2 + seed % 2, n=40, digits=seed % 3))


@settings(max_examples=40)
@given(cases, st.integers(0, 10_000))
def test_metrics_do_not_depend_on_order_of_images_or_classes(case, seed):
    labels, probabilities = case
    generator = np.random.default_rng(seed)
    classes = generator.permutation(probabilities.shape[1])
    top = np.sort(probabilities, axis=1)
    clear = top[:, -1] > top[:, -2] + 1e-9  # ties depend on the order of classes
    labels, probabilities, images = labels[clear], probabilities[clear], generator.permutation(clear.sum())
    names = NAMES[: probabilities.shape[1]]
    before = values(labels, probabilities, names)
    after = values(np.argsort(classes)[labels][images], probabilities[:, classes][images], [names[i] for i in classes])
    assert after == pytest.approx(before, nan_ok=True, abs=1e-12)


@settings(max_examples=40)
@given(cases, hnp.arrays(np.int64, 40, elements=st.integers(0, 3)))
def test_weight_of_an_image_equals_its_repetition(case, counts):
    labels, probabilities = case
    counts[: probabilities.shape[1]] += 1
    repeated = values(np.repeat(labels, counts), np.repeat(probabilities, counts, axis=0))
    assert values(labels, probabilities, weights=counts.astype(float)) == pytest.approx(repeated, abs=1e-12)


@settings(max_examples=40)
@given(cases, st.floats(0.2, 5))
def test_auroc_ignores_monotone_changes_of_a_binary_score(case, power):
    labels, probabilities = case
    labels, score = np.minimum(labels, 1), probabilities[:, 1]
    distorted = score**power
    before = values(labels, np.stack([1 - score, score], 1))
    after = values(labels, np.stack([1 - distorted, distorted], 1))
    assert after["auroc"] == pytest.approx(before["auroc"], abs=1e-12)


def test_accuracy_with_abstention_counts_only_predicted_images():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.45, 0.55], [0.2, 0.8]])
    ones = np.ones((1, 4))
    for below, share, accuracy in ((0.0, 1.0, 0.75), (0.6, 0.75, 2 / 3), (0.75, 0.5, 1.0)):
        found = selective(labels, probabilities, below, ones)
        assert (found["predicted_share"][0], found["accuracy_when_predicting"][0]) == pytest.approx((share, accuracy))
    assert selective(labels, probabilities, 0.95, ones)["predicted_share"][0] == 0
    assert np.isnan(selective(labels, probabilities, 0.95, ones)["accuracy_when_predicting"][0])


def test_every_value_belongs_to_one_metric():
    labels, probabilities = random_case(0, 3)
    found = values(labels, probabilities) | selective(labels, probabilities, 0.5, np.ones((1, len(labels))))
    ours = {metric.name: metric for metric in METRICS if not metric.of_images}
    assert {metric_of(name) for name in found} == set(ours.values()) and len(ours) == len({*ours})
    assert {metric_of(name) for name in found if "/" in name} == {it for it in ours.values() if it.by_class}
    assert title_of("sensitivity/non, small") == "sensitivity, non, small" and "lower is better" in title_of("ece")
    with pytest.raises(DcubeError, match="no metric 'acuracy'"):
        metric_of("acuracy")
