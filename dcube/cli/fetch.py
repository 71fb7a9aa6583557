"""`dcube fetch`: the results of a run on another machine."""

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    name: Annotated[str, typer.Argument(help="Name of the experiment, printed at the end of the run's log.")],
) -> None:
    """Download an experiment and its outputs from the bucket (DCUBE_STORAGE) into this repository."""
    from dcube.repository.commands import repository_around
    from dcube.repository.experiments import fetch_experiment

    fetch_experiment(repository_around(Path.cwd()), name)
    print(f"{name} is here. To bring its parameters and results into the working copy:\n  dvc exp apply {name}")
