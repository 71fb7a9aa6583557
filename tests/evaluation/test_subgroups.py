"""Metrics of a subgroup use only its images; small groups are hidden."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from dcube.artifacts.schemas.decision import DecisionRule, OperatingPoint
from dcube.config.schema import Evaluation
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.subgroups import FEWEST, by_subgroup
from tests.support.toy_predictions import toy_predictions

EVALUATION = Evaluation(bootstrap_samples=100)
POINT = OperatingPoint(rule=DecisionRule(of_class="malignant", threshold=0.3))


def test_metrics_of_a_group_use_only_its_images_and_patients():
    predictions = toy_predictions(0)  # 200 images, two of each patient
    sex = np.where(np.arange(200) // 2 % 4 == 0, "f", "m")
    (column,) = by_subgroup(pd.DataFrame({"sex": sex}), predictions, POINT, EVALUATION)
    assert (column.name, column.hidden, [group.value for group in column.groups]) == ("sex", 0, ["f", "m"])
    assert [(group.images, group.patients) for group in column.groups] == [(50, 25), (150, 75)]
    for group in column.groups:
        own = Predictions(predictions.table[sex == group.value])
        guessed = own.probabilities.argmax(axis=1)
        assert group.test["accuracy"].value == pytest.approx(accuracy_score(own.labels, guessed))
        assert group.test["macro_f1"].value == pytest.approx(f1_score(own.labels, guessed, average="macro"))
        called = own.probabilities[:, 1] >= 0.3
        assert group.test["sensitivity"].value == pytest.approx(recall_score(own.labels == 1, called))
        assert all(it.low <= it.value <= it.high for it in group.test.values())
    few, many = (group.test["accuracy"] for group in column.groups)
    assert few.high - few.low > many.high - many.low


def test_group_with_too_few_patients_is_hidden():
    predictions = toy_predictions(0, of_patient=10)  # 20 patients
    site = np.where(np.arange(200) < 10 * (FEWEST - 1), "small", "large")
    (column,) = by_subgroup(pd.DataFrame({"site": site}), predictions, OperatingPoint(), EVALUATION)
    assert [group.value for group in column.groups] == ["large"] and column.hidden == 1
    assert "sensitivity" not in column.groups[0].test  # no operating point
