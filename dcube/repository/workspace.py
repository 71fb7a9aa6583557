"""An own working copy for every run: a git worktree that shares the DVC cache and the checkpoints.

The checkout that people work in is only read.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from dcube.artifacts.layout import DATA_RECORD, LOCK, PARAMS
from dcube.errors import DcubeError
from dcube.repository.commands import git, repository_lock
from dcube.repository.data_remote import remote_settings
from dcube.repository.dvc_internals import copy_settings, is_lock_file, local_settings_file, locks_held, restore_data
from dcube.runtime.settings import read_settings


@contextmanager
def workspace(
    repository: Path,
    commit: str,
    name: str,
    params: str,
    data_record: bytes | None = None,
    restore: Callable[[Path], None] = restore_data,
) -> Iterator[Path]:
    """Give the working copy called `name`: `commit` of `repository` with its data and with `params` (YAML).

    `data_record` is a `data.dvc` to take instead of the commit's; `restore` brings the data that it records.

    The same name finds the same working copy again, so that a rescheduled run goes on where it was. It is removed
    on success and kept on failure.

    Raises:
        DcubeError: where the data are not what the commit records.
    """
    folder = workspaces_of(repository) / name
    if not local_settings_file(folder).exists():
        _create(repository, commit, folder)
    remove_torn_files(folder)
    (folder / PARAMS).write_text(params, encoding="utf-8")
    if data_record is not None:
        (folder / DATA_RECORD).write_bytes(data_record)
    restore(folder)
    yield folder
    remove_workspace(repository, folder)


def workspaces_of(repository: Path) -> Path:
    """Where the working copies stand: `DCUBE_WORKSPACES`, or a folder of the repository that git ignores."""
    return (read_settings().workspaces or repository / ".dcube/workspaces").absolute()


def remove_workspace(repository: Path, folder: Path) -> None:
    with repository_lock(repository):
        _discard(repository, folder)


def remove_torn_files(folder: Path) -> list[str]:
    """What a killed DVC or git has left half-written, or locked, in a working copy that nobody else works in.

    Returns:
        What was removed, by its path in the working copy.

    Raises:
        DcubeError: git is at work there, and its lock is no left-over.
    """
    index_lock = Path(git(folder, "rev-parse", "--path-format=absolute", "--git-path", "index.lock").strip())
    lock, rwlock = folder / LOCK, folder / ".dvc/tmp/rwlock"
    torn = [index_lock] if index_lock.exists() else []
    if torn and (running := _git_at_work(folder)):
        raise DcubeError(f"git is at work in {folder}: wait for {', '.join(running)}, or end it")
    if locks_held(folder) != []:
        torn.append(rwlock)
    if lock.exists() and not is_lock_file(lock.read_bytes()):
        torn.append(lock)  # what it said of finished stages the run cache knows
    for path in torn:
        path.unlink(missing_ok=True)
    return [path.name if path == index_lock else str(path.relative_to(folder)) for path in torn]


def _git_at_work(folder: Path) -> list[str]:
    """Every git that runs in this working copy, a commit that waits for its editor too: git goes to the root of it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.name() == "git" and Path(process.cwd()) == folder.resolve():
                found.append(f"`{' '.join(process.cmdline())}` (process {process.pid})")
    return found


def _create(repository: Path, commit: str, folder: Path) -> None:
    if outer := git(repository, "rev-parse", "--show-superproject-working-tree"):
        raise DcubeError(
            f"{repository} is a submodule of {outer}, and DVC finds no workspace of a submodule: clone it by itself"
        )
    with repository_lock(repository):
        _discard(repository, folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        git(repository, "worktree", "add", "--quiet", "--detach", str(folder), commit)
    if not (folder / ".dvc").is_dir():
        raise DcubeError(f"commit {commit} contains no DVC repository: commit .dvc first")
    _share_state(repository, folder)
    copy_settings(repository, folder, remote_settings())  # last: their file marks the working copy as complete


def _share_state(repository: Path, folder: Path) -> None:
    """Checkpoints are keyed by all that defines a training, unsent metrics by their run: both are safe to share."""
    (folder / ".dcube").mkdir(exist_ok=True)
    for name in ("checkpoints", "unsent"):
        shared = repository / ".dcube" / name
        shared.mkdir(parents=True, exist_ok=True)
        (folder / ".dcube" / name).symlink_to(shared)


def _discard(repository: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    git(repository, "worktree", "prune")
