"""Tables of `dcube results`: the models' metrics with intervals, and the differences between them."""

from dcube.artifacts.candidates import DCUBE
from dcube.artifacts.schemas.metrics import Metrics
from dcube.cli.fitting_table import Column, FittingTable
from dcube.evaluation.comparison import ModelComparison
from dcube.evaluation.conclusions import MCNEMAR, TEST_TITLES, results_title, tested_differences
from dcube.evaluation.metrics import HEADLINES
from dcube.evaluation.published import COLUMNS, Published
from dcube.evaluation.summary import interval_text


def results_table(results: dict[str, Metrics]) -> FittingTable:
    """Return the table of all models. `results`: model → metrics."""
    columns = [Column(metric.title, number=True, optional=not metric.compared) for metric in HEADLINES]
    table = FittingTable(results_title(next(iter(results.values()))), [Column("model"), *columns])
    for model, metrics in results.items():
        table.add_row(model, *(metric_cell(metrics, metric.name) for metric in HEADLINES))
    return table


def published_table(published: Published) -> FittingTable:
    """Return the table of published results on the same test split."""
    first, *others = COLUMNS
    columns = [Column(first), *(Column(title, number=True) for title in others)]
    table = FittingTable("Published results on the same test split", columns)
    for row in published.rows:
        table.add_row(*row)
    return table


def differences_table(made: dict[str, ModelComparison], p_values: dict[str, dict[str, float]]) -> FittingTable:
    """Return the table of differences between D-Cube and each other model."""
    columns = [Column(title, number=True, optional=title == MCNEMAR) for title in TEST_TITLES]
    table = FittingTable(f"{DCUBE} minus each other model, on the same images", [Column(f"{DCUBE} minus"), *columns])
    for other, comparison in made.items():
        tests = tested_differences(comparison, p_values[other])
        table.add_row(other, *(f"{it.value}\n[dim]{it.interval}[/]\n{it.p}" for it in tests))
    return table


def metric_cell(metrics: Metrics, name: str) -> str:
    """Return a cell with value and interval."""
    return f"{metrics.test[name]:.3f}\n[dim]{interval_text(metrics, name, 2)}[/]"
