"""Facts about a version's origin that a clone still has: the commit and the data.

Each function yields pairs of name and value, and adds obstacles to `found`.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dcube.errors import DcubeError
from dcube.registry.provenance import Provenance
from dcube.repository.commands import git
from dcube.repository.data_record import recorded_data
from dcube.repository.data_remote import locate_data
from dcube.tracking import lineage, tags
from dcube.tracking.code_revision import is_code


def code(found: Provenance) -> Iterator[tuple[str, str]]:
    yield "commit", found.commit
    yield "package (sha256)", found.tag(tags.CODE)
    if found.commit == "none":
        return found.obstacle("the model was made outside git: no commit holds its code")
    try:
        yield "commit says", git(found.repository, "show", "--no-patch", "--format=%ci %s", found.commit, "--")
    except DcubeError:
        return found.obstacle(f"commit {found.commit} is not in {found.repository}: `git fetch` it")
    changed = found.tag(tags.UNCOMMITTED)
    yield "not committed", changed
    if fingerprint_at(found.repository, found.commit) != found.tag(tags.CODE):
        found.obstacle(f"the code is in no commit: at registration, {changed} differed from commit {found.commit}")
    elif "dvc.yaml" in changed.split(", "):
        found.obstacle(f"the graph is in no commit: at registration, dvc.yaml differed from commit {found.commit}")
    return None


def data(found: Provenance) -> Iterator[tuple[str, str]]:
    digest = found.tag(tags.DATA)
    yield "raw data (DVC)", digest
    yield "prepared (fingerprint)", found.tag(tags.DATASET)
    yield "test (fingerprint)", found.tag(tags.TEST)
    if digest == "none":
        return found.obstacle("the raw data were not tracked by DVC")
    where, complete = locate_data(found.repository, digest)
    yield "raw data are", where
    if not complete:
        found.obstacle(f"the raw data {digest} are {where}: `dvc push` them where they were added")
    with suppress(DcubeError):  # if the commit records no data, there is nothing to compare with
        if (recorded := recorded_data(found.repository, found.commit)) != digest:
            found.obstacle(f"data.dvc of commit {found.commit} records other data ({recorded}): it was not committed")
    return None


def fingerprint_at(repository: Path, commit: str) -> str:
    """Return `lineage.code_fingerprint` of the package at a commit."""
    start = "dcube/"
    blobs = {}
    for line in git(repository, "ls-tree", "-r", "-z", commit, "--", start).split("\0"):
        if is_code(line):
            description, _, path = line.partition("\t")
            blobs[path.removeprefix(start)] = description.split()[2]
    return lineage.fingerprint_of(blobs)
