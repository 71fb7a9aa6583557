"""What can honestly be said about evaluated models: differences on the same images, corrected p-values, sentences."""

import json
from pathlib import Path

import numpy as np

from dcube.config.schema import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.comparison import COMPARED, Comparison, compare, holm
from dcube.evaluation.metrics import spelled
from dcube.evaluation.predictions import Predictions

MAIN = "dcube"
MCNEMAR = "McNemar"
TESTS = (*COMPARED, MCNEMAR)
SIGNIFICANT = 0.05


def evaluations(folder: Path) -> dict[str, dict]:
    """Name → content of `metrics.json`, the main model first."""
    files = sorted(folder.glob("*/metrics.json"), key=lambda file: (file.parent.name != MAIN, file.parent.name))
    if not files:
        raise DcubeError(f"nothing has been evaluated in {folder}: run `dvc repro`")
    return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}


def results_title(result: dict) -> str:
    """What the figures of a `metrics.json` rest on."""
    size = f"{result['test_images']} images"
    if result["test_patients"]:
        size += f" of {result['test_patients']} patients"
    return f"Test split ({size}), {result['confidence']:.0%} intervals over {result['resampled']}"


def comparisons(tables: dict[str, Predictions], made: dict) -> dict[str, Comparison]:
    """The main model against every other, by name; `made` is its `metrics.json`."""
    evaluation = Evaluation(bootstrap_samples=made["resamples"], confidence=made["confidence"])
    return {name: compare(tables[MAIN], table, evaluation) for name, table in tables.items() if name != MAIN}


def corrected(made: dict[str, Comparison]) -> dict[str, dict[str, float]]:
    """Model → test (`TESTS`) → p-value, corrected for all of them together."""
    p_values = holm(np.array([[*(it.differences[name].p for name in COMPARED), it.mcnemar_p] for it in made.values()]))
    return {other: dict(zip(TESTS, row, strict=True)) for other, row in zip(made, p_values.tolist(), strict=True)}


def conclusions(made: dict[str, Comparison], p_values: dict[str, dict[str, float]]) -> list[str]:
    """What can be said of the main model, a sentence each."""
    shown = [
        f"{MAIN} is {'better' if difference.value > 0 else 'worse'} than {other} in {spelled(name)}."
        for other, comparison in made.items()
        for name, difference in comparison.differences.items()
        if p_values[other][name] < SIGNIFICANT
    ]
    return shown or [f"No difference between {MAIN} and another model is shown (p < {SIGNIFICANT})."]


def explanation(made: dict[str, Comparison]) -> list[str]:
    """How the table of differences is to be read, a sentence each."""
    return [
        f"{MCNEMAR}: images that only {MAIN} : only the other model predicts rightly.",
        f"p-values are corrected for the {len(made) * len(TESTS)} tests of this table (Holm), intervals are not.",
    ]


def p_in_words(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
