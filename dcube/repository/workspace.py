"""An own working copy for every run: a git worktree that shares the DVC cache and the checkpoints.

The checkout that people work in is only read.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.stage import Stage
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from filelock import FileLock
from voluptuous import Invalid

from dcube.errors import DcubeError

DATA_RECORD = "data.dvc"
STORAGE = "storage"  # name of the DVC remote that DCUBE_STORAGE makes


def repository_around(folder: Path) -> Path:
    """The root of the git and DVC repository that `folder` lies in."""
    root = Path(git(folder, "rev-parse", "--show-toplevel"))
    if not (root / ".dvc").is_dir():
        raise DcubeError(f"{root} is no DVC repository: run `dvc init` there")
    return root


def uncommitted_files(repository: Path) -> list[str]:
    """Files that differ from the last commit, which is all that a workspace gets."""
    return git(repository, "status", "--porcelain", "--untracked-files=normal").splitlines()


def commit_of(repository: Path, revision: str) -> str:
    """The commit that `revision` (commit, branch or tag) names now."""
    try:
        return git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except DcubeError:
        raise DcubeError(f"revision {revision!r} is unknown in {repository}: fetch it, or check its name") from None


@contextmanager
def workspace(
    repository: Path, commit: str, name: str, params: str, data_record: bytes | None = None
) -> Iterator[Path]:
    """Give the working copy called `name`: `commit` of `repository` with its data and with `params` (YAML).

    `data_record` is a `data.dvc` to take instead of the commit's.

    The same name finds the same working copy again, so that a rescheduled run goes on where it was. It is removed
    on success and kept on failure.

    Raises:
        DcubeError: where the data are not what the commit records.
    """
    folder = workspaces_of(repository) / name
    if not _config_of(folder).exists():
        _create(repository, commit, folder)
    remove_torn_files(folder)
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    if data_record is not None:
        (folder / DATA_RECORD).write_bytes(data_record)
    _restore_data(folder)
    yield folder
    remove_workspace(repository, folder)


def remove_torn_files(folder: Path) -> None:
    """What a killed DVC or git has left half-written, or locked, in a working copy that nobody else works in."""
    Path(git(folder, "rev-parse", "--path-format=absolute", "--git-path", "index.lock").strip()).unlink(missing_ok=True)
    (folder / ".dvc/tmp/rwlock").unlink(missing_ok=True)
    lock = folder / "dvc.lock"
    try:
        if lock.exists():
            COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lock.read_bytes()))
    except (yaml.YAMLError, UnicodeDecodeError, Invalid):
        lock.unlink()  # what it said of finished stages the run cache knows


def workspaces_of(repository: Path) -> Path:
    """Where the working copies stand: `DCUBE_WORKSPACES`, or a folder of the repository that git ignores."""
    return Path(os.environ.get("DCUBE_WORKSPACES") or repository / ".dcube/workspaces").absolute()


def save_experiment(repository: Path, folder: Path, name: str, stages: list[str]) -> None:
    """Keep code, parameters and the results of `stages` as the DVC experiment `name` of `repository`."""
    with _locked(repository):  # concurrent saves of one repository collide
        dvc(folder, "exp", "save", "--force", "--name", name, *stages)


def has_remote(folder: Path) -> bool:
    """Whether results can be shared with other machines."""
    return bool(Config(str(folder / ".dvc"))["core"].get("remote"))


def push_results(folder: Path) -> None:
    """Copy outputs and run cache to the DVC remote, so that what was computed here is computed nowhere again."""
    dvc(folder, "push", "--quiet", "--run-cache")


def remove_workspace(repository: Path, folder: Path) -> None:
    with _locked(repository):
        _discard(repository, folder)


@contextmanager
def dvc_errors_in_one_line(prefix: str = "") -> Iterator[None]:
    try:
        yield
    except DvcException as error:
        raise DcubeError(prefix + " ".join(str(error).split())) from None
    except sqlite3.OperationalError as error:  # a full disk, for example
        raise DcubeError(f"{prefix}DVC's own database: {error}") from None


def git(folder: Path, *arguments: str) -> str:
    # Hooks belong to the people who work in the checkout; optional locks would rewrite its index.
    command = ["git", "-c", "core.hooksPath=/dev/null", "--no-optional-locks", *arguments]
    return _output_of(command, folder)


def dvc(folder: Path, *arguments: str) -> str:
    return _output_of([sys.executable, "-m", "dvc", *arguments], folder)


def _output_of(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        raise DcubeError(f"`{' '.join(command[-4:])}` failed in {folder}: {reason}")
    return done.stdout.rstrip("\n")


def _locked(repository: Path) -> FileLock:
    common = repository / git(repository, "rev-parse", "--git-common-dir")
    return FileLock(common / "dcube.lock")


def _create(repository: Path, commit: str, folder: Path) -> None:
    with _locked(repository):
        _discard(repository, folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        git(repository, "worktree", "add", "--quiet", "--detach", str(folder), commit)
    if not (folder / ".dvc").is_dir():
        raise DcubeError(f"commit {commit} holds no DVC repository: commit .dvc first")
    _share_state(repository, folder)
    _share_cache(repository, folder)  # last: its file marks the working copy as complete


def _config_of(folder: Path) -> Path:
    return folder / ".dvc" / Config.CONFIG_LOCAL


def _share_cache(repository: Path, folder: Path) -> None:
    """Give the working copy the repository's DVC settings, relative paths resolved where they were written."""
    settings = Config(str(repository / ".dvc")).read()
    settings["cache"].setdefault("dir", str(repository / ".dvc/cache"))
    if storage := os.environ.get("DCUBE_STORAGE"):
        settings["core"]["remote"] = STORAGE
        settings["remote"][STORAGE] = {"url": f"{storage}/dvc"}
    with Config(str(folder / ".dvc")).edit("local") as local:
        local.update(settings)
        local["core"]["autostage"] = True  # dvc.lock belongs to the experiment; without it DVC asks to add it
    _config_of(folder).chmod(0o600)  # may hold credentials


def _share_state(repository: Path, folder: Path) -> None:
    """Checkpoints are keyed by all that defines a training, unsent metrics by their run: both are safe to share."""
    (folder / ".dcube").mkdir(exist_ok=True)
    for name in ("checkpoints", "unsent"):
        shared = repository / ".dcube" / name
        shared.mkdir(parents=True, exist_ok=True)
        (folder / ".dcube" / name).symlink_to(shared)


def _restore_data(folder: Path) -> None:
    """Bring the data that `.dvc` files record, from the cache or the remote, and compare every byte with the record.

    `dvc repro` would rewrite the record instead, and DVC trusts the cache that a checkout came from.
    """
    with dvc_errors_in_one_line(), Repo(str(folder)) as repo:
        for source in repo.index.stages:
            if source.is_data_source:
                _restore(repo, source)
                _verify(source)


def _restore(repo: Repo, source: Stage) -> None:
    fetch = repo.pull if repo.config["core"].get("remote") else repo.checkout
    mend = "`dcube data add` them here, or `dvc push` them where they were added"
    with dvc_errors_in_one_line(f"the data of {source.path_in_repo} cannot be restored ({mend}): "):
        fetch(targets=[source.path])


def _verify(source: Stage) -> None:
    for out in source.outs:
        untrusting = HashFileDB(out.fs, out.cache.path)  # holds no remembered hashes
        _, _, found = build(untrusting, out.fs_path, out.fs, out.hash_name, ignore=out.dvcignore, dry_run=True)
        if found.hash_info != out.hash_info:
            raise DcubeError(
                f"{out.fs_path} is not what {source.relpath} records ({found.hash_info.value} instead of "
                f"{out.hash_info.value}): remove the damaged copy from the cache, then add or pull the data again"
            )


def _discard(repository: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    git(repository, "worktree", "prune")
