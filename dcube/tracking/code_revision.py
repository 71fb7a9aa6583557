"""The commit of a result's code, and what differed from it. This module must not import torch."""

from collections.abc import Mapping
from pathlib import Path

from dcube.artifacts.layout import GRAPH, LOCK, PARAMS
from dcube.errors import DcubeError
from dcube.repository.commands import UntrustedRepositoryError, git
from dcube.tracking import tags

UNTRACKED = "?"
FIELDS_BEFORE_PATH = {"1": 8, "u": 10, UNTRACKED: 1}  # in `git status --porcelain=v2`, by kind of entry


def code_revision(origin: Mapping[str, str]) -> str:
    """Return the git commit of a result's code, with `+uncommitted` if its code or graph differed from the commit.

    Args:
        origin: tags from `dcube.tracking.lineage.origin_tags`.
    """
    changed = origin.get(tags.UNCOMMITTED, "").split(", ")
    return origin.get(tags.COMMIT, "") + ("+uncommitted" if any(map(affects_results, changed)) else "")


def affects_results(name: str) -> bool:
    """Return whether a path in the repository is the graph or a code file of the package."""
    return name == str(GRAPH) or (name.startswith("dcube/") and is_code(name))


def is_code(name: str) -> bool:
    return name.endswith((".py", ".yaml"))


def uncommitted() -> list[str]:
    """List files with uncommitted changes, except `params.yaml` and `dvc.lock`, which are logged separately.

    Files that a result depends on come first, because a tag has room for only some names. Untracked files outside the
    package are only counted, because their names may contain a patient's name.
    """
    # `git diff` would rewrite the checkout's index
    lines = git_output("status", "--porcelain=v2", "-z", "--no-renames", "--untracked-files=all").split("\0")
    paths = [(line[0], line.split(" ", FIELDS_BEFORE_PATH[line[0]])[-1]) for line in lines if line]
    changed = [path for kind, path in paths if kind != UNTRACKED]
    added = [path for kind, path in paths if kind == UNTRACKED]
    recorded = {str(PARAMS), str(LOCK)}
    named = {name for name in added if affects_results(name)}
    others = len({*added} - named - recorded)
    files = sorted(
        {*changed, *named} - recorded, key=lambda name: (name != str(GRAPH), not affects_results(name), name)
    )
    return files + ([f"untracked files: {others}"] if others else [])


def git_output(*words: str) -> str:
    """Return git's output, or empty text if the command fails.

    Raises:
        DcubeError: if git refuses another user's repository, because an empty origin would hide this.
    """
    try:
        return git(Path.cwd(), *words).strip()
    except UntrustedRepositoryError:
        raise
    except DcubeError:
        return ""
