"""Command-line options shared by `dcube study` and `python -m flows.study`."""

from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="A study (`dcube studies` lists them), or a .yaml file of one.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="Data set. Uses params.yaml if its data.name matches, else the preset of that name.",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="GROUP.KEY=VALUE", help="A parameter. Can be repeated.")
]
Rows = Annotated[
    list[str] | None, typer.Option("--row", metavar="NAME", help="Compute only this row. Can be repeated.")
]
Repeats = Annotated[int | None, typer.Option(min=1, max=100, help="Number of repeats. Default: the study's.")]
