"""Rebuild a registered model from its recorded origin, and compare the result with the registered one.

The rebuild has its own working copy with an empty MLflow database, no checkpoints and no cached results. It changes
nothing in the checkout, the registry or the tracking server.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from dcube.artifacts.checksums import sha256_of
from dcube.artifacts.layout import (
    CONFIG,
    EVALUATION,
    LOCK,
    METRICS_FILE,
    MODELS,
    PARAMS,
    PREDICTIONS,
    REFERENCE,
    WEIGHTS,
)
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.loading import flattened
from dcube.errors import DcubeError
from dcube.registry.provenance import Provenance
from dcube.registry.versions import evaluation_artifacts
from dcube.repository.commands import commit_of, uncommitted_files
from dcube.repository.repro import repro
from dcube.repository.workspace import remove_workspace, workspace, workspaces_of
from dcube.runtime.settings import read_settings, variable_of
from dcube.tracking import lineage, tags
from dcube.tracking.verification import MODEL

# Variables that point to services, runs or results of others; stages must not get them.
FOREIGN = ("DCUBE_", "MLFLOW_", "DVC_EXP_", "PREFECT_")
SHARED_STATE = ("checkpoints", "unsent")
OF_A_RUN = {str(PARAMS), str(LOCK)}  # tracked files that a run itself changes
PSEUDONYMS = ["file", "patient"]
COMPARED = (WEIGHTS, CONFIG, REFERENCE)  # files of the candidate; its curves contain times and always differ


@dataclass(frozen=True)
class Reproduction:
    """Comparison of the registered with the rebuilt version.

    Attributes:
        files: file → sha256 of the registered and of the rebuilt file.
        metrics: name → registered and rebuilt value, for metrics of the evaluation that differ.
        machine: name → recorded and present value, for hardware and package versions that differ.
        folder: working copy, which is kept if files or metrics differ.
    """

    files: dict[str, tuple[str, str]]
    metrics: dict[str, tuple[object, object]]
    machine: dict[str, tuple[str, str]]
    folder: Path

    @property
    def equal(self) -> bool:
        return all(before == after for before, after in self.files.values()) and not self.metrics


class _DiffersError(Exception):
    """Raised inside the block of `workspace`, so that it keeps the working copy."""


def reproduce(origin: Provenance) -> Reproduction:
    """Rebuild the version from its commit, parameters and data, and compute all stages that it needs again.

    An interrupted rebuild of the same version continues from its own checkpoints.

    Raises:
        DcubeError: if the origin has obstacles, if the version is being reproduced already, or if a stage fails.
    """
    if (study := origin.version.tags.get(tags.ENSEMBLE)) is not None:
        raise DcubeError(
            f"this version is an ensemble, which no single pipeline makes: `{study}` at commit {origin.commit} "
            "computes its members again"
        )
    if origin.obstacles:
        raise DcubeError("this version cannot be reproduced: " + "; ".join(origin.obstacles))
    assert origin.params is not None
    # The manifest's hash is part of the name, because version numbers start at 1 again for a deleted and new model.
    manifest = origin.tag(tags.MANIFEST)[:12]
    name = f"reproduce-{origin.registered_model.name}-{origin.version.version}-{manifest}"
    commit = commit_of(origin.repository, origin.commit)
    try:
        with _alone(origin.repository, name):
            _remove_if_changed(origin.repository, commit, name)
            with workspace(origin.repository, commit, name, origin.params) as folder:
                _own_state(folder)
                _compute(folder, f"evaluate@{origin.model}")
                result = _compare(origin, folder)
                if not result.equal:
                    shutil.rmtree(folder / ".dcube/checkpoints")  # the next attempt must start again, not continue
                    raise _DiffersError
    except _DiffersError:
        pass
    return result


@contextmanager
def _alone(repository: Path, name: str) -> Iterator[None]:
    lock = repository / ".dcube" / f"{name}.lock"
    lock.parent.mkdir(exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise DcubeError(f"this version is being reproduced already ({lock}): wait until that has ended") from None


def _remove_if_changed(repository: Path, commit: str, name: str) -> None:
    """Remove the working copy of an earlier attempt, unless it is at this commit and without other changes."""
    folder = workspaces_of(repository) / name
    if not folder.exists():
        return
    with suppress(DcubeError):
        changed = {line[3:] for line in uncommitted_files(folder)} - OF_A_RUN
        if commit_of(folder, "HEAD") == commit and not changed:
            return
    remove_workspace(repository, folder)


def _own_state(folder: Path) -> None:
    """Replace links to the repository's checkpoints and unsent reports by own folders."""
    for name in SHARED_STATE:
        state = folder / ".dcube" / name
        if state.is_symlink():
            state.unlink()
        state.mkdir(exist_ok=True)


def _compute(folder: Path, stage: str) -> None:
    """Recompute every stage regardless of caches (`--force`), and leave the caches unchanged (`--no-commit`)."""
    variables = {
        **read_settings().limits,  # the data may need higher limits than the defaults
        variable_of("tracking_uri"): f"sqlite:///{folder / '.dcube/mlflow.db'}",
        variable_of("keep_checkpoints"): "1",  # so that another attempt does not repeat trainings that have ended
    }
    result = repro(stage, folder, ["--force", "--no-commit"], variables, without=FOREIGN)
    if result.failed:
        raise DcubeError(f"{stage} could not be computed again: {result.reason} (working copy: {folder})")


def _compare(origin: Provenance, folder: Path) -> Reproduction:
    rebuilt = Metrics.load(folder / EVALUATION / origin.model / METRICS_FILE)
    assert origin.metrics is not None
    before, after = (flattened(it.model_dump(exclude={"weights_sha256"})) for it in (origin.metrics, rebuilt))
    return Reproduction(
        files=_compared_files(origin, folder),
        metrics={
            name: (before.get(name), after.get(name))
            for name in sorted(before.keys() | after.keys())
            if not _same(before.get(name), after.get(name))
        },
        machine=_machine_differences(origin),
        folder=folder,
    )


def _compared_files(origin: Provenance, folder: Path) -> dict[str, tuple[str, str]]:
    """Return file → sha256 of the registered file (from the verified manifest) and of the rebuilt one."""
    assert origin.manifest is not None
    registered, found = origin.manifest.files, {}
    for path, digest in registered[MODEL].items():
        if path.startswith("artifacts/") and Path(path).name in COMPARED:
            found[Path(path).name] = (digest, _sha256(folder / MODELS / origin.model / Path(path).name))
    before = origin.artifact(origin.version.run_id, f"{evaluation_artifacts(origin.model)}/{PREDICTIONS}") or ""
    after = (folder / EVALUATION / origin.model / PREDICTIONS).read_text(encoding="utf-8")
    return found | {f"{PREDICTIONS} without pseudonyms": (_without_pseudonyms(before), _without_pseudonyms(after))}


def _without_pseudonyms(predictions: str) -> str:
    """Return the sha256 of the table without the columns that depend on an installation's salt."""
    table = pd.read_csv(StringIO(predictions), dtype=str, keep_default_na=False)
    return sha256(table.drop(columns=PSEUDONYMS).to_csv(index=False).encode()).hexdigest()


def _sha256(file: Path) -> str:
    return sha256_of(file) if file.exists() else "missing"


def _same(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)  # NaN, if a resample had no image of a class


def _machine_differences(origin: Provenance) -> dict[str, tuple[str, str]]:
    """Return name → recorded and present value, for hardware and packages that differ."""
    here, then = lineage.lineage_tags("register"), origin.machine
    before = dict(line.partition("==")[::2] for line in origin.packages)
    own = {package: f"{tags.VERSION}{package}" for package in lineage.PACKAGES}  # tags of the training run
    before |= {package: then[tag] for package, tag in own.items() if tag in then}
    before |= {name: then[name] for name in (tags.MACHINE, tags.PYTHON) if name in then}
    now = lineage.installed_packages() | {name: here[name] for name in (tags.MACHINE, tags.PYTHON)}
    return {
        name.removeprefix(tags.PREFIX): (value, now.get(name, "not installed"))
        for name, value in sorted(before.items())
        if value != now.get(name)
    }
