"""A study's table: its lines, the significantly best values, and comparisons of the reference with all other rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dcube.artifacts.candidates import BASELINE, SUB_FEATURES
from dcube.classifier.method import method
from dcube.config.schema import Params
from dcube.evaluation.comparison import Difference, holm
from dcube.evaluation.split_notice import split_notice
from dcube.studies.results import Result
from dcube.studies.runner import StudyResults
from dcube.studies.statistics import (
    RepeatStatistics,
    differences,
    fold_intervals,
    repeat_statistics,
    resolving,
    significantly_best,
)
from dcube.studies.study import PAPER_METRICS, Settings, Study
from dcube.studies.trials import Variant, make_trial

FROM_SCRATCH = "†"


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        intervals: metric → interval over patients; only for cross-validation.
        best: metrics in which the line is significantly better than all others at the same value of the sweep.
        from_scratch: whether a published method was trained without its authors' initial weights.
    """

    variant: Variant
    metrics: dict[str, RepeatStatistics]
    intervals: dict[str, tuple[float, float]]
    best: set[str]
    from_scratch: bool
    chosen: Settings
    paper: dict[str, float]
    results: Sequence[Result]

    @property
    def title(self) -> str:
        """Group and name of the row, with a mark if it was trained from scratch."""
        row = self.variant.row
        name = row.name + (FROM_SCRATCH if self.from_scratch else "")
        return f"{row.group}: {name}" if row.group else name


@dataclass(frozen=True)
class RowComparison:
    """The reference minus another line. `p` is corrected for all tests of the table, and `differences` are not."""

    other: Variant
    differences: dict[str, Difference]
    p: dict[str, float]


@dataclass(frozen=True)
class StudyTable:
    name: str
    data: str
    study: Study
    metrics: list[str]
    lines: list[Line]
    comparisons: list[RowComparison]
    failures: dict[str, str]
    definition: dict[str, str] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """The study's note on what it changes for this data set; empty if there is none."""
        return self.study.data[self.data].note if self.data in self.study.data else ""

    @property
    def split_notice(self) -> str:
        """Warning that must be shown beside metrics on this test split; empty if there is none."""
        tested = (result.evaluation for line in self.lines for result in line.results)
        return next((split_notice(metrics) for metrics in tested if metrics), "")


def make_table(name: str, study: Study, base: Params, computed: StudyResults) -> StudyTable:
    """Build the table of the computed results."""
    metrics = _metrics(study, computed)
    best = _best(base, computed, metrics)
    lines = [
        Line(
            variant,
            {metric: repeat_statistics(results, metric) for metric in metrics},
            fold_intervals(results, metrics, base.evaluation),
            best.get(variant, set()),
            _from_scratch(make_trial(study, base, variant, 0).params, variant),
            computed.chosen[variant],
            dict(zip(PAPER_METRICS, variant.row.paper.get(base.data.name, []), strict=False)),
            results,
        )
        for variant, results in computed.by_variant.items()
    ]
    generations = [result.generation for results in computed.by_variant.values() for result in results]
    definition = {key: str(value) for key, value in generations[0].definition} if generations and generations[0] else {}
    compared = _comparisons(study, base, computed, metrics)
    return StudyTable(name, base.data.name, study, metrics, lines, compared, computed.failures, definition)


def _metrics(study: Study, computed: StudyResults) -> list[str]:
    """Return the study's metrics, and for generated images also those of each class."""
    if study.report == "files":
        return []
    if study.report == "evaluation" or not computed.by_variant:
        return study.metrics
    known = next(iter(computed.by_variant.values()))[0].metrics
    return [name for metric in study.metrics for name in known if name == metric or name.startswith(f"{metric}, ")]


def _best(base: Params, computed: StudyResults, metrics: list[str]) -> dict[Variant, set[str]]:
    best: dict[Variant, set[str]] = {}
    for value in {variant.value: None for variant in computed.by_variant}:
        here = [variant for variant in computed.by_variant if variant.value == value]
        lines = [computed.by_variant[variant] for variant in here]
        for metric, number in significantly_best(lines, metrics, base.evaluation).items():
            best.setdefault(here[number], set()).add(metric)
    return best


def _comparisons(study: Study, base: Params, computed: StudyResults, metrics: list[str]) -> list[RowComparison]:
    """Compare the reference with all other rows at the same value of the sweep."""
    if study.reference is None:
        return []
    references = {variant.value: variant for variant in computed.by_variant if variant.row.name == study.reference}
    pairs = [
        (references[variant.value], variant)
        for variant in computed.by_variant
        if variant.value in references and variant.row.name != study.reference
    ]
    evaluation = resolving(base.evaluation, len(pairs) * len(metrics))
    made = [
        differences(computed.by_variant[one], computed.by_variant[other], metrics, evaluation) for one, other in pairs
    ]
    if not made:
        return []
    corrected = holm(np.array([[one[metric].p for metric in metrics] for one in made]))
    return [
        RowComparison(other, one, dict(zip(metrics, row.tolist(), strict=True)))
        for (_, other), one, row in zip(pairs, made, corrected, strict=True)
    ]


def _from_scratch(params: Params, variant: Variant) -> bool:
    if variant.row.model == BASELINE:
        return params.baseline.weights == "none" and method(params.baseline.method).family != "Control"
    needs_weights = variant.row.model == SUB_FEATURES or params.classifier.use_sub_features
    return needs_weights and params.classifier.sub_features.weights == "none"
