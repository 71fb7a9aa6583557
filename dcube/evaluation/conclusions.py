"""Conclusions about evaluated models: differences on the same images, corrected p-values, and sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dcube.artifacts.candidates import CONTROLS, DCUBE, UNTRAINED
from dcube.artifacts.layout import METRICS_FILE
from dcube.artifacts.schemas.metrics import Metrics
from dcube.errors import DcubeError
from dcube.evaluation.comparison import Difference, ModelComparison, compare, holm
from dcube.evaluation.metrics import COMPARED, metric_of, title_of
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.split_notice import split_notice
from dcube.evaluation.summary import tested_on

ORDER = (DCUBE, *CONTROLS)
MCNEMAR = "McNemar"
TESTS = (*(metric.name for metric in COMPARED), MCNEMAR)  # the tests of a comparison, in this order
TEST_TITLES = (*(metric.title for metric in COMPARED), MCNEMAR)
SIGNIFICANT = 0.05
WIN, TIE, LOSS = "win", "tie", "loss"
WORDS = {WIN: "better in", TIE: "no difference shown in", LOSS: "worse in"}
WORDS_BY_IMAGE = {**WORDS, WIN: "higher in", LOSS: "lower in"}


def evaluations(folder: Path) -> dict[str, Metrics]:
    """Load the metrics of all evaluated models by name: the main model, the controls, then the others.

    Raises:
        DcubeError: if nothing has been evaluated.
    """
    files = {file.parent.name: file for file in sorted(folder.glob(f"*/{METRICS_FILE}"))}
    if not files:
        raise DcubeError(f"nothing has been evaluated in {folder}: run `dvc repro`")
    names = [*(name for name in ORDER if name in files), *(name for name in files if name not in ORDER)]
    return {name: Metrics.load(files[name]) for name in names}


def results_title(metrics: Metrics) -> str:
    """Return the title of a table of results: images, confidence, and what was resampled."""
    return f"Test split ({tested_on(metrics)}), {metrics.confidence:.0%} intervals over {metrics.resampled}"


def comparisons(tables: dict[str, Predictions], metrics: Metrics) -> dict[str, ModelComparison]:
    """Compare the main model with every other model, by name; `metrics` are those of the main model."""
    return {name: compare(tables[DCUBE], table, metrics.evaluation) for name, table in tables.items() if name != DCUBE}


def holm_corrected(made: dict[str, ModelComparison]) -> dict[str, dict[str, float]]:
    """Return model → test (`TESTS`) → p-value, corrected for the number of all these tests."""
    rows = [[*(difference.p for difference in it.differences.values()), it.mcnemar_p] for it in made.values()]
    p_values = holm(np.array(rows))
    return {other: dict(zip(TESTS, row, strict=True)) for other, row in zip(made, p_values.tolist(), strict=True)}


def conclusions(made: dict[str, ModelComparison], p_values: dict[str, dict[str, float]], metrics: Metrics) -> list[str]:
    """Return one sentence per other model about where the main model wins, ties and loses.

    After a split by image, no model is called better and no training helpful or harmful, because a model may only
    remember the patients best.

    Args:
        metrics: the metrics of the main model.
    """
    notice = split_notice(metrics)
    words = WORDS_BY_IMAGE if notice else WORDS
    verdicts = []
    for other, comparison in made.items():
        outcomes = {
            name: _outcome(difference, name, p_values[other][name])
            for name, difference in comparison.differences.items()
        }
        by_outcome = {it: [title_of(name) for name, outcome in outcomes.items() if outcome == it] for it in words}
        verdicts.append(_verdict(other, by_outcome, words))
        differs = by_outcome[WIN] or by_outcome[LOSS]
        if other == UNTRAINED and not (notice and differs):
            verdicts[-1] += f" {_worth_of_training(by_outcome)}"
    return [*verdicts, "Comparisons hold within this split only."] if notice else verdicts


def _outcome(difference: Difference, name: str, p: float) -> str:
    if p >= SIGNIFICANT:
        return TIE
    return WIN if (difference.value > 0) == metric_of(name).higher_is_better else LOSS


def _verdict(other: str, by_outcome: dict[str, list[str]], words: dict[str, str]) -> str:
    said = "; ".join(f"{words[it]} {join_words(names)}" for it, names in by_outcome.items() if names)
    return f"{DCUBE} against {other}: {said}."


def _worth_of_training(by_outcome: dict[str, list[str]]) -> str:
    if by_outcome[WIN] and by_outcome[LOSS]:
        return "Training the diffusion model helped in some metrics and harmed in others."
    if by_outcome[WIN]:
        return "Training the diffusion model helped."
    if by_outcome[LOSS]:
        return "Training the diffusion model did harm."
    return "It is not shown that training the diffusion model helped."


def join_words(words: Sequence[str]) -> str:
    """Join words to a text such as `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def comparison_notes(
    made: dict[str, ModelComparison], first: str = DCUBE, second: str = "the other model"
) -> list[str]:
    """Return sentences that explain the table of differences."""
    return [
        f"{MCNEMAR}: images that only {first} : only {second} predicts correctly.",
        f"p-values are corrected for the {len(made) * len(TESTS)} tests of this table (Holm), intervals are not. "
        f"A difference is shown where p < {SIGNIFICANT}.",
    ]


class TestedDifference(NamedTuple):
    """One test of a comparison as text: compared value, interval (empty for McNemar) and p-value."""

    value: str
    interval: str
    p: str


def tested_differences(comparison: ModelComparison, p_values: Mapping[str, float]) -> list[TestedDifference]:
    """Return a row of the table of differences: one entry per test, in the order of `TESTS`."""
    values = [(f"{it.value:+.3f}", f"{it.low:+.2f} … {it.high:+.2f}") for it in comparison.differences.values()]
    values.append((f"{comparison.only_first} : {comparison.only_second}", ""))
    return [TestedDifference(*value, p_in_words(p)) for value, p in zip(values, p_values.values(), strict=True)]


def p_in_words(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
