"""What the commands share: printing, and MLflow's silence."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

Replace = Annotated[bool, typer.Option("--replace", help="Replace the existing content.")]


def print_rich(content: "RenderableType", markup: bool = False) -> None:
    """`markup`: whether `[dim]` and the like in texts are styles, so that names in them must be escaped."""
    from rich.console import Console

    Console(highlight=False, markup=markup).print(content)


def quiet_mlflow() -> None:
    """MLflow and its database log every step."""
    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)
