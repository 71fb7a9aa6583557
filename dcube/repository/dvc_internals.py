"""Uses of DVC beyond its command line: the only module that imports DVC, and that an upgrade of DVC can break.

`docs/architecture.md` lists these uses and the version of DVC with which they were checked.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.stage import PipelineStage, Stage
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from voluptuous import Invalid

from dcube.artifacts.layout import GRAPH
from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError


@contextmanager
def dvc_errors_in_one_line(prefix: str = "") -> Iterator[None]:
    try:
        yield
    except DvcException as error:
        raise DcubeError(prefix + " ".join(str(error).split())) from None
    except sqlite3.OperationalError as error:  # a full disk, for example
        raise DcubeError(f"{prefix}DVC's own database: {error}") from None


@contextmanager
def open_repository(folder: Path, config: dict[str, Any] | None = None, commit: str | None = None) -> Iterator[Repo]:
    """Open the repository in `folder`; `config` overrides its own settings. DVC's errors become `DcubeError`.

    Args:
        commit: commit to look at instead of the files in `folder`.
    """
    with dvc_errors_in_one_line(), Repo(str(folder), config=config or {}, rev=commit) as repo:
        with suppress(PermissionError, FileNotFoundError):  # of another user with the same name; not made yet
            Path(repo.site_cache_dir).chmod(0o700)
        yield repo


def hide_names_of_files(folder: Path) -> None:
    """Let only this user read DVC's databases of the repository in `/var/tmp`, which contain names of raw files.

    DVC creates their folder when a repository is opened, and keeps its permissions.
    """
    with open_repository(folder):
        pass


# --- the graph


@dataclass(frozen=True)
class PlannedStage:
    """A stage as in `dvc.yaml`, with absolute paths."""

    name: str
    description: str | None
    meta: dict[str, Any]
    reads: tuple[Path, ...]
    frozen: bool


def planned_stages(repo: Repo, targets: Sequence[str]) -> list[PlannedStage]:
    """Return all stages, or `targets` and their dependencies, in the order in which `dvc repro` runs them."""
    graph_file = Path(repo.root_dir) / GRAPH
    chosen = [stage for target in targets for stage in repo.stage.collect(f"{graph_file}:{target}")]
    plan = plan_repro(get_active_graph(repo.index.graph), chosen or None)
    return [
        PlannedStage(
            stage.name, stage.desc, stage.meta or {}, tuple(Path(dep.fs_path) for dep in stage.deps), stage.frozen
        )
        for stage in plan
        if isinstance(stage, PipelineStage)
    ]


def outputs(repo: Repo) -> list[Path]:
    """Return the absolute paths of the outputs of all stages and all `.dvc` files."""
    return [Path(out.fs_path) for out in repo.index.outs]


# --- settings


def local_settings_file(folder: Path) -> Path:
    return folder / ".dvc" / Config.CONFIG_LOCAL


def has_remote(folder: Path) -> bool:
    """Return whether the repository has a remote, with which results can be shared with other machines."""
    return bool(Config(str(folder / ".dvc"))["core"].get("remote"))


def copy_settings(repository: Path, folder: Path, changed: dict[str, Any]) -> None:
    """Give a workspace the repository's settings and cache, with relative paths resolved against the repository."""
    settings = Config(str(repository / ".dvc")).read()
    settings["cache"].setdefault("dir", str(repository / ".dvc/cache"))
    for section, values in changed.items():
        settings[section].update(values)
    for remote in settings["remote"].values():
        remote["verify"] = True  # by default DVC does not check the hashes of downloaded objects
    with Config(str(folder / ".dvc")).edit("local") as local:
        local.update(settings)
        local["core"]["autostage"] = True  # adds dvc.lock, which belongs to the experiment, to git
        local["core"]["site_cache_dir"] = str(folder / ".dvc/tmp/site")  # by default where all users may write
    local_settings_file(folder).chmod(0o600)  # it may contain credentials


def is_lock_file(content: bytes) -> bool:
    """Return whether the content is a complete `dvc.lock`."""
    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(content, "dvc.lock"))
    except (DcubeError, Invalid):
        return False
    return True


def locks_held(folder: Path) -> list[tuple[int, str]] | None:
    """Return process id and command of every DVC process, living or killed, that holds a lock in the working copy.

    Return None if the file of locks is damaged.
    """
    try:
        rwlock = json.loads((folder / ".dvc/tmp/rwlock").read_text(encoding="utf-8"))
        readers = [reader for path in rwlock.get("read", {}).values() for reader in path]
        entries = [*rwlock.get("write", {}).values(), *readers]
        return [(int(entry["pid"]), str(entry["cmd"])) for entry in entries]
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError, TypeError, KeyError):
        return None


# --- data


def restore_data(folder: Path) -> None:
    """Restore the data that `.dvc` files record from cache or remote, and compare every byte with the record.

    This is necessary, because `dvc repro` would rewrite the record of changed data, and DVC trusts its cache.
    """
    with open_repository(folder) as repo:
        for source in repo.index.stages:
            if source.is_data_source:
                _restore(repo, source)
                _verify(source)


def push_data(repo: Repo) -> int:
    """Copy the data that `.dvc` files record to the remote, and return the number of new objects."""
    with dvc_errors_in_one_line("the data cannot be pushed: "):
        return repo.push(targets=[source.path_in_repo for source in repo.index.stages if source.is_data_source])


def fetch(repo: Repo, commit: str) -> None:
    """Download the outputs of a commit from the remote into the cache."""
    with dvc_errors_in_one_line("the outputs cannot be fetched: "):
        repo.fetch(revs=[commit], workspace=False)


def copy_files(repo: Repo, paths: Sequence[Path], folder: Path) -> None:
    """Copy files and folders of the opened commit into `folder`, outputs from the cache or else from the remote.

    Raises:
        DcubeError: if a path is not in the commit, or an output is in neither store.
    """
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            repo.dvcfs.get(f"/{path.as_posix()}", str(folder / path), recursive=True)
        except OSError as error:
            raise DcubeError(
                f"{path} is neither in DVC's cache nor in a remote: {' '.join(str(error).split())}"
            ) from None


def names_remote(repo: Repo) -> bool:
    return bool(repo.config["core"].get("remote"))


def missing_objects(repo: Repo, digest: str, with_remote: bool) -> set[str]:
    """Return the missing ones among an object and, for a folder, the objects in it.

    Args:
        with_remote: whether to search the remote in addition to the cache.
    """
    stores: list[HashFileDB] = [repo.cache.local, *([repo.cloud.get_remote_odb()] if with_remote else [])]
    holder = next((store for store in stores if store.exists(digest)), None)
    if holder is None:
        return {digest}
    if not digest.endswith(".dir"):
        return set()
    listing = json.loads(holder.fs.cat_file(holder.oid_to_path(digest)))
    missing = {entry["md5"] for entry in listing}
    for store in stores:
        missing -= set(store.oids_exist(list(missing)))
    return missing


def _restore(repo: Repo, source: Stage) -> None:
    fetch = repo.pull if names_remote(repo) else repo.checkout
    mend = "`dcube data add` them here, or `dvc push` them where they were added"
    with dvc_errors_in_one_line(f"the data of {source.path_in_repo} cannot be restored ({mend}): "):
        fetch(targets=[source.path])


def _verify(source: Stage) -> None:
    for out in source.outs:
        untrusting = HashFileDB(out.fs, out.cache.path)  # without remembered hashes, every file is hashed again
        _, _, found = build(untrusting, out.fs_path, out.fs, out.hash_name, ignore=out.dvcignore, dry_run=True)
        if found.hash_info != out.hash_info:
            raise DcubeError(
                f"{out.fs_path} is not what {source.relpath} records ({found.hash_info.value} instead of "
                f"{out.hash_info.value}): remove the damaged copy from the cache, then add or pull the data again"
            )
