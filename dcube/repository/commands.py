"""Calls of the git and DVC command lines, and facts read from git."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock

from dcube.errors import DcubeError
from dcube.repository.dvc_texts import error_in
from dcube.runtime.processes import child_environment

ENGLISH = MappingProxyType({"LC_ALL": "C"})  # git's messages are parsed, so they must not be translated
GIT_ERRORS = ("fatal: ", "error: ")  # the error may not be the last line, because git adds advice


class UntrustedRepositoryError(DcubeError):
    """Raised when git refuses a repository that belongs to another user."""


def git(folder: Path, *arguments: str | Path) -> str:
    # The checkout's hooks are for people, not for runs; optional locks would rewrite its index.
    return _output_of(
        ["git", "-c", "core.hooksPath=/dev/null", "--no-optional-locks", *map(str, arguments)], folder, ENGLISH
    )


def dvc(folder: Path, *arguments: str, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    """Run DVC in `folder` and return its output; `variables` are added to the environment."""
    return _output_of([sys.executable, "-m", "dvc", *arguments], folder, variables)


def repository_around(folder: Path) -> Path:
    """Return the root of the git and DVC repository that contains `folder`."""
    try:
        root = Path(git(folder, "rev-parse", "--show-toplevel"))
    except DcubeError as error:
        if "not a git repository" not in str(error):
            raise
        raise DcubeError(f"{folder} is in no git repository: run this in the project's working copy") from None
    if not (root / ".dvc").is_dir():
        raise DcubeError(f"{root} is not a DVC repository: run `dvc init` there")
    return root


def repository_lock(repository: Path) -> FileLock:
    """Return a lock for operations that concurrent runs must not do in a repository at the same time."""
    return FileLock(repository / git(repository, "rev-parse", "--git-common-dir") / "dcube.lock")


def uncommitted_files(repository: Path, *files: str | Path) -> list[str]:
    """Return the files that differ from the last commit, as lines of `git status --porcelain`.

    A workspace gets only committed files. If `files` are given, only these are compared.
    """
    return git(repository, "status", "--porcelain", "--untracked-files=normal", "--", *files).splitlines()


def commit_of(repository: Path, revision: str) -> str:
    """Return the commit that `revision` (commit, branch or tag) names now; raise `DcubeError` if it is unknown."""
    try:
        return git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except DcubeError:
        raise DcubeError(f"revision {revision!r} is unknown in {repository}: fetch it, or check its name") from None


def _output_of(command: list[str], folder: Path, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    try:
        done = subprocess.run(command, cwd=folder, env=child_environment(variables), capture_output=True, text=True)
    except FileNotFoundError:
        raise DcubeError(f"{command[0]} is not installed, or {folder} is missing") from None
    if "dubious ownership" in done.stderr:
        raise UntrustedRepositoryError(
            "git does not trust this repository, which belongs to another user: say that you do with "
            f"`git config --global --add safe.directory '{folder}'`"
        )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        reason = next((line for line in lines if error_in(line) or line.startswith(GIT_ERRORS)), lines[-1])
        raise DcubeError(f"`{' '.join(command[-4:])}` failed in {folder}: {reason}")
    return done.stdout.rstrip("\n")
