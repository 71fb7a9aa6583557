"""Statistics of a study: spread of metrics over repeats, and significance of differences between rows.

A difference of two rows is tested by a bootstrap over both sources of chance: the test images (whole patients, if these
are known) and the repeats. Repeats share their seeds, so the same repeats are drawn on both sides. With few repeats a
bootstrap underestimates their spread. A paired t-test over the repeats is therefore added, and the larger p counts. In
cross-validation every fold is used, with its own images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import t as student
from scipy.stats import ttest_rel

from dcube.config.schema import Evaluation
from dcube.engine.seeds import numpy_generator
from dcube.errors import DcubeError
from dcube.evaluation.bootstrap import interval, resample_weights, two_sided_p
from dcube.evaluation.comparison import Difference, holm
from dcube.evaluation.conclusions import SIGNIFICANT
from dcube.evaluation.metrics import measure, metric_of
from dcube.evaluation.predictions import Predictions
from dcube.studies.results import Result

RESAMPLES_A_TEST = 100


@dataclass(frozen=True)
class RepeatStatistics:
    """Mean and sample standard deviation (n - 1; NaN for one repeat) of a metric."""

    mean: float
    deviation: float


def repeat_statistics(results: Sequence[Result], metric: str) -> RepeatStatistics:
    values = np.array([result.metrics.get(metric, np.nan) for result in results])
    return RepeatStatistics(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan"))


def resolving(evaluation: Evaluation, tests: int) -> Evaluation:
    """Return settings with enough resamples for a correction for `tests` tests: the smallest corrected p is 0.02.

    The smallest p-value is 2 / resamples, so with too few resamples no difference could be significant.
    """
    samples = max(evaluation.bootstrap_samples, RESAMPLES_A_TEST * tests)
    return evaluation.model_copy(update={"bootstrap_samples": samples})


def differences(
    first: Sequence[Result], second: Sequence[Result], metrics: Sequence[str], evaluation: Evaluation
) -> dict[str, Difference]:
    """Return metric → difference of first minus second, with p-values that are not corrected for other tests.

    Raises:
        DcubeError: if the two were not tested on the same images.
    """
    if all(result.predictions is not None for result in (*first, *second)):
        return _resampled(first, second, metrics, evaluation)
    return {metric: _over_repeats(first, second, metric, evaluation.confidence) for metric in metrics}


def significantly_best(
    lines: Sequence[Sequence[Result]], metrics: Sequence[str], evaluation: Evaluation
) -> dict[str, int]:
    """Return metric → index of the line that is significantly better than all others, after Holm's correction.

    Metrics without such a line are missing.
    """
    if len(lines) < 2:
        return {}
    best = {metric: _best(lines, metric) for metric in metrics}
    tests = [(metric, other) for metric in metrics for other in range(len(lines)) if other != best[metric]]
    evaluation = resolving(evaluation, len(tests))
    made = {
        (mine, other): differences(lines[mine], lines[other], metrics, evaluation)
        for mine, other in {(best[metric], other) for metric, other in tests}
    }
    p_values = holm(np.array([made[best[metric], other][metric].p for metric, other in tests]))
    worst = {
        metric: max(p for (name, _), p in zip(tests, p_values, strict=True) if name == metric) for metric in metrics
    }
    return {metric: best[metric] for metric in metrics if worst[metric] < SIGNIFICANT}


def _best(lines: Sequence[Sequence[Result]], metric: str) -> int:
    means = np.array([repeat_statistics(results, metric).mean for results in lines])
    means = np.where(np.isnan(means), -np.inf, means if metric_of(metric).higher_is_better else -means)
    return int(means.argmax())


def _resampled(
    first: Sequence[Result], second: Sequence[Result], metrics: Sequence[str], evaluation: Evaluation
) -> dict[str, Difference]:
    tested = [[_predictions(result).fingerprint for result in side] for side in (first, second)]
    if tested[0] != tested[1]:
        raise DcubeError("the rows were not tested on the same images: run the study again from one state of the data")
    values = [_of_resamples(side, metrics, evaluation) for side in (first, second)]
    result = {}
    for name in metrics:
        resampled = values[0][name] - values[1][name]
        ours, theirs = (np.array([_metric(one, name, evaluation) for one in side]) for side in (first, second))
        low, high = interval(resampled, evaluation.confidence)
        p = max(two_sided_p(resampled), _paired_p(ours, theirs) if len(ours) > 1 else 0.0)
        result[name] = Difference(float(ours.mean()), float(theirs.mean()), float((ours - theirs).mean()), low, high, p)
    return result


def fold_intervals(
    results: Sequence[Result], metrics: Sequence[str], evaluation: Evaluation
) -> dict[str, tuple[float, float]]:
    """Return metric → interval over patients of its mean over folds; empty if this is no cross-validation."""
    if not _cross_validated(results):
        return {}
    values = _of_resamples(results, metrics, evaluation)
    return {name: interval(values[name], evaluation.confidence) for name in metrics}


def _cross_validated(results: Sequence[Result]) -> bool:
    """Return whether each repeat was tested on different images."""
    return len(results) > 1 and len({one.predictions and one.predictions.fingerprint for one in results}) == len(
        results
    )


def _metric(result: Result, name: str, evaluation: Evaluation) -> float:
    one = _predictions(result)
    return float(measure(one.labels, one.probabilities, one.classes, evaluation.calibration_bins)[name][0])


def _of_resamples(repeats: Sequence[Result], metrics: Sequence[str], evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Return metric → means (samples,) over repeats drawn with replacement, on patients drawn with replacement.

    Both sides of a comparison get the same patients and repeats. In cross-validation each fold is used exactly once.
    """
    samples, seed, folds = evaluation.bootstrap_samples, evaluation.seed, _cross_validated(repeats)
    own = [evaluation.model_copy(update={"seed": seed + number * folds}) for number in range(len(repeats))]
    of_repeats = [_on_resampled_patients(one, tuple(metrics), it) for one, it in zip(repeats, own, strict=True)]
    stacked = {name: np.stack([one[name] for one in of_repeats]) for name in metrics}
    if folds:
        return {name: values.mean(axis=0) for name, values in stacked.items()}
    drawn = numpy_generator(seed, "repeats").integers(len(repeats), size=(len(repeats), samples))
    return {name: np.take_along_axis(values, drawn, axis=0).mean(axis=0) for name, values in stacked.items()}


@lru_cache(maxsize=512)  # a row is compared with many others
def _on_resampled_patients(result: Result, metrics: tuple[str, ...], evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Return metric → values (samples,) of one result on resampled patients."""
    one, bins = _predictions(result), evaluation.calibration_bins
    chunks = [
        measure(one.labels, one.probabilities, one.classes, bins, weights)
        for weights in resample_weights(one.groups, evaluation.bootstrap_samples, evaluation.seed)
    ]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in metrics}


def _predictions(result: Result) -> Predictions:
    assert result.predictions is not None
    return result.predictions


def _over_repeats(first: Sequence[Result], second: Sequence[Result], metric: str, confidence: float) -> Difference:
    """Compare results without predictions by a paired t-test over repeats; p is 1 for one repeat or equal gaps."""
    ours, theirs = (np.array([one.metrics.get(metric, np.nan) for one in side]) for side in (first, second))
    gap = ours - theirs
    value, p, half = float(gap.mean()), 1.0, float("nan")
    if len(gap) > 1 and gap.std() > 0:
        p = _paired_p(ours, theirs)
        half = float(student.ppf((1 + confidence) / 2, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap)))
    return Difference(float(ours.mean()), float(theirs.mean()), value, value - half, value + half, p)


def _paired_p(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return p of the paired t-test over repeats. It cannot test equal gaps: p is then 1 if they are 0, else 0."""
    gap = ours - theirs
    if np.ptp(gap) == 0:
        return float(gap[0] == 0)
    return float(ttest_rel(ours, theirs).pvalue)
