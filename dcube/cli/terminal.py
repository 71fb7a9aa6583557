"""Helpers of the commands: printing, and silencing MLflow."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


def print_rich(content: "RenderableType") -> None:
    """Print with rich, but without markup: `[dim]` in a name is not a style."""
    from rich.console import Console

    Console(highlight=False, markup=False).print(content)


def quiet_mlflow() -> None:
    """Show only warnings of MLflow and its database, which log every step by default."""
    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)
