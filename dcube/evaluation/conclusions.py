"""What can honestly be said about evaluated models: differences on the same images, corrected p-values, sentences."""

from pathlib import Path

import numpy as np

from dcube.artifacts.layout import METRICS_FILE
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.schema import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.comparison import ModelComparison, compare, holm
from dcube.evaluation.metrics import COMPARED, title_of
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.split_notice import split_notice
from dcube.evaluation.summary import tested_on

MAIN = "dcube"
MCNEMAR = "McNemar"
TESTS = (*(metric.name for metric in COMPARED), MCNEMAR)  # of every comparison, in this order
TEST_TITLES = (*(metric.title for metric in COMPARED), MCNEMAR)
SIGNIFICANT = 0.05


def evaluations(folder: Path) -> dict[str, Metrics]:
    """Name → its metrics, the main model first."""
    files = sorted(folder.glob(f"*/{METRICS_FILE}"), key=lambda file: (file.parent.name != MAIN, file.parent.name))
    if not files:
        raise DcubeError(f"nothing has been evaluated in {folder}: run `dvc repro`")
    return {file.parent.name: Metrics.load(file) for file in files}


def results_title(metrics: Metrics) -> str:
    """What the metrics rest on."""
    return f"Test split ({tested_on(metrics)}), {metrics.confidence:.0%} intervals over {metrics.resampled}"


def comparisons(tables: dict[str, Predictions], metrics: Metrics) -> dict[str, ModelComparison]:
    """The main model, whose `metrics` these are, against every other, by name."""
    evaluation = Evaluation(
        bootstrap_samples=metrics.resamples, confidence=metrics.confidence, calibration_bins=metrics.calibration_bins
    )
    return {name: compare(tables[MAIN], table, evaluation) for name, table in tables.items() if name != MAIN}


def corrected(made: dict[str, ModelComparison]) -> dict[str, dict[str, float]]:
    """Model → test (`TESTS`) → p-value, corrected for all of them together."""
    rows = [[*(difference.p for difference in it.differences.values()), it.mcnemar_p] for it in made.values()]
    p_values = holm(np.array(rows))
    return {other: dict(zip(TESTS, row, strict=True)) for other, row in zip(made, p_values.tolist(), strict=True)}


def conclusions(made: dict[str, ModelComparison], p_values: dict[str, dict[str, float]], metrics: Metrics) -> list[str]:
    """What can be said of the main model, whose `metrics` these are, a sentence each.

    After a split by image no model is called better: which one remembers patients best is unknown.
    """
    notice = split_notice(metrics)
    above, below, where = ("higher", "lower", " within this split") if notice else ("better", "worse", "")
    shown = [
        f"{MAIN} is {above if difference.value > 0 else below} than {other} in {title_of(name)}{where}."
        for other, comparison in made.items()
        for name, difference in comparison.differences.items()
        if p_values[other][name] < SIGNIFICANT
    ]
    shown = shown or [f"No difference between {MAIN} and another model is shown{where} (p < {SIGNIFICANT})."]
    return [*shown, "Comparisons hold within this split only."] if notice else shown


def explanation(made: dict[str, ModelComparison]) -> list[str]:
    """How the table of differences is to be read, a sentence each."""
    return [
        f"{MCNEMAR}: images that only {MAIN} : only the other model predicts correctly.",
        f"p-values are corrected for the {len(made) * len(TESTS)} tests of this table (Holm), intervals are not.",
    ]


def p_in_words(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
