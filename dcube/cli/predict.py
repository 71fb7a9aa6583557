"""`dcube predict`: a registered model answers on images that are given to it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dcube.cli.terminal import quiet_mlflow
from dcube.errors import DcubeError

if TYPE_CHECKING:
    import pandas as pd

    from dcube.inference.prediction import Prepared
    from dcube.registry.download import Fetched

Reference = Annotated[str, typer.Argument(help="MODEL@ALIAS or MODEL/VERSION, as dcube-phantom@champion.")]
Paths = Annotated[
    list[Path], typer.Argument(help="Images, DICOM or NIfTI files, folders, zip or tar archives.", metavar="PATH…")
]
Format = Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="What is written.")]
Output = Annotated[Path | None, typer.Option("--output", help="A file to write to, instead of the terminal.")]
Heatmaps = Annotated[
    Path | None, typer.Option("--heatmaps", help="A folder for pictures of what spoke for each answer.")
]
AbstainBelow = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="No answer below this confidence. Without: as the model was evaluated."),
]
ByPatient = Annotated[bool, typer.Option("--by-patient", help="A row a patient, by the headers of DICOM and volumes.")]


def predict(
    model: Reference,
    paths: Paths,
    format_: Format = "table",
    output: Output = None,
    heatmaps: Heatmaps = None,
    abstain_below: AbstainBelow = None,
    by_patient: ByPatient = False,
) -> None:
    """Class, calibrated probabilities and how sure they are. Exit code 2: some image could not be answered."""
    from dcube.classifier.candidate import load_candidate
    from dcube.config.schema import Compute
    from dcube.data.naming import some
    from dcube.engine.device import choose_device
    from dcube.engine.progress import progress
    from dcube.inference import prediction
    from dcube.inference.inputs import asked_of
    from dcube.inference.output import FORMATS

    with asked_of(paths) as (asked, others), TemporaryDirectory(prefix="dcube-model-") as folder:
        if others:
            print(f"passed over, as they are no images: {some(others)}", file=sys.stderr)
        fetched = _fetched(model, Path(folder))
        candidate = load_candidate(fetched.folder, choose_device(Compute()))
        below = fetched.abstain_below if abstain_below is None else abstain_below
        with progress(f"Asking {fetched.title}", total=len(asked), unit="images") as advance:

            def done(images: "Sequence[Prepared | str]", rows: "pd.DataFrame") -> None:
                if heatmaps:
                    from dcube.inference.heatmaps import draw_all

                    draw_all(candidate, images, rows, heatmaps)
                advance(len(rows))

            rows = prediction.answers(candidate, asked, below, done)
    table = prediction.by_patient(rows, asked, below) if by_patient else rows
    text = FORMATS[format_](table)
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    refused = rows[rows["problem"] != ""]
    if len(refused):
        first = refused.iloc[0]
        raise DcubeError(f"{len(refused)} of {len(rows)} images were refused, as {first['image']}: {first['problem']}")


def _fetched(model: str, folder: Path) -> "Fetched":
    from dcube.registry.download import fetch
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    quiet_mlflow()
    with mlflow_errors_in_one_line():
        return fetch(model, folder)
