"""Make a registered model again, from its origin alone, and say whether it is the same.

Nothing of it reaches the checkout, the registry or the tracking server: it happens in a working copy of its own, with
an empty MLflow database, no checkpoints and no cached results.
"""

import shutil
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from dcube.artifacts.layout import EVALUATION, METRICS_FILE
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.loading import flattened
from dcube.errors import DcubeError
from dcube.registry.provenance import Provenance
from dcube.repository.commands import commit_of
from dcube.repository.repro import repro
from dcube.repository.workspace import workspace
from dcube.tracking import lineage, tags
from dcube.tracking.mlflow_client import version_number

# What a stage must not find: other people's results, services, runs. The rest of the environment is the machine's.
FOREIGN = ("DCUBE_", "MLFLOW_", "DVC_EXP_", "PREFECT_")
OWN_STATE = ("checkpoints", "unsent")


@dataclass(frozen=True)
class Reproduction:
    """Recorded against rebuilt.

    Attributes:
        weights: sha256 of both.
        metrics: those of the evaluation that differ, by name.
        machine: facts of the machine and versions of packages that differ.
        folder: the working copy, which is kept where something differs.
    """

    weights: tuple[str, str]
    metrics: dict[str, tuple[object, object]]
    machine: dict[str, tuple[str, str]]
    folder: Path

    @property
    def equal(self) -> bool:
        return self.weights[0] == self.weights[1] and not self.metrics


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
    name = f"reproduce-{origin.registry.name}-{version_number(origin.version)}"
    commit = commit_of(origin.repository, origin.commit)
    try:
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


def _own_state(folder: Path) -> None:
    """Part with the checkpoints and the unsent reports of the repository."""
    for name in OWN_STATE:
        state = folder / ".dcube" / name
        if state.is_symlink():
            state.unlink()
        state.mkdir(exist_ok=True)


def _compute(folder: Path, stage: str) -> None:
    """`--force` recomputes every stage, whatever the caches know; `--no-commit` leaves the caches as they are."""
    variables = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / '.dcube/mlflow.db'}",
        "DCUBE_KEEP_CHECKPOINTS": "1",  # forced anew, what has ended goes on with them
    }
    result = repro(stage, folder, ["--force", "--no-commit"], variables, without=FOREIGN)
    if result.failed:
        raise DcubeError(f"{stage} could not be computed again: {result.reason} (working copy: {folder})")


def _compare(origin: Provenance, folder: Path) -> Reproduction:
    rebuilt = Metrics.load(folder / EVALUATION / origin.model / METRICS_FILE)
    assert origin.metrics is not None
    before, after = (flattened(it.model_dump(exclude={"weights_sha256"})) for it in (origin.metrics, rebuilt))
    return Reproduction(
        weights=(origin.tag(tags.WEIGHTS), rebuilt.weights_sha256),
        metrics={
            name: (before.get(name), after.get(name))
            for name in sorted(before.keys() | after.keys())
            if not _same(before.get(name), after.get(name))
        },
        machine=_machine_differences(origin),
        folder=folder,
    )


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
        name.removeprefix(tags.OWN): (value, now.get(name, "not installed"))
        for name, value in sorted(before.items())
        if value != now.get(name)
    }
