"""The tables that end a run: every model's metrics with intervals, and what can honestly be said about them."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dcube.artifacts.layout import EVALUATION, PREDICTIONS
from dcube.artifacts.schemas.metrics import Metrics
from dcube.evaluation.comparison import Difference, ModelComparison
from dcube.evaluation.conclusions import (
    MAIN,
    TEST_TITLES,
    comparisons,
    conclusions,
    corrected,
    evaluations,
    explanation,
    p_in_words,
    results_title,
)
from dcube.evaluation.metrics import HEADLINES
from dcube.evaluation.model_card import NO_ERROR, PHANTOM, always_the_same, kind_in_words
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.published import COLUMNS, published_on
from dcube.evaluation.split_notice import split_notice
from dcube.evaluation.summary import interval_text

BASELINE = "baseline"


def print_results(folder: Path = EVALUATION) -> None:
    """Print all evaluations below `folder`, readable from 80 columns on."""
    results = evaluations(folder)
    tables = {name: Predictions.load(folder / name / PREDICTIONS) for name in results}
    console = Console(highlight=False)
    console.print(results_table(results))
    first = next(iter(results.values()))
    if notice := split_notice(first):
        console.print(f"[bold]{notice}[/]")
    if BASELINE in results:
        console.print(f"{BASELINE}: {kind_in_words(results[BASELINE].kind).removeprefix('Baseline: ')}")
    console.print(always_the_same(next(iter(tables.values())).table["label"]))
    if any(metrics.test["accuracy"] == 1 for metrics in results.values()):
        console.print(f"Without an error on the test, {NO_ERROR}.")
    if MAIN in results and len(results) > 1:
        _print_comparisons(console, comparisons(tables, results[MAIN]), results[MAIN])
    _print_published(console, first)
    console.print(f"\nPictures and model cards: {folder}/*/")
    console.print("One page with everything, images included: dcube report")
    console.print("Runs, curves and registered models: make ui")
    if any(metrics.is_phantom for metrics in results.values()):
        console.print(f"[bold]{PHANTOM}[/]")


def _print_published(console: Console, metrics: Metrics) -> None:
    if published := published_on(metrics):
        table = _table("Published results on the same test split", *COLUMNS)
        for row in published.rows:
            table.add_row(*row)
        console.print(table)
        console.print(published.note)


def results_table(results: dict[str, Metrics]) -> Table:
    title = results_title(next(iter(results.values())))
    table = _table(title, "model", *(metric.title for metric in HEADLINES))
    for model, metrics in results.items():
        table.add_row(model, *(_cell(metrics, metric.name) for metric in HEADLINES))
    return table


def _print_comparisons(console: Console, made: dict[str, ModelComparison], metrics: Metrics) -> None:
    p_values = corrected(made)
    table = _table(f"{MAIN} minus each other model, on the same images", f"{MAIN} minus", *TEST_TITLES)
    for other, comparison in made.items():
        cells = [_difference(difference) for difference in comparison.differences.values()]
        cells.append(f"{comparison.only_first} : {comparison.only_second}\n")
        pairs = zip(cells, p_values[other].values(), strict=True)
        table.add_row(other, *(f"{cell}\n{p_in_words(p)}" for cell, p in pairs))
    console.print(table)
    console.print("\n".join((*explanation(made), *conclusions(made, p_values, metrics))))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name.replace(" ", "\n"), justify="center", no_wrap=True)
    return table


def _cell(metrics: Metrics, name: str) -> str:
    return f"{metrics.test[name]:.3f}\n[dim]{interval_text(metrics, name, 2)}[/]"


def _difference(value: Difference) -> str:
    return f"{value.value:+.3f}\n[dim]{value.low:+.2f} … {value.high:+.2f}[/]"
