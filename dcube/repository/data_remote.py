"""Are the bytes that DVC recorded under a hash still somewhere?"""

import json
import os
from pathlib import Path

from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB

from dcube.repository.workspace import STORAGE


def whereabouts(repository: Path, digest: str) -> tuple[str, bool]:
    """Where the data with DVC's hash `digest` are, in words, and whether they are all there."""
    with Repo(str(repository), config=_settings()) as repo:
        cache = repo.cache.local
        if not _missing([cache], digest):
            return "complete in the cache of this repository", True
        if not repo.config["core"].get("remote"):
            return "not in the cache of this repository, which knows no DVC remote", False
        try:
            missing = _missing([cache, repo.cloud.get_remote_odb()], digest)
        except Exception as error:  # what a remote raises depends on its kind
            return (
                f"not in the cache of this repository, and its remote does not answer ({type(error).__name__})",
                False,
            )
    if missing:
        return f"{len(missing)} objects are neither in the cache of this repository nor in its remote", False
    return "complete in the DVC remote", True


def _missing(stores: list[HashFileDB], digest: str) -> set[str]:
    """Of the object and, if it lists a folder, of the objects in it, those that no store has."""
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


def _settings() -> dict:
    storage = os.environ.get("DCUBE_STORAGE")
    return {"core": {"remote": STORAGE}, "remote": {STORAGE: {"url": f"{storage}/dvc"}}} if storage else {}
