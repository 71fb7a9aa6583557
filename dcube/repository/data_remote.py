"""The DVC remote: `DCUBE_STORAGE`, or what the repository's own settings name."""

from pathlib import Path
from typing import Any

from dcube.errors import DcubeError
from dcube.repository import dvc_internals
from dcube.repository.commands import dvc
from dcube.runtime.s3 import Storage

REMOTE = "storage"  # name of the remote that DCUBE_STORAGE makes


def remote_settings() -> dict[str, Any]:
    """DVC settings that make `DCUBE_STORAGE` the remote; none where it is not set.

    Raises:
        DcubeError: it names something else than a bucket.
    """
    storage = Storage.configured()
    if storage is None:
        return {}
    return {"core": {"remote": REMOTE}, "remote": {REMOTE: {"url": storage.address("dvc"), "verify": True}}}


def push_results(folder: Path) -> None:
    """Copy outputs and run cache to the remote, so that what was computed here is computed nowhere again."""
    dvc(folder, "push", "--quiet", "--run-cache")


def push_raw_data(repository: Path) -> int:
    """Copy the raw data that are recorded here to the remote; the number of objects that were not there.

    Raises:
        DcubeError: there is no remote, or it refuses.
    """
    with dvc_internals.open_repository(repository, remote_settings()) as repo:
        if not dvc_internals.names_remote(repo):
            raise DcubeError("no bucket to push to: set DCUBE_STORAGE and AWS_… (`source` the platform's env file)")
        return dvc_internals.push_data(repo)


def locate_data(repository: Path, digest: str) -> tuple[str, bool]:
    """Where the data with DVC's hash `digest` are, in words, and whether they are all there."""
    with dvc_internals.open_repository(repository, remote_settings()) as repo:
        if not dvc_internals.missing_objects(repo, digest, with_remote=False):
            return "complete in the cache of this repository", True
        if not dvc_internals.names_remote(repo):
            return "not in the cache of this repository, which knows no DVC remote", False
        try:
            missing = dvc_internals.missing_objects(repo, digest, with_remote=True)
        except Exception as error:  # what a remote raises depends on its kind
            return (
                f"not in the cache of this repository, and its remote does not answer ({type(error).__name__})",
                False,
            )
    if missing:
        return f"{len(missing)} objects are neither in the cache of this repository nor in its remote", False
    return "complete in the DVC remote", True
