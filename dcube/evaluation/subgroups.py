"""Metrics for subgroups of patients, e.g. by age band, sex, scanner or site."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from dcube.artifacts.schemas.decision import Estimate, OperatingPoint
from dcube.artifacts.schemas.metrics import Metrics, Subgroup, SubgroupColumn
from dcube.config.schema import Evaluation
from dcube.evaluation.estimates import estimates
from dcube.evaluation.metrics import HEADLINES, MetricValues, measure
from dcube.evaluation.operating_point import LABELS, rates
from dcube.evaluation.predictions import Predictions

FEWEST = 10  # patients (or images, if patients are unknown) that a group needs to be shown
SHORT = ("auroc", "sensitivity", "specificity")  # rates of `in_short`


def by_subgroup(
    table: pd.DataFrame, predictions: Predictions, point: OperatingPoint, evaluation: Evaluation
) -> list[SubgroupColumn]:
    """Measure headline metrics and rates at the operating point, with intervals over the patients of each subgroup.

    Args:
        table: one column for each of `data.subgroups`, one row for each prediction.
    """
    return [_of_column(str(name), table[name].to_numpy(), predictions, point, evaluation) for name in table]


def _of_column(
    name: str, values: np.ndarray, predictions: Predictions, point: OperatingPoint, evaluation: Evaluation
) -> SubgroupColumn:
    groups, hidden = [], 0
    for value in sorted(set(values)):
        part = Predictions(predictions.table[values == value])
        owners = int(part.groups.max()) + 1
        if owners < FEWEST:
            hidden += 1
            continue
        found = estimates(partial(_measured, part, point, evaluation.calibration_bins), part.groups, evaluation)
        patients = owners if predictions.knows_patients else None
        groups.append(Subgroup(value=value, images=len(part.labels), patients=patients, test=found))
    return SubgroupColumn(name=name, groups=groups, hidden=hidden)


def _measured(part: Predictions, point: OperatingPoint, bins: int, weights: np.ndarray) -> MetricValues:
    found = measure(part.labels, part.probabilities, part.classes, bins, weights)
    headlines = {metric.name: found[metric.name] for metric in HEADLINES}
    return headlines | (rates(point, part, weights) if point.rule.of_class is not None else {})


def subgroup_columns(metrics: Metrics) -> tuple[str, ...]:
    """Return the column titles of `rows_of`."""
    at_point = LABELS.values() if metrics.operating_point.rule.of_class is not None else ()
    owners = "patients" if metrics.test_patients is None else metrics.resampled
    return ("group", "images", owners, *(metric.title for metric in HEADLINES), *at_point)


def rows_of(metrics: Metrics) -> Iterator[tuple[str, ...]]:
    """Yield one row for each subgroup that is shown: its name, counts, and metrics with intervals."""
    for column in metrics.subgroups:
        for group in column.groups:
            patients = "unknown" if group.patients is None else str(group.patients)
            yield f"{column.name}: {group.value}", str(group.images), patients, *map(_cell, group.test.values())


def _cell(estimate: Estimate) -> str:
    return "–" if np.isnan(estimate.value) else str(estimate)


def notes_of(metrics: Metrics) -> str:
    """Return the notes for the table of subgroups; empty if there are no subgroups."""
    if not metrics.subgroups:
        return ""
    hidden = [f"{column.hidden} of {column.name}" for column in metrics.subgroups if column.hidden]
    of_class = metrics.operating_point.rule.of_class
    at_point = f"{', '.join(LABELS.values())}: of {of_class}, at the operating point. " if of_class is not None else ""
    fewest = f"Groups of fewer than {FEWEST} {metrics.resampled} are hidden"
    return (
        f"{at_point}Intervals: {metrics.confidence:.0%}, over {metrics.resampled} of the group. “–”: the group lacks a "
        f"class. {fewest}: {', '.join(hidden) or 'none here'}. Differences between groups are not tested."
    )


def in_short(metrics: Metrics) -> Iterator[str]:
    """Yield one sentence for each column of subgroups."""
    for column in metrics.subgroups:
        groups = (f"{group.value} {_short(group)}" for group in column.groups)
        hidden = f"hidden, with fewer than {FEWEST} {metrics.resampled}: {column.hidden}" if column.hidden else ""
        yield f"{metrics.model} by {column.name}: {'; '.join(filter(None, (*groups, hidden)))}."


def _short(group: Subgroup) -> str:
    names = {metric.name: metric.label for metric in HEADLINES} | LABELS
    shown = ", ".join(f"{names[name]} {_cell(group.test[name])}" for name in SHORT if name in group.test)
    return f"{shown} ({group.images} images)"
