"""DVC experiments: code, parameters and results of a run, under a name."""

from pathlib import Path

from dcube.errors import DcubeError
from dcube.repository.commands import dvc, git, repository_lock

# A worker in a container, and many a server, has no git configuration; a commit has to name somebody.
NOBODY = {"NAME": "D-Cube", "EMAIL": "dcube@localhost"}


def save_experiment(repository: Path, folder: Path, name: str, stages: list[str]) -> None:
    """Keep what stands in the workspace `folder`, with the results of `stages`, as an experiment of `repository`."""
    with repository_lock(repository):  # concurrent saves of one repository collide
        dvc(folder, "exp", "save", "--force", "--name", name, *stages, variables=_identity(folder))


def _identity(folder: Path) -> dict[str, str]:
    """Variables that name author and committer where git knows neither; what is configured stays."""
    try:
        git(folder, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    except DcubeError:
        return {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in NOBODY.items()}
    return {}
