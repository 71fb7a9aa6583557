"""The promotion decision: worked out by hand, against an independent implementation, and by invariants."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import f1_score, recall_score

from dcube.config.schema import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.bootstrap import resample_weights
from dcube.evaluation.comparison import compare
from dcube.evaluation.predictions import Predictions
from dcube.registry.promotion_policy import PromotionPolicy, Verdict, judge
from tests.support.evaluated_candidates import EACH, predictions
from tests.support.random_candidate import CLASSES

POLICY = PromotionPolicy(bootstrap_samples=200)
METRICS = ["macro_f1", "ece", *(f"sensitivity/{name}" for name in CLASSES)]


def predicted(benign: int, malignant: int, normal: int, confidence: float = 0.8) -> Predictions:
    return predictions({"benign": benign, "malignant": malignant, "normal": normal}, confidence)


def failed(verdict: Verdict) -> list[str]:
    return [criterion.name for criterion in verdict.criteria if not criterion.passed]


def test_verdict_matches_a_calculation_by_hand():
    """30 images a class. Champion: 20 right in each, F1 = 20/30. Challenger: 24, 30, 30; errors name the second class.

    So the challenger's F1s are 48/54, 60/66 and 60/60. It alone is right on 4 + 10 + 10 images, the champion alone on
    none: p = 2 · 2⁻²⁴. At confidence 0.8 the calibration errors are |60/90 − 0.8| and |84/90 − 0.8|.
    """
    verdict = judge(predicted(20, 20, 20), predicted(24, 30, 30), POLICY)
    macro, mcnemar, *sensitivities, calibration = verdict.criteria
    assert (macro.champion, macro.challenger) == ("0.667", f"{(48 / 54 + 60 / 66 + 1) / 3:.3f}")
    assert (mcnemar.champion, mcnemar.challenger) == ("0", "24") and mcnemar.result == f"p = {2 * 2**-24:.2g}"
    assert [it.challenger for it in sensitivities] == ["0.800", "1.000", "1.000"]
    assert all(it.champion == "0.667" for it in sensitivities)
    assert (calibration.champion, calibration.challenger, calibration.result) == ("0.133", "0.133", "+0.000")
    assert verdict.promoted and verdict.reason.startswith("macro F1 +0.266 (lower bound +0.")


@pytest.mark.parametrize(
    ("champion", "challenger", "policy", "names"),
    [
        (predicted(20, 20, 20), predicted(20, 20, 20), {}, ["macro F1"]),
        (predicted(20, 20, 20), predicted(21, 20, 20), {}, ["macro F1"]),
        (predicted(20, 20, 20), predicted(27, 27, 27), {"minimum_improvement": 0.2}, ["macro F1"]),
        (predicted(15, 15, 30), predicted(27, 27, 26, 0.85), {}, ["sensitivity, normal"]),
        (predicted(15, 15, 30), predicted(27, 27, 26, 0.85), {"sensitivity_margin": 0.3}, []),
        (predicted(27, 27, 27, 0.9), predicted(30, 30, 30, 0.6), {}, ["expected calibration error"]),
        (predicted(27, 27, 27, 0.9), predicted(30, 30, 30, 0.6), {"calibration_loss": 0.5}, []),
        (
            predicted(30, 30, 30),
            predicted(27, 27, 27),
            {"minimum_improvement": -1.0, "sensitivity_margin": 1.0},
            ["images that only this model predicts correctly (McNemar)"],
        ),
        (predicted(20, 20, 20), predicted(20, 20, 20), {"minimum_improvement": -0.01}, []),
    ],
)
def test_failed_criterion_stops_a_promotion_and_is_named(champion, challenger, policy, names):
    verdict = judge(champion, challenger, POLICY.model_copy(update=policy))
    assert failed(verdict) == names and verdict.promoted == (not names)
    assert all(name in verdict.reason for name in names)


def random_predictions(generator: np.random.Generator, skill: float) -> Predictions:
    table = predicted(EACH, EACH, EACH).table.copy()
    truth = np.eye(3)[np.repeat(np.arange(3), EACH)]
    scores = np.exp(skill * truth + generator.normal(size=truth.shape))
    for index, name in enumerate(CLASSES):
        table[f"probability_{name}"] = (scores / scores.sum(1, keepdims=True))[:, index]
    return Predictions(table)


def test_bounds_and_counts_match_an_independent_implementation():
    """Every resample spelled out image by image, measured by scikit-learn; McNemar's p from the binomials."""
    generator = np.random.default_rng(0)
    champion, challenger = random_predictions(generator, 1.0), random_predictions(generator, 1.5)
    settings = Evaluation(bootstrap_samples=100, confidence=0.9)
    found = compare(challenger, champion, settings, METRICS)
    truth, ours, theirs = champion.labels, challenger.probabilities.argmax(1), champion.probabilities.argmax(1)
    f1_gains, recall_gains = [], []
    for weights in np.concatenate(list(resample_weights(champion.groups, 100, settings.seed))):
        drawn = np.repeat(np.arange(len(truth)), weights.astype(int))
        measured = [
            (
                f1_score(truth[drawn], said[drawn], average="macro"),
                recall_score(truth[drawn], said[drawn], average=None),
            )
            for said in (ours, theirs)
        ]
        f1_gains.append(measured[0][0] - measured[1][0])
        recall_gains.append(measured[0][1] - measured[1][1])
    assert found.differences["macro_f1"].low == pytest.approx(np.quantile(f1_gains, 0.05))
    for index, name in enumerate(CLASSES):
        low = np.quantile([gains[index] for gains in recall_gains], 0.05)
        assert found.differences[f"sensitivity/{name}"].low == pytest.approx(low)
    first, second = ((a == truth) & (b != truth) for a, b in ((ours, theirs), (theirs, ours)))
    assert (found.only_first, found.only_second) == (first.sum(), second.sum())
    n, k = first.sum() + second.sum(), min(first.sum(), second.sum())
    assert found.mcnemar_p == pytest.approx(min(1, 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n))


right = st.integers(0, EACH)
three = st.tuples(right, right, right)


@settings(max_examples=40)
@given(three, three, st.floats(0.4, 0.99), st.floats(0.4, 0.99))
def test_verdict_is_consistent_for_random_predictions(first, second, one_confidence, other_confidence):
    champion, challenger = predicted(*first, confidence=one_confidence), predicted(*second, confidence=other_confidence)
    verdict = judge(champion, challenger, POLICY)
    assert verdict.promoted == (not failed(verdict))
    assert verdict.promoted or [part.partition(": ")[0] for part in verdict.reason.split("; ")] == failed(verdict)
    shuffled = Predictions(challenger.table.sample(frac=1, random_state=0).reset_index(drop=True))
    assert judge(champion, shuffled, POLICY) == verdict, "the order of the rows"
    if verdict.promoted:
        assert not judge(challenger, champion, POLICY).promoted, "two models cannot both be better"
        lax = PromotionPolicy(
            minimum_improvement=-0.5, sensitivity_margin=0.5, calibration_loss=0.5, bootstrap_samples=200
        )
        assert judge(champion, challenger, lax).promoted, "a laxer policy refuses nothing more"


@settings(max_examples=20)
@given(three)
def test_model_never_replaces_an_equal_one(counts):
    verdict = judge(predicted(*counts), predicted(*counts), POLICY)
    assert failed(verdict) == ["macro F1"] and "+0.000 (lower bound +0.000 at 95%)" in verdict.reason


def test_equally_good_model_is_rarely_promoted_by_chance():
    """100 pairs without a difference: at 95% confidence about 5 could pass the first criterion alone."""
    generator = np.random.default_rng(1)
    verdicts = [
        judge(random_predictions(generator, 1.5), random_predictions(generator, 1.5), POLICY) for _ in range(100)
    ]
    assert sum(verdict.promoted for verdict in verdicts) <= 5


def test_models_tested_on_different_images_are_refused():
    other = predictions(dict.fromkeys(CLASSES, 20), test="other-")
    with pytest.raises(DcubeError, match="different images"):
        judge(predicted(20, 20, 20), other, POLICY)


def test_policy_form_has_titles_help_and_bounds():
    """The Prefect UI shows every field with title, help and bounds; invalid values are refused."""
    fields = PromotionPolicy.model_json_schema()["properties"]
    for name, field in fields.items():
        assert field["title"] and len(field["description"]) > 20, name
        assert {"minimum", "exclusiveMinimum"} & field.keys() and {"maximum", "exclusiveMaximum"} & field.keys()
    for wrong in ({"confidence": 0.5}, {"sensitivity_margin": 0}, {"calibration_loss": -1}, {"margin": 1}):
        with pytest.raises(ValidationError):
            PromotionPolicy.model_validate(wrong)
