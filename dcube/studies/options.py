"""The options that `dcube study` and `python -m flows.study` share."""

from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="A study (`dcube studies` lists them), or a .yaml file of one.")]
Data = Annotated[
    str | None,
    typer.Option("--data", help="Data set: params.yaml where it is about it, else the preset of that name."),
]
Settings = Annotated[list[str] | None, typer.Option("--set", help="group.key=value, any number of times.")]
Rows = Annotated[list[str] | None, typer.Option("--row", help="Only this row, any number of times.")]
Repeats = Annotated[int | None, typer.Option(min=1, max=100, help="Other number of repeats than the study's.")]
