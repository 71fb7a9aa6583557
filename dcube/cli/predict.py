"""`dcube predict`: a registered model predicts on new images."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dcube.cli.terminal import quiet_mlflow
from dcube.errors import DcubeError, abbreviated

if TYPE_CHECKING:
    import pandas as pd

    from dcube.data.preprocessing import ModelInput
    from dcube.registry.download import Fetched

Reference = Annotated[str, typer.Argument(help="MODEL@ALIAS or MODEL/VERSION, e.g. dcube-phantom@champion.")]
Paths = Annotated[
    list[Path], typer.Argument(help="Images, DICOM or NIfTI files, folders, zip or tar archives.", metavar="PATH…")
]
Format = Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="Format of the output.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write to this file instead of the terminal.")]
Heatmaps = Annotated[
    Path | None,
    typer.Option("--heatmaps", help="Folder for a heatmap of each image: the regions that support the prediction."),
]
AbstainBelow = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Abstain below this confidence. Default: as in the model's evaluation."),
]
Decide = Annotated[
    str | None,
    typer.Option(
        help="Rule of the decision: 'most probable class', or e.g. 'malignant >= 0.3'. Default: as it was evaluated."
    ),
]
ByPatient = Annotated[
    bool, typer.Option("--by-patient", help="One row for each patient, by DICOM headers and volumes.")
]


def predict(
    model: Reference,
    paths: Paths,
    format_: Format = "table",
    output: Output = None,
    heatmaps: Heatmaps = None,
    abstain_below: AbstainBelow = None,
    decide: Decide = None,
    by_patient: ByPatient = False,
) -> None:
    """Predict class and calibrated probabilities of images. Exit code 2: at least one image was refused."""
    from dcube.classifier.candidate import load_candidate
    from dcube.config.schema import Compute
    from dcube.engine.device import choose_device
    from dcube.engine.progress import progress
    from dcube.inference import prediction
    from dcube.inference.inputs import collect_images
    from dcube.inference.output import FORMATS

    with collect_images(paths) as (images, left_out), TemporaryDirectory(prefix="dcube-model-") as folder:
        for why, files in left_out.items():
            print(f"left out: {len(files)} × {why}: {abbreviated(files)}", file=sys.stderr)
        fetched = fetch_version(model, Path(folder))
        candidate = load_candidate(fetched.folder, choose_device(Compute()))
        if fetched.split_notice:
            print(f"{fetched.title} was tested on this: {fetched.split_notice}", file=sys.stderr)
        policy = fetched.policy.overridden(decide, abstain_below, candidate.classes)
        with progress(f"Predicting with {fetched.title}", total=len(images), unit="images") as advance:

            def on_batch(inputs: "Sequence[ModelInput | str]", rows: "pd.DataFrame") -> None:
                if heatmaps:
                    from dcube.inference.heatmaps import save_heatmaps

                    save_heatmaps(candidate, inputs, rows, heatmaps)
                advance(len(rows))

            rows = prediction.predict(candidate, images, policy, on_batch)
    table = prediction.aggregate_by_patient(rows, images, policy) if by_patient else rows
    text = FORMATS[format_](table.assign(**fetched.identity))
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    refused = rows[rows["problem"] != ""]
    if len(refused):
        first = refused.iloc[0]
        raise DcubeError(
            f"{len(refused)} of {len(rows)} images were refused, e.g. {first['image']}: {first['problem']}"
        )


def fetch_version(model: str, folder: Path) -> "Fetched":
    """The version that `MODEL@ALIAS` or `MODEL/VERSION` names; what is wrong with MLflow ends in one line."""
    from dcube.registry.download import fetch
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    quiet_mlflow()
    with mlflow_errors_in_one_line():
        return fetch(model, folder)
