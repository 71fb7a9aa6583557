"""A separate working copy for every run: a git worktree that shares the DVC cache and the checkpoints.

The checkout that people work in is only read.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

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
    """Yield the working copy `name`, which contains `commit` of `repository` with its data and `params` (YAML).

    The same name gives the same working copy again, so that a rescheduled run continues. The working copy is removed on
    success and kept on failure. Others wait until the working copy is free (`workspace_lock`).

    Args:
        data_record: content of a `data.dvc` that replaces the commit's.
        restore: function that restores the data recorded by the `.dvc` files.

    Raises:
        DcubeError: if the data differ from what `data.dvc` records.
    """
    folder = workspaces_of(repository) / name
    with workspace_lock(repository, name):
        if not local_settings_file(folder).exists():
            _create(repository, commit, folder)
        remove_torn_files(folder)
        (folder / PARAMS).write_text(params, encoding="utf-8")
        if data_record is not None:
            (folder / DATA_RECORD).write_bytes(data_record)
        restore(folder)
        yield folder
        remove_workspace(repository, folder)


@contextmanager
def workspace_lock(repository: Path, name: str, on_message: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Wait until no other process works in the working copy `name`, and keep others out of it.

    A run can have two attempts at once: a server that was away takes the first one for dead. A process that holds the
    lock already can enter again.
    """
    folder = workspaces_of(repository) / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_message(f"waiting until another process, probably an earlier attempt of this run, leaves {folder}")
        lock.acquire(poll_interval=1)
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def workspaces_of(repository: Path) -> Path:
    """Return the folder of all working copies: `DCUBE_WORKSPACES`, or a folder in the repository that git ignores."""
    return (read_settings().workspaces or repository / ".dcube/workspaces").absolute()


def remove_workspace(repository: Path, folder: Path) -> None:
    with repository_lock(repository):
        _discard(repository, folder)


def remove_torn_files(folder: Path) -> list[str]:
    """Remove half-written files and locks that a killed DVC or git left in a working copy that nobody else uses.

    Returns:
        Paths of the removed files, relative to the working copy.

    Raises:
        DcubeError: if git is locked by a process that still runs.
    """
    index_lock = Path(git(folder, "rev-parse", "--path-format=absolute", "--git-path", "index.lock").strip())
    lock, rwlock = folder / LOCK, folder / ".dvc/tmp/rwlock"
    torn = [index_lock] if index_lock.exists() else []
    if torn and (running := _git_at_work(folder)):
        raise DcubeError(f"git is at work in {folder}: wait for {', '.join(running)}, or end it")
    if locks_held(folder) != []:
        torn.append(rwlock)
    if lock.exists() and not is_lock_file(lock.read_bytes()):
        torn.append(lock)  # the run cache still has the results of finished stages
    for path in torn:
        path.unlink(missing_ok=True)
    return [path.name if path == index_lock else str(path.relative_to(folder)) for path in torn]


def _git_at_work(folder: Path) -> list[str]:
    """List the git processes in this working copy, including a commit that waits for its editor.

    git changes to the root of the working copy, so that its current folder identifies it.
    """
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
    copy_settings(repository, folder, remote_settings())  # last, because this file marks a complete working copy


def _share_state(repository: Path, folder: Path) -> None:
    """Link the repository's checkpoints and unsent metrics, which are safe to share: their keys are unique.

    The key of a checkpoint contains everything that defines the training; unsent metrics have their run's id.
    """
    (folder / ".dcube").mkdir(exist_ok=True)
    for name in ("checkpoints", "unsent"):
        shared = repository / ".dcube" / name
        shared.mkdir(parents=True, exist_ok=True)
        (folder / ".dcube" / name).symlink_to(shared)


def _discard(repository: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    git(repository, "worktree", "prune")
