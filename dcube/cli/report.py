"""The command `dcube report`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

Reference = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL@ALIAS]",
        help="MODEL@ALIAS or MODEL/VERSION, e.g. dcube-phantom/3. Default: the run in this working copy.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Output file. Default: report.html, or report-MODEL-VERSION.html."),
]


def report(reference: Reference = None, output: Output = None) -> None:
    """Write a self-contained HTML report on a run or a registered version (no server, no scripts).

    Metrics of all candidates with intervals, the data, real images beside synthetic ones, curves, parameters, lineage,
    and the test images that are most wrong and most unsure, with heatmaps. Of a registered version it shows everything
    but the test images, which the registry does not keep; no working copy is needed then.
    """
    from dcube.report.origins import material_here, material_of
    from dcube.report.page import page

    if reference is None:
        _write(output or Path("report.html"), page(material_here()))
        return
    from dcube.registry.references import referenced
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line, version_number

    with mlflow_errors_in_one_line(), TemporaryDirectory() as folder:
        registry, version = referenced(reference)
        material = material_of(registry, version, Path(folder))
        _write(output or Path(f"report-{registry.name}-{version_number(version)}.html"), page(material))


def _write(file: Path, text: str) -> None:
    from dcube.artifacts.atomic import atomic_write

    content = text.encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, content)
    print(f"{file}, {len(content) / 1e6:.1f} MB: open it in a browser. It holds images of the data set.")
