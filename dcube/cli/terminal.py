"""What the commands share: printing, and MLflow's silence."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

Replace = Annotated[bool, typer.Option("--replace", help="Replace the existing content.")]


def print_rich(content: "RenderableType") -> None:
    """Texts as they are: a name with `[dim]` in it is no style."""
    from rich.console import Console

    Console(highlight=False, markup=False).print(content)


def quiet_mlflow() -> None:
    """MLflow and its database log every step."""
    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)
