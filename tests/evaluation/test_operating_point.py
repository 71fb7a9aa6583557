"""Operating points are chosen on validation and measured on test; unreachable targets are refused."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm
from sklearn.metrics import confusion_matrix

from dcube.artifacts.schemas.decision import DecisionPolicy, DecisionRule, Prevalence
from dcube.config.schema import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.decision_rule import apply_decision_rule
from dcube.evaluation.operating_point import choose_operating_point, decision_in_words, measured_on, rates, table_rows
from dcube.evaluation.plots import net_benefit
from dcube.evaluation.predictions import Predictions
from tests.support.toy_predictions import CLASSES, toy_predictions

PRIOR = [0.6, 0.4]


def settings(**values) -> Evaluation:
    return Evaluation(bootstrap_samples=100, positive_class="malignant", **values)


def by_scikit(predictions: Predictions, rule: DecisionRule) -> tuple[float, float, float, float]:
    called = apply_decision_rule(predictions.probabilities, CLASSES, rule) == 1
    tn, fp, fn, tp = confusion_matrix(predictions.labels == 1, called).ravel().astype(float)
    with np.errstate(invalid="ignore"):
        return tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), tn / (tn + fn)


@pytest.mark.parametrize("target", [0.6, 0.9, 1.0])
def test_requested_sensitivity_is_reached_at_the_best_specificity(target):
    validation, test = toy_predictions(0), toy_predictions(1)
    evaluation = settings(operating_point="sensitivity", operating_target=target)
    point = measured_on(choose_operating_point(validation, evaluation), test, evaluation)
    for predictions, measured in ((validation, point.validation), (test, point.test)):
        found = [measured[name].value for name in ("sensitivity", "specificity", "ppv", "npv")]
        np.testing.assert_allclose(found, by_scikit(predictions, point.rule))
        assert all(estimate.low <= estimate.value <= estimate.high for estimate in measured.values())
    assert point.validation["sensitivity"].value >= target
    scores = validation.probabilities[:, 1]
    higher = scores[scores > point.rule.threshold].min() + 1e-9  # the next higher threshold misses one more image
    assert by_scikit(validation, DecisionRule(of_class="malignant", threshold=higher))[0] < target
    assert point.validation_patients == 100 and point.validation_images == 200
    assert point.threshold and point.threshold.low <= point.rule.threshold <= point.threshold.high
    assert table_rows(point)[0][0] == "sensitivity" and "malignant is decided" in decision_in_words(point, 0.95)


def test_operating_points_are_the_best_of_all_thresholds():
    validation = toy_predictions(0)
    every = [DecisionRule(of_class="malignant", threshold=float(p)) for p in validation.probabilities[:, 1]]
    all_rates = np.array([by_scikit(validation, rule)[:2] for rule in every])
    points = {
        "specificity": choose_operating_point(
            validation, settings(operating_point="specificity", operating_target=0.9)
        ),
        "youden": choose_operating_point(validation, settings(operating_point="youden")),
        "cost": choose_operating_point(validation, settings(operating_point="cost", operating_target=10)),
    }
    got = {name: np.array(by_scikit(validation, point.rule)[:2]) for name, point in points.items()}
    assert got["specificity"][1] >= 0.9
    assert got["specificity"][0] == all_rates[all_rates[:, 1] >= 0.9, 0].max()
    assert got["youden"].sum() == pytest.approx(all_rates.sum(1).max())
    cost = 10 * 0.2 * (1 - all_rates[:, 0]) + 0.8 * (1 - all_rates[:, 1])
    assert 10 * 0.2 * (1 - got["cost"][0]) + 0.8 * (1 - got["cost"][1]) == pytest.approx(cost.min())
    dear = choose_operating_point(validation, settings(operating_point="cost", operating_target=100))
    assert dear.rule.threshold < points["cost"].rule.threshold


def test_ppv_and_npv_at_a_given_prevalence_follow_bayes():
    evaluation = settings(operating_point="youden", prevalence=0.01)
    point = choose_operating_point(toy_predictions(0), evaluation)
    sensitivity, specificity, ppv, npv = (
        rates(point, toy_predictions(0), np.ones((1, 200)))[k][0] for k in ("sensitivity", "specificity", "ppv", "npv")
    )
    assert ppv == pytest.approx(0.01 * sensitivity / (0.01 * sensitivity + 0.99 * (1 - specificity)))
    assert npv == pytest.approx(0.99 * specificity / (0.99 * specificity + 0.01 * (1 - sensitivity)))
    assert "a prevalence of 0.01" in decision_in_words(point, 0.95)


def test_unreachable_target_is_refused_with_the_reachable_value():
    hopeless = toy_predictions(0)
    hopeless.table["probability_malignant"] = np.where(hopeless.labels == 1, 0.0, 0.5)
    hopeless.table.loc[5, "probability_malignant"] = 0.6  # one malignant image alone is above all others
    with pytest.raises(DcubeError, match=r"no threshold reaches a sensitivity of 0\.9.*0\.025 is reachable") as error:
        choose_operating_point(hopeless, settings(operating_point="sensitivity", operating_target=0.9))
    assert "\n" not in str(error.value)
    with pytest.raises(DcubeError, match=r"no class 'x': choose from benign"):
        choose_operating_point(toy_predictions(0), Evaluation(operating_point="youden", positive_class="x"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"operating_point": "youden"}, "needs positive_class"),
        ({"operating_point": "cost", "positive_class": "a"}, "needs operating_target"),
        ({"operating_point": "sensitivity", "positive_class": "a", "operating_target": 95}, "must be 1 or less"),
    ],
)
def test_incomplete_operating_point_is_refused(values, words):
    with pytest.raises(ValidationError, match=words):
        Evaluation(**values)


def test_most_probable_class_decides_by_default():
    point = choose_operating_point(toy_predictions(0), Evaluation())
    assert str(point.rule) == "most probable class" and measured_on(point, toy_predictions(1), Evaluation()).test == {}
    assert "The most probable class decides" in decision_in_words(point, 0.95)
    probabilities = toy_predictions(0).probabilities
    assert np.array_equal(apply_decision_rule(probabilities, CLASSES, point.rule), probabilities.argmax(1))


def test_decision_rule_is_parsed_back_from_its_text():
    rule = DecisionRule(of_class="grade >= 2", threshold=0.1 + 0.2)
    assert DecisionRule.parse(str(rule)) == rule and DecisionRule.parse(str(DecisionRule())) == DecisionRule()
    assert DecisionRule.parse("malignant>=0.3") == DecisionRule(of_class="malignant", threshold=0.3)
    at = Prevalence(of_class="cells at T=0", share=0.05)
    for rule in (DecisionRule(at=at), DecisionRule(of_class="cells at T=0", threshold=0.3, at=at)):
        assert DecisionRule.parse(str(rule)) == rule
    assert DecisionRule.parse("cells at T=0 >= 0.3") == DecisionRule(of_class="cells at T=0", threshold=0.3)
    most = "most probable class at "
    for text in ("b >= 0.5", most + "b = 0.5"):
        with pytest.raises(DcubeError, match="no class 'b'"):
            DecisionPolicy().overridden(text, None, CLASSES, PRIOR)
    texts = None, "benign >= 0.5", most + "benign = 0.5", most + "benign = 0.6"
    assert len({DecisionPolicy().overridden(text, 0.5, CLASSES, PRIOR).folder_name for text in texts}) == len(texts)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_decisions_at_another_prevalence_follow_bayes(share) -> None:
    """Three classes with known densities: corrected probabilities equal those computed at the other prevalence."""
    prior, classes = np.array([0.2, 0.5, 0.3]), ["a", "b", "c"]
    likelihoods = norm.pdf(np.random.default_rng(0).normal(0, 2, (500, 1)), loc=[-1, 0, 1.5])
    shares = np.array([share, (1 - share) * 0.5 / 0.8, (1 - share) * 0.3 / 0.8])  # b and c keep their ratio
    there, here = (likelihoods * each / (likelihoods * each).sum(axis=1, keepdims=True) for each in (shares, prior))
    rule = DecisionRule.parse(f"most probable class at a = {share}").checked(classes, list(prior))
    assert np.array_equal(apply_decision_rule(here, classes, rule), there.argmax(axis=1))
    rule = DecisionRule.parse(f"a >= 0.25 at a = {share}").checked(classes, list(prior))
    assert np.array_equal(apply_decision_rule(here, classes, rule) == 0, there[:, 0] >= 0.25)
    same = DecisionRule.parse("most probable class at a = 0.2").checked(classes, list(prior))
    assert np.array_equal(apply_decision_rule(here, classes, same), here.argmax(axis=1))


def test_net_benefit_equals_counted_images() -> None:
    """At a threshold p, one false alarm costs p / (1 - p) hits."""
    generator = np.random.default_rng(0)
    truth = generator.random(200) < 0.3
    score = np.clip(truth * 0.3 + generator.random(200) * 0.7, 0, 1)
    thresholds = np.array([0.1, 0.25, 0.5, 0.9])
    for found, p in zip(net_benefit(truth, score, thresholds), thresholds, strict=True):
        pairs = list(zip(truth, score, strict=True))
        hits = sum(1 for sick, at in pairs if sick and at >= p)
        alarms = sum(1 for sick, at in pairs if not sick and at >= p)
        assert found == pytest.approx(hits / 200 - alarms / 200 * p / (1 - p))
    always = net_benefit(truth, np.ones(200), thresholds)
    assert always == pytest.approx(truth.mean() - (1 - truth.mean()) * thresholds / (1 - thresholds))
    assert net_benefit(truth, np.zeros(200), thresholds) == pytest.approx(np.zeros(4))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("malignant", "it has no `>=`"),
        ("malignant > 0.3", "it has no `>=`"),
        ("malignant => 0.3", "it has no `>=`"),
        (">= 0.3", "it names no class"),
        ("malignant >= 1.5", "the probability '1.5' is not from 0 to 1"),
        ("malignant >= -0.1", "the probability '-0.1' is not from 0 to 1"),
        ("malignant >= nan", "the probability 'nan' is not from 0 to 1"),
        ("malignant >= much", "the probability 'much' is not from 0 to 1"),
        ("malignant >=", "the probability '' is not from 0 to 1"),
        ("malignant >= 0.3 at malignant = 0", "the prevalence '0' is not between 0 and 1"),
        ("most probable class at malignant = 1", "the prevalence '1' is not between 0 and 1"),
        ("most probable class at malignant = nan", "the prevalence 'nan' is not between 0 and 1"),
        ("most probable class at malignant", "its prevalence has no `=`"),
        ("most probable class at = 0.3", "it names no class"),
    ],
)
def test_malformed_rule_is_refused_with_reason_and_example(text, reason):
    with pytest.raises(DcubeError) as refused:
        DecisionPolicy().overridden(text, None, CLASSES, PRIOR)
    said = str(refused.value)
    assert said.startswith(f"decide: {text!r} is no rule ({reason}): ") and "'malignant >= 0.3'" in said
    assert "\n" not in said
