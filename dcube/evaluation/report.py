"""The tables that end a run: every model's figures with intervals, and what can honestly be said about them."""

import json
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dcube.config import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.comparison import COMPARED, Comparison, Difference, compare, holm
from dcube.evaluation.metrics import HEADLINES, spelled
from dcube.evaluation.model_card import NO_ERROR, PHANTOM, always_the_same, kind_in_words
from dcube.evaluation.predictions import Predictions
from dcube.stages.paths import EVALUATION

MAIN, BASELINE = "dcube", "baseline"
MCNEMAR = "McNemar"
TESTS = (*COMPARED, MCNEMAR)
SIGNIFICANT = 0.05


def print_results(folder: Path = EVALUATION) -> None:
    """Print all evaluations below `folder`, readable from 80 columns on."""
    results = evaluations(folder)
    tables = {name: Predictions.load(folder / name / "predictions.csv") for name in results}
    console = Console(highlight=False)
    console.print(results_table(results))
    if BASELINE in results:
        console.print(f"{BASELINE}: {kind_in_words(results[BASELINE]['kind']).removeprefix('Baseline: ')}")
    console.print(always_the_same(next(iter(tables.values())).table["label"]))
    if any(result["test"]["accuracy"] == 1 for result in results.values()):
        console.print(f"Without an error on the test, {NO_ERROR}.")
    if MAIN in results and len(results) > 1:
        _print_comparisons(console, comparisons(tables, results[MAIN]))
    console.print(f"\nPictures and model cards: {folder}/*/")
    console.print("All of it on one page, with images: dcube report")
    console.print("All runs, curves and registered models: make ui")
    if any(result["is_phantom"] for result in results.values()):
        console.print(f"[bold]{PHANTOM}[/]")


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


def results_table(results: dict[str, dict]) -> Table:
    table = _table(results_title(next(iter(results.values()))), "model", *map(spelled, HEADLINES))
    for model, result in results.items():
        table.add_row(model, *(_figure(result, name) for name in HEADLINES))
    return table


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


def _print_comparisons(console: Console, made: dict[str, Comparison]) -> None:
    p_values = corrected(made)
    table = _table(f"{MAIN} minus each other model, on the same images", f"{MAIN} minus", *map(spelled, TESTS))
    for other, comparison in made.items():
        cells = [_difference(comparison.differences[name]) for name in COMPARED]
        cells.append(f"{comparison.only_first} : {comparison.only_second}\n")
        pairs = zip(cells, p_values[other].values(), strict=True)
        table.add_row(other, *(f"{cell}\n{p_in_words(p)}" for cell, p in pairs))
    console.print(table)
    console.print("\n".join((*explanation(made), *conclusions(made, p_values))))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name.replace(" ", "\n"), justify="center", no_wrap=True)
    return table


def _figure(result: dict, name: str) -> str:
    return "{value:.3f}\n[dim]{low:.2f}–{high:.2f}[/]".format(value=result["test"][name], **result["interval"][name])


def _difference(value: Difference) -> str:
    return f"{value.value:+.3f}\n[dim]{value.low:+.2f} … {value.high:+.2f}[/]"


def p_in_words(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
