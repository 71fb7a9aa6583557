"""Make a registered model again, from its origin alone, and say whether it is the same.

Nothing of it reaches the checkout, the registry or the tracking server: it happens in a working copy of its own, with
an empty MLflow database, no checkpoints and no cached results.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import distributions
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

# What a stage must not find: other people's results, services, runs. The rest of the environment is the machine's.
FOREIGN = ("DCUBE_", "MLFLOW_", "DVC_EXP_", "PREFECT_")
SHARED_STATE = ("checkpoints", "unsent")
OF_A_RUN = {str(PARAMS), str(LOCK)}  # what a run writes beside what the commit holds
PSEUDONYMS = ["file", "patient"]
COMPARED = (WEIGHTS, CONFIG, REFERENCE)  # of the candidate; its curves hold times


@dataclass(frozen=True)
class Reproduction:
    """Recorded against rebuilt.

    Attributes:
        files: file → sha256 of the registered one and of the rebuilt one.
        metrics: those of the evaluation that differ, by name.
        machine: facts of the machine and versions of packages that differ.
        folder: the working copy, which is kept where something differs.
    """

    files: dict[str, tuple[str, str]]
    metrics: dict[str, tuple[object, object]]
    machine: dict[str, tuple[str, str]]
    folder: Path

    @property
    def equal(self) -> bool:
        return all(before == after for before, after in self.files.values()) and not self.metrics


class _DiffersError(Exception):
    """Leaves the working copy standing."""


def reproduce(origin: Provenance) -> Reproduction:
    """Rebuild the version: its commit, parameters and data, every stage it needs computed anew.

    A run of the same version that was cut off goes on with its own checkpoints.

    Raises:
        DcubeError: something that is needed is missing, or a stage fails.
    """
    if origin.obstacles:
        raise DcubeError("this version cannot be reproduced: " + "; ".join(origin.obstacles))
    assert origin.params is not None
    # Its manifest names this very version: a model that is deleted and made again starts at version 1.
    manifest = origin.tag(tags.MANIFEST)[:12]
    name = f"reproduce-{origin.registry.name}-{origin.version.version}-{manifest}"
    commit = commit_of(origin.repository, origin.commit)
    try:
        with _alone(origin.repository, name):
            _remove_if_changed(origin.repository, commit, name)
            with workspace(origin.repository, commit, name, origin.params) as folder:
                _own_state(folder)
                _compute(folder, f"evaluate@{origin.model}")
                result = _compare(origin, folder)
                if not result.equal:
                    shutil.rmtree(folder / ".dcube/checkpoints")  # another attempt shall compute again, not go on
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
    """A working copy that an earlier attempt left serves again only if its commit and its files are those."""
    folder = workspaces_of(repository) / name
    if not folder.exists():
        return
    with suppress(DcubeError):
        changed = {line[3:] for line in uncommitted_files(folder)} - OF_A_RUN
        if commit_of(folder, "HEAD") == commit and not changed:
            return
    remove_workspace(repository, folder)


def _own_state(folder: Path) -> None:
    """Part with the checkpoints and the unsent reports of the repository."""
    for name in SHARED_STATE:
        state = folder / ".dcube" / name
        if state.is_symlink():
            state.unlink()
        state.mkdir(exist_ok=True)


def _compute(folder: Path, stage: str) -> None:
    """`--force` recomputes every stage, whatever the caches know; `--no-commit` leaves the caches as they are."""
    variables = {
        **read_settings().limits,  # the data may have needed higher ones
        variable_of("tracking_uri"): f"sqlite:///{folder / '.dcube/mlflow.db'}",
        variable_of("keep_checkpoints"): "1",  # forced anew, what has ended goes on with them
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
    """What the registry holds, whose hashes were just compared with the manifest, and what was rebuilt."""
    assert origin.manifest is not None
    registered, found = origin.manifest.files, {}
    for path, digest in registered[MODEL].items():
        if path.startswith("artifacts/") and Path(path).name in COMPARED:
            found[Path(path).name] = (digest, _sha256(folder / MODELS / origin.model / Path(path).name))
    before = origin.artifact(origin.version.run_id, f"{evaluation_artifacts(origin.model)}/{PREDICTIONS}") or ""
    after = (folder / EVALUATION / origin.model / PREDICTIONS).read_text(encoding="utf-8")
    return found | {f"{PREDICTIONS} without pseudonyms": (_without_pseudonyms(before), _without_pseudonyms(after))}


def _without_pseudonyms(predictions: str) -> str:
    """sha256 of the table without the columns that depend on the salt of an installation."""
    table = pd.read_csv(StringIO(predictions), dtype=str, keep_default_na=False)
    return sha256(table.drop(columns=PSEUDONYMS).to_csv(index=False).encode()).hexdigest()


def _sha256(file: Path) -> str:
    return sha256_of(file) if file.exists() else "missing"


def _same(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)  # NaN, where a resample lacked a class


def _machine_differences(origin: Provenance) -> dict[str, tuple[str, str]]:
    """What differs between the recorded machine and packages and those here."""
    here, then = lineage.lineage_tags("register"), origin.machine
    installed = {found.name: found.version for found in distributions()}
    before = dict(line.partition("==")[::2] for line in origin.packages)
    own = {package: f"{tags.VERSION}{package}" for package in lineage.PACKAGES}  # the training's
    before |= {package: then[tag] for package, tag in own.items() if tag in then}
    before |= {name: then[name] for name in (tags.MACHINE, tags.PYTHON) if name in then}
    now = installed | {name: here[name] for name in (tags.MACHINE, tags.PYTHON)}
    return {
        name.removeprefix(tags.PREFIX): (value, now.get(name, "not installed"))
        for name, value in sorted(before.items())
        if value != now.get(name)
    }
