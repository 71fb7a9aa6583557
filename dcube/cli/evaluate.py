"""`dcube evaluate`: a registered model on labelled images of another source."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.cli.predict import Reference
from dcube.cli.terminal import print_rich, quiet_mlflow
from dcube.data.readers.walking import given_path, refuse_special

if TYPE_CHECKING:
    from dcube.artifacts.schemas.metrics import Metrics

LabelledImages = Annotated[
    Path,
    typer.Argument(
        help="Labelled images, in any layout that `dcube data check` reads.", metavar="PATH", parser=given_path
    ),
]
Name = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Name of the test set in MLflow: lower-case letters, digits, - and _; a letter first; no person's name.",
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by", metavar="GROUPING", help="As data.group_by: which images belong together, for the intervals."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help="Folder for metrics.json, predictions.csv (pseudonyms) and drift.json.",
        metavar="PATH",
        parser=given_path,
    ),
]


def evaluate(
    model: Reference, path: LabelledImages, name: Name, group_by: GroupBy = None, output: Output = None
) -> None:
    """Evaluate a registered model on labelled images that it has never seen, e.g. of another hospital."""
    refuse_special(path)  # before the model is loaded, which takes seconds
    from dcube import api
    from dcube.evaluation.external_notes import external_notes
    from dcube.evaluation.operating_point import decision_in_words, table_rows
    from dcube.inference.drift import drifted_in_words

    quiet_mlflow()
    version = api.load(model)
    test, own = api.evaluate(version, path, name=name, group_by=group_by, output=output), version.metrics
    print_rich(_table(version.title, own, test.metrics))
    print(decision_in_words(own.operating_point, own.confidence))
    for rate, _, here in table_rows(test.metrics.operating_point):
        print(f"  {rate} on these images: {here}")
    for sentence in external_notes(own, test.metrics):
        print(sentence)
    if test.left_out:
        print(f"Left out: {test.left_out} images without a label.")
    if test.blank_slices:
        print(f"Left out: {test.blank_slices} blank slices.")
    print(drifted_in_words(test.drift))


def _table(title: str, own: "Metrics", external: "Metrics"):  # type: ignore[no-untyped-def]
    from rich.markup import escape

    from dcube.cli.fitting_table import Column, FittingTable
    from dcube.cli.results_tables import metric_cell
    from dcube.evaluation.metrics import HEADLINES
    from dcube.evaluation.summary import tested_on

    columns = [Column(metric.title, number=True, optional=not metric.compared) for metric in HEADLINES]
    table = FittingTable(f"{title}, {own.confidence:.0%} intervals", [Column("tested on"), *columns])
    for name, metrics in ((f"{own.dataset}, own test split", own), (external.dataset, external)):
        cells = (metric_cell(metrics, metric.name) for metric in HEADLINES)
        table.add_row(f"{escape(name)}\n[dim]{tested_on(metrics)}[/]", *cells)
    return table
