"""`dcube feedback` and `dcube monitor`: the inference log and feedback on its predictions."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.artifacts.schemas.inference_log import TRUTH, PeriodLength
from dcube.cli.predict import Reference
from dcube.cli.terminal import print_rich, quiet_mlflow
from dcube.errors import DcubeError

if TYPE_CHECKING:
    from dcube.inference.log import InferenceLog

Image = Annotated[str, typer.Argument(help="input_sha256 of the prediction, or its first digits.")]
Label = Annotated[str, typer.Argument(help="The class that the image shows.")]
By = Annotated[
    str,
    typer.Option(
        "--by", metavar="truth|READER", help="Who says so: `truth` (it is confirmed), or the name of a reader."
    ),
]
Every = Annotated[PeriodLength, typer.Option("--every", help="Length of a period.")]


def feedback(image: Image, label: Label, by: By = TRUTH) -> None:
    """Record the true class of an image, or a reader's opinion, in the inference log."""
    from dcube.inference.log import feed_back

    print(f"{feed_back(_log(), image, label, by)} shows {label} ({by})")


def monitor(model: Reference, every: Every = "month") -> None:
    """Show the predictions of a version over time, how many were correct, and drift, from the inference log."""
    from rich.markup import escape

    from dcube.artifacts.layout import REFERENCE
    from dcube.artifacts.schemas.drift import DriftReference
    from dcube.cli.fitting_table import Column, FittingTable
    from dcube.inference.drift import drifted_in_words
    from dcube.inference.monitoring import periods, readers
    from dcube.registry.download import download_version
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    log = _log()
    predictions, fed_back = log.predictions, log.fed_back
    quiet_mlflow()
    with TemporaryDirectory(prefix="dcube-model-") as folder:
        with mlflow_errors_in_one_line():
            version = download_version(model, Path(folder))
        reference = DriftReference.load(version.folder / REFERENCE)
    own = predictions[predictions["weights_sha256"] == version.weights] if len(predictions) else predictions
    if own.empty:
        raise DcubeError(f"the log has no prediction of {version.title}: it has {len(predictions)} of other versions")
    columns = [Column(f"{every} from"), Column("predictions", number=True)]
    columns += [Column("abstained", number=True, optional=True), Column("correct"), Column("drift from validation")]
    table = FittingTable(f"Predictions of {version.title}", columns)
    for period in periods(own, fed_back, reference, every):
        by_class = (f"{name}: {found} of {shown}" for name, (found, shown) in period.by_class.items())
        correct = "\n".join((f"{period.correct} of {period.with_feedback} with feedback", *map(escape, by_class)))
        drift = drifted_in_words(period.drift).replace(", ", ",\n")
        table.add_row(period.start, str(period.predictions), str(period.abstained), correct, drift)
    print_rich(table)
    print(
        "Correct: of the predictions with feedback that did not abstain; of each class: of the images that show it "
        "(sensitivity). Feedback may exist for some images only."
    )
    for reader in readers(own, fed_back):
        known = f"; {reader.correct} of {reader.confirmed} with a confirmed class correct" if reader.confirmed else ""
        print(f"Reader {reader.name}: {reader.as_predicted} of {reader.images} images as predicted{known}.")


def _log() -> "InferenceLog":
    """Read the inference log, and print how many of its lines are damaged."""
    from dcube.inference.log import read_log

    log = read_log()
    if log.skipped:
        print(log.skipped, file=sys.stderr)
    return log
