"""A study's table: its lines, what is best significantly, and how its reference compares with every other row."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dcube.classifier.methods.catalogue import method
from dcube.config.schema import Params
from dcube.evaluation.comparison import Difference, holm
from dcube.studies.cells import Place, cell
from dcube.studies.results import Result
from dcube.studies.running import Outcome
from dcube.studies.statistics import MeanAndDeviation, differences, mean_and_deviation, resolving, significantly_best
from dcube.studies.study import Settings, Study

FROM_SCRATCH = "†"


@dataclass(frozen=True)
class Line:
    """Attributes:
    best: metrics in which it is better than every other line at its value of the axis, significantly.
    from_scratch: a published method that was trained without the weights that its authors start from.
    """

    place: Place
    metrics: dict[str, MeanAndDeviation]
    best: set[str]
    from_scratch: bool
    chosen: Settings
    paper: dict[str, float]
    results: Sequence[Result]

    @property
    def title(self) -> str:
        """The row's group and name, marked where it was trained from scratch."""
        row = self.place.row
        name = row.name + (FROM_SCRATCH if self.from_scratch else "")
        return f"{row.group}: {name}" if row.group else name


@dataclass(frozen=True)
class Compared:
    """The reference minus one other line; `p` is corrected for all tests of the table, the differences' own are not."""

    other: Place
    differences: dict[str, Difference]
    p: dict[str, float]


@dataclass(frozen=True)
class StudyTable:
    name: str
    data: str
    study: Study
    metrics: list[str]
    lines: list[Line]
    comparisons: list[Compared]
    failures: dict[str, str]
    definition: dict[str, str] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What the study changes for this data set, in words."""
        return self.study.data[self.data].note if self.data in self.study.data else ""


def make_table(name: str, study: Study, base: Params, outcome: Outcome) -> StudyTable:
    """The table of what has been computed."""
    metrics = _metrics(study, outcome)
    best = _best(study, base, outcome, metrics)
    lines = [
        Line(
            place,
            {metric: mean_and_deviation(results, metric) for metric in metrics},
            best.get(place, set()),
            _from_scratch(cell(study, base, place, 0).params, place),
            outcome.chosen[place],
            dict(zip(study.metrics, place.row.paper.get(base.data.name, []), strict=False)),
            results,
        )
        for place, results in outcome.results.items()
    ]
    generations = [result.generation for results in outcome.results.values() for result in results]
    definition = {key: str(value) for key, value in generations[0].definition} if generations and generations[0] else {}
    compared = _comparisons(study, base, outcome, metrics)
    return StudyTable(name, base.data.name, study, metrics, lines, compared, outcome.failures, definition)


def _metrics(study: Study, outcome: Outcome) -> list[str]:
    """The study's, and where images of every class are measured, those class by class."""
    if study.report == "files":
        return []
    if study.report == "evaluation" or not outcome.results:
        return study.metrics
    known = next(iter(outcome.results.values()))[0].metrics
    return [name for metric in study.metrics for name in known if name == metric or name.startswith(f"{metric}, ")]


def _best(study: Study, base: Params, outcome: Outcome, metrics: list[str]) -> dict[Place, set[str]]:
    best: dict[Place, set[str]] = {}
    for value in {place.value: None for place in outcome.results}:
        here = [place for place in outcome.results if place.value == value]
        lines = [outcome.results[place] for place in here]
        for metric, number in significantly_best(lines, metrics, base.evaluation).items():
            best.setdefault(here[number], set()).add(metric)
    return best


def _comparisons(study: Study, base: Params, outcome: Outcome, metrics: list[str]) -> list[Compared]:
    """The reference against every other row at the same value of the axis."""
    if study.reference is None:
        return []
    references = {place.value: place for place in outcome.results if place.row.name == study.reference}
    pairs = [
        (references[place.value], place)
        for place in outcome.results
        if place.value in references and place.row.name != study.reference
    ]
    evaluation = resolving(base.evaluation, len(pairs) * len(metrics))
    made = [differences(outcome.results[one], outcome.results[other], metrics, evaluation) for one, other in pairs]
    if not made:
        return []
    corrected = holm(np.array([[one[metric].p for metric in metrics] for one in made]))
    return [
        Compared(other, one, dict(zip(metrics, row.tolist(), strict=True)))
        for (_, other), one, row in zip(pairs, made, corrected, strict=True)
    ]


def _from_scratch(params: Params, place: Place) -> bool:
    if place.row.model == "baseline":
        return params.baseline.weights == "none" and method(params.baseline.method).family != "Control"
    needs_weights = place.row.model == "sub_features" or params.classifier.use_sub_features
    return needs_weights and params.classifier.sub_features.weights == "none"
