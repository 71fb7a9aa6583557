"""`dcube feedback` and `dcube monitor`: the inference log and feedback on its predictions."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from dcube.artifacts.schemas.inference_log import PeriodLength, Source
from dcube.cli.predict import Reference
from dcube.cli.terminal import print_rich, quiet_mlflow
from dcube.errors import DcubeError

Image = Annotated[str, typer.Argument(help="input_sha256 of the prediction, or its first digits.")]
Label = Annotated[str, typer.Argument(help="The class that the image shows.")]
By = Annotated[Source, typer.Option("--by", help="Who says so: the confirmed truth, or a reader.")]
Every = Annotated[PeriodLength, typer.Option("--every", help="Length of a period.")]


def feedback(image: Image, label: Label, by: By = "truth") -> None:
    """Record the true class of an image, or a reader's opinion, in the inference log."""
    from dcube.inference.log import feed_back

    print(f"{feed_back(image, label, by)} shows {label} ({by})")


def monitor(model: Reference, every: Every = "month") -> None:
    """Show the predictions of a version over time, how many were correct, and drift, from the inference log."""
    from dcube.artifacts.layout import REFERENCE
    from dcube.artifacts.schemas.drift import DriftReference
    from dcube.cli.fitting_table import Column, FittingTable
    from dcube.inference.drift import drifted_in_words
    from dcube.inference.log import read_log
    from dcube.inference.monitoring import periods
    from dcube.registry.download import download_version
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    predictions, fed_back = read_log()
    quiet_mlflow()
    with TemporaryDirectory(prefix="dcube-model-") as folder:
        with mlflow_errors_in_one_line():
            version = download_version(model, Path(folder))
        reference = DriftReference.load(version.folder / REFERENCE)
    own = predictions[predictions["weights_sha256"] == version.weights] if len(predictions) else predictions
    if own.empty:
        raise DcubeError(f"the log has no prediction of {version.title}: it has {len(predictions)} of other versions")
    counts = (Column(name, number=True) for name in ("predictions", "abstained", "correct"))
    columns = [Column(f"{every} from"), *counts, Column("drift from validation")]
    table = FittingTable(f"Predictions of {version.title}", columns)
    for period in periods(own, fed_back, reference, every):
        correct = f"{period.correct} of {period.with_feedback} with feedback"
        cells = str(period.predictions), str(period.abstained), correct, drifted_in_words(period.drift)
        table.add_row(period.start, *cells)
    print_rich(table)
    print("Correct: of the predictions with feedback that did not abstain. Feedback may exist for some images only.")
