"""The DVC remote: `DCUBE_STORAGE` if it is set, otherwise the remote in the repository's own settings."""

from pathlib import Path
from typing import Any

from dcube.errors import DcubeError
from dcube.repository import dvc_internals
from dcube.repository.commands import dvc
from dcube.runtime.s3 import Storage

REMOTE = "storage"  # name of the remote for DCUBE_STORAGE


def remote_settings() -> dict[str, Any]:
    """Return DVC settings with `DCUBE_STORAGE` as the remote, or no settings if it is not set.

    Raises:
        DcubeError: if `DCUBE_STORAGE` is not the address of a bucket.
    """
    storage = Storage.configured()
    if storage is None:
        return {}
    return {"core": {"remote": REMOTE}, "remote": {REMOTE: {"url": storage.address("dvc"), "verify": True}}}


def push_results(folder: Path) -> None:
    """Copy outputs and run cache to the remote, so that other machines need not compute these results again."""
    dvc(folder, "push", "--quiet", "--run-cache")


def push_raw_data(repository: Path) -> int:
    """Copy the raw data that are recorded here to the remote, and return the number of new objects.

    Raises:
        DcubeError: if there is no remote, or if the push fails.
    """
    with dvc_internals.open_repository(repository, remote_settings()) as repo:
        if not dvc_internals.names_remote(repo):
            raise DcubeError("no bucket to push to: set DCUBE_STORAGE and AWS_… (`source` the platform's env file)")
        return dvc_internals.push_data(repo)


def locate_data(repository: Path, digest: str) -> tuple[str, bool]:
    """Describe where the data with DVC's hash `digest` are, and return whether they are complete."""
    with dvc_internals.open_repository(repository, remote_settings()) as repo:
        if not dvc_internals.missing_objects(repo, digest, with_remote=False):
            return "complete in the cache of this repository", True
        if not dvc_internals.names_remote(repo):
            return "not in the cache of this repository, which knows no DVC remote", False
        try:
            missing = dvc_internals.missing_objects(repo, digest, with_remote=True)
        except Exception as error:  # the type of error depends on the kind of remote
            return (
                f"not in the cache of this repository, and its remote does not answer ({type(error).__name__})",
                False,
            )
    if missing:
        return f"{len(missing)} objects are neither in the cache of this repository nor in its remote", False
    return "complete in the DVC remote", True
