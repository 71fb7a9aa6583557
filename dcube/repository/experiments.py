"""DVC experiments: code, parameters and results of a run, under a name."""

from pathlib import Path

from dcube.repository.commands import dvc, repository_lock


def save_experiment(repository: Path, folder: Path, name: str, stages: list[str]) -> None:
    """Keep what stands in the workspace `folder`, with the results of `stages`, as an experiment of `repository`."""
    with repository_lock(repository):  # concurrent saves of one repository collide
        dvc(folder, "exp", "save", "--force", "--name", name, *stages)
