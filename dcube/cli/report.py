"""The command `dcube report`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.data.readers.walking import given_path

if TYPE_CHECKING:
    from dcube.report.material import Material

Reference = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL@ALIAS",
        help="MODEL@ALIAS or MODEL/VERSION, e.g. dcube-phantom/3. Default: the run in this working copy.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Output file. Default: report.html, or report-MODEL-VERSION.html.",
        metavar="PATH",
        parser=given_path,
    ),
]
Checklist = Annotated[
    bool,
    typer.Option("--checklist", help="Write CLAIM 2024 and TRIPOD+AI, filled in as far as a run can (.md), instead."),
]


def report(reference: Reference = None, output: Output = None, checklist: Checklist = False) -> None:
    """Write a self-contained HTML report on a run or a registered version (no server, no scripts).

    It shows metrics of all candidates with intervals, the data, real images beside synthetic ones, curves, parameters,
    lineage, and the test images with the largest errors and the most uncertain predictions, with heatmaps. For a
    registered version, it needs no working copy and shows everything but the test images, which the registry does not
    keep.
    """
    from dcube.report.origins import material_here, material_of

    if reference is None:
        _write(output or _default_file("", checklist), material_here(), checklist)
        return
    from dcube.registry.references import resolve_reference
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    with mlflow_errors_in_one_line(), TemporaryDirectory() as folder:
        registered_model, version = resolve_reference(reference)
        named = f"-{registered_model.name}-{version.version}"
        _write(
            output or _default_file(named, checklist), material_of(registered_model, version, Path(folder)), checklist
        )


def _default_file(named: str, checklist: bool) -> Path:
    return Path(f"checklist{named}.md" if checklist else f"report{named}.html")


def _write(file: Path, material: "Material", checklist: bool) -> None:
    from dcube.artifacts.atomic import atomic_write
    from dcube.report.checklist import checklist as checklist_of
    from dcube.report.page import page

    content = (checklist_of if checklist else page)(material).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, content)
    shown = "fill in what is marked" if checklist else "open it in a browser. It holds images of the data set"
    size = f"{len(content) / 1e6:.1f} MB" if len(content) >= 1e5 else f"{len(content) / 1e3:.0f} kB"
    print(f"{file}, {size}: {shown}.")
