"""`dcube predict`: a registered model predicts on new images."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from dcube.artifacts.atomic import refuse_unwritable_file, refuse_unwritable_folder
from dcube.cli.terminal import quiet_mlflow
from dcube.data.readers.walking import given_path, refuse_special
from dcube.errors import DcubeError, abbreviated

Reference = Annotated[
    str, typer.Argument(metavar="MODEL@ALIAS", help="MODEL@ALIAS or MODEL/VERSION, e.g. dcube-phantom@champion.")
]
Paths = Annotated[
    list[Path],
    typer.Argument(
        help="Images, DICOM or NIfTI files, folders, zip or tar archives.", metavar="PATH", parser=given_path
    ),
]
Format = Annotated[
    Literal["table", "csv", "json"] | None,
    typer.Option("--format", help="Format of the output. Default: as the suffix of --output, else table."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", help="Write to this file instead of the terminal.", metavar="PATH", parser=given_path),
]
Heatmaps = Annotated[
    Path | None,
    typer.Option(
        "--heatmaps",
        help="Folder for a heatmap of each image: the regions that support the prediction.",
        metavar="PATH",
        parser=given_path,
    ),
]
AbstainBelow = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Abstain below this confidence. Default: as in the model's evaluation."),
]
Decide = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="Rule of the decision: 'most probable class', or e.g. 'malignant >= 0.3'; with ' at malignant = 0.05' for "
        "another prevalence. Default: as in the model's evaluation.",
    ),
]
ByPatient = Annotated[
    bool, typer.Option("--by-patient", help="One row for each patient, as DICOM headers and volumes tell them.")
]

FORMAT_OF_SUFFIX = {"": "table", ".txt": "table", ".csv": "csv", ".json": "json"}


def predict(
    model: Reference,
    paths: Paths,
    format_: Format = None,
    output: Output = None,
    heatmaps: Heatmaps = None,
    abstain_below: AbstainBelow = None,
    decide: Decide = None,
    by_patient: ByPatient = False,
) -> None:
    """Predict class and calibrated probabilities of images. Exit code 2: at least one image was refused."""
    for path in paths:  # before the model is loaded, which takes seconds
        refuse_special(path)
    chosen = format_ or (_format_of(output) if output else "table")
    if output:
        refuse_unwritable_file(output)
    if heatmaps:
        refuse_unwritable_folder(heatmaps)
    from dcube import api
    from dcube.inference.output import FORMATS

    quiet_mlflow()
    version = api.load(model)
    if version.split_notice:
        print(f"The metrics of {version.title}: {version.split_notice}", file=sys.stderr)
    predictions = version.predict(paths, decide=decide, abstain_below=abstain_below, heatmaps=heatmaps)
    for why, files in predictions.left_out.items():
        print(f"left out: {len(files)} × {why}: {abbreviated(files)}", file=sys.stderr)
    rows = predictions.by_patient() if by_patient else predictions.table
    text = FORMATS[chosen](rows)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        print(f"predictions written to {output}: {rows['confidence'].notna().sum()}", file=sys.stderr)
    else:
        print(text, end="")
    if refused := predictions.refused:
        first = refused[0]
        raise DcubeError(
            f"{len(refused)} of {len(predictions)} images were refused, e.g. {first.image}: {first.problem}"
        )


def _format_of(output: Path) -> str:
    """Return the format that the suffix of `output` names."""
    if (suffix := output.suffix.lower()) not in FORMAT_OF_SUFFIX:
        raise DcubeError(f"{output}: unknown format {suffix}: name a .csv, .json or .txt file, or give --format")
    return FORMAT_OF_SUFFIX[suffix]
