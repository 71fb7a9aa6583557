"""All metrics of one model on one test split, with intervals."""

import math

import numpy as np
import pandas as pd

from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.artifacts.schemas.decision import OperatingPoint, PredictionSets
from dcube.artifacts.schemas.metrics import PARTLY_KNOWN, Interval, Metrics, Resampled
from dcube.config.schema import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.bootstrap import bootstrap, interval
from dcube.evaluation.metrics import MetricValues, measure, selective
from dcube.evaluation.operating_point import measured_on, rates
from dcube.evaluation.prediction_sets import set_rates, sets_measured_on
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.subgroups import by_subgroup

AT_POINT, OF_SETS = "operating_point/", "prediction_sets/"
ROUNDING = 1e-9  # other machines may add numbers in another order


def evaluate_candidate(
    model: str,
    config: CandidateConfig,
    dataset: DatasetInfo,
    predictions: Predictions,
    evaluation: Evaluation,
    point: OperatingPoint | None = None,
    sets: PredictionSets | None = None,
    subgroups: pd.DataFrame | None = None,
) -> Metrics:
    """Measure a candidate on the test split.

    Args:
        model: name of the candidate.
        config: configuration of the candidate.
        dataset: the data set of the test.
        predictions: the candidate's predictions for the test images.
        point: the operating point to measure; None means that the most probable class decides.
        sets: the prediction sets to measure.
        subgroups: one column per kind of subgroup, one row for each prediction.
    """

    def metrics(weights: np.ndarray) -> MetricValues:
        return _measured(predictions, evaluation, weights)

    values = metrics(np.ones((1, len(predictions.labels))))
    resampled = bootstrap(metrics, predictions.groups, evaluation.bootstrap_samples, evaluation.seed)
    intervals = {name: interval(resampled[name], evaluation.confidence) for name in values}
    point = point or OperatingPoint()
    return Metrics(
        model=model,
        kind=config.kind,
        test={name: float(value[0]) for name, value in values.items()},
        interval={name: Interval(low=low, high=high) for name, (low, high) in intervals.items()},
        resampled=_resampled(dataset, predictions),
        resamples_without_a_class=int(np.isnan(resampled["auroc"]).sum()),
        test_images=len(predictions.labels),
        test_patients=int(predictions.groups.max()) + 1 if predictions.knows_patients else None,
        test_fingerprint=predictions.fingerprint,
        dataset=dataset.name,
        grouping=dataset.grouping,
        without_patient=dataset.without_patient,
        split_origin=dataset.split_origin,
        validation=config.validation,
        weights_sha256=config.weights_sha256,
        dataset_fingerprint=dataset.fingerprint,
        is_phantom=dataset.is_phantom,
        operating_point=measured_on(point, predictions, evaluation),
        prediction_sets=sets_measured_on(sets, predictions, evaluation) if sets else PredictionSets(),
        subgroups=[] if subgroups is None else by_subgroup(subgroups, predictions, point, evaluation),
        evaluation=evaluation,
        folds=dataset.folds if dataset.fold is None else None,
    )


def _resampled(dataset: DatasetInfo, predictions: Predictions) -> Resampled:
    if predictions.knows_patients:
        return dataset.owners
    return PARTLY_KNOWN if (predictions.table["patient"] != "").any() else "images"


def _measured(predictions: Predictions, evaluation: Evaluation, weights: np.ndarray) -> MetricValues:
    labels, probabilities = predictions.labels, predictions.probabilities
    own = measure(labels, probabilities, predictions.classes, evaluation.calibration_bins, weights)
    return own | selective(labels, probabilities, evaluation.abstain_below, weights)


def refuse_contradiction(metrics: Metrics, predictions: Predictions, where: str) -> None:
    """Compute the metrics again from the predictions and compare them.

    A metric that `metrics` lacks was added after that evaluation, and is not compared.

    Raises:
        DcubeError: if they differ from those in `metrics`; the message names the first difference.
    """
    once = np.ones((1, len(predictions.labels)))
    found = _measured(predictions, metrics.evaluation, once)
    said = dict(metrics.test)
    point = metrics.operating_point
    if point.rule.of_class is not None:
        said |= {f"{AT_POINT}{name}": estimate.value for name, estimate in point.test.items()}
        found |= {f"{AT_POINT}{name}": value for name, value in rates(point, predictions, once).items()}
    sets = metrics.prediction_sets
    if sets.calibrated_on:
        said |= {f"{OF_SETS}{name}": estimate.value for name, estimate in sets.test.items()}
        found |= {f"{OF_SETS}{name}": value for name, value in set_rates(sets, predictions, once).items()}
    again = {name: float(value[0]) for name, value in found.items()}
    problems = [
        f"{name} = {said[name]}, and predictions.csv gives {again.get(name)}"
        for name in sorted(said)
        if not _agree(said[name], again.get(name))
    ]
    if metrics.test_fingerprint != predictions.fingerprint:
        problems.append(f"test_fingerprint = {metrics.test_fingerprint}, and predictions.csv is about other images")
    if problems:
        raise DcubeError(f"{where}: metrics.json says {problems[0]}: evaluate that model again (`dvc repro evaluate`)")


def _agree(said: float, computed: float | None) -> bool:
    if computed is None:
        return False
    return math.isclose(said, computed, rel_tol=ROUNDING, abs_tol=ROUNDING) or (said != said and computed != computed)


def tested_on(metrics: Metrics) -> str:
    """Return the size of the test as text: images, and patients if known; of an ensemble, what predicted them."""
    of_owners = f" of {metrics.test_patients} {metrics.resampled}" if metrics.test_patients else ""
    by_fold = f", each by the one of {metrics.folds} models that never saw it" if metrics.folds else ""
    return f"{metrics.test_images} images{of_owners}{by_fold}"


def lookalikes_in_words(metrics: Metrics) -> str:
    """Return a warning if images of an external test look like images of the model's data set, else empty text."""
    if not metrics.lookalikes:
        return ""
    return (
        f"{metrics.lookalikes} of {metrics.test_images} images look like copies of images that the model was made with"
    )


def interval_text(metrics: Metrics, name: str, digits: int = 3) -> str:
    interval = metrics.interval[name]
    return f"{interval.low:.{digits}f}–{interval.high:.{digits}f}"
