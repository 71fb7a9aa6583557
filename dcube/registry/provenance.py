"""From a registered version back to everything that made it, and what of that is missing or was changed."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx
from mlflow.exceptions import MlflowException

from dcube.artifacts.layout import DIFFUSION, METRICS_FILE
from dcube.artifacts.schemas.manifest import VersionManifest
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.loading import flattened
from dcube.config.schema import Params
from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError
from dcube.evaluation.metrics import HEADLINES
from dcube.registry.external_tags import unconfirmed_external_tests
from dcube.registry.version import Version
from dcube.registry.versions import Registry, evaluation_artifacts
from dcube.repository.commands import git
from dcube.repository.data_record import recorded_data
from dcube.repository.data_remote import locate_data
from dcube.runtime.settings import read_settings
from dcube.tracking import lineage, tags
from dcube.tracking.downloads import download
from dcube.tracking.mlflow_client import is_missing

if TYPE_CHECKING:
    from mlflow.entities import Run

RUNS = {
    tags.DIFFUSION_RUN: "diffusion training",
    tags.TRAINING_RUN: "training",
    tags.EVALUATION_RUN: "evaluation",
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass
class Provenance:
    """What is known about a version's origin.

    Attributes:
        facts: group → name → value.
        gaps: what cannot be found any more or was changed, a sentence each.
        obstacles: those gaps that keep the version from being made again.
        compared: what of the version was compared with its manifest, in words.
        manifest: what was registered; None where that is unknown.
    """

    registry: Registry
    version: Version
    repository: Path
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    compared: str = ""
    manifest: VersionManifest | None = None

    @property
    def model(self) -> str:
        """The candidate's name in the pipeline."""
        return self.tag(tags.MODEL)

    @property
    def commit(self) -> str:
        return self.tag(tags.COMMIT)

    def tag(self, name: str) -> str:
        return self.version.tags.get(name, "none")

    def artifact(self, run_id: str, path: str) -> str | None:
        """Text of a file that a run holds; None where it is gone."""
        with TemporaryDirectory() as folder:
            file = Path(folder, "artifact")
            there = download(self.registry.client, f"runs:/{run_id}/{path}", file)
            return file.read_text(encoding="utf-8") if there else None

    @cached_property
    def params(self) -> str | None:
        """`params.yaml` as it was."""
        return self.artifact(self.version.registration_run_id, f"{lineage.ORIGIN}/{lineage.PARAMS}")

    @cached_property
    def metrics(self) -> Metrics | None:
        """As they were."""
        path = f"{evaluation_artifacts(self.model)}/{METRICS_FILE}"
        text = self.artifact(self.version.run_id, path)
        return None if text is None else Metrics.parse(text, f"{path} of run {self.version.run_id}")

    @cached_property
    def packages(self) -> list[str]:
        return (self.artifact(self.version.registration_run_id, f"{lineage.ORIGIN}/packages.txt") or "").split()

    @cached_property
    def runs(self) -> "dict[str, Run]":
        """The runs that MLflow still has, by what they did."""
        return {what: run for tag, what in RUNS.items() if (run := self.run_of(self.tag(tag)))}

    @property
    def machine(self) -> dict[str, str]:
        """What the training ran on."""
        run = self.runs.get("training") or self.run_of(self.version.registration_run_id)
        known = run.data.tags if run else {}
        return {name: value for name, value in known.items() if name == tags.MACHINE or name.startswith(tags.VERSION)}

    def run_of(self, run_id: str) -> "Run | None":
        try:
            run = self.registry.client.get_run(run_id)
        except MlflowException as error:
            if not is_missing(error):
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None


def trace(registry: Registry, version: Version, repository: Path) -> Provenance:
    """Follow every trace of a version; `repository` is the clone in which commit and data are looked for."""
    found = Provenance(registry, version, repository)
    for group, look in (
        ("registered", _registered),
        ("model", _model),
        ("parents", _parents),
        ("runs", _runs),
        ("code", _code),
        ("data", _data),
        ("parameters", _parameters),
        ("DVC outputs", _outputs),
        ("machine", _machine),
    ):
        try:
            found.facts[group] = dict(look(found))
        except DcubeError as error:
            if not found.obstacles:  # else it is told below what was changed, of which this is a consequence
                raise
            found.facts[group] = {}
            found.gaps.append(str(error))
    return found


def _registered(found: Provenance) -> Iterator[tuple[str, str]]:
    """Whether it is still what was registered."""
    with TemporaryDirectory() as folder:
        verified = found.registry.verified(found.version, Path(folder))
    found.compared, found.manifest = verified.compared, verified.manifest
    yield "compared with the manifest", verified.compared
    yield "manifest (sha256)", found.tag(tags.MANIFEST)
    for problem in verified.problems:
        _obstacle(found, f"it is not what was registered: {problem}")
    if moved := found.registry.champion_moved_by_hand():
        found.gaps.append(moved)
    found.gaps += unconfirmed_external_tests(found.registry, found.version)


def _model(found: Provenance) -> Iterator[tuple[str, str]]:
    version = found.version
    held = sorted(alias for alias, which in found.registry.aliases().items() if which == version.version)
    yield "version", f"{found.registry.name}/{version.version}"
    yield "aliases", ", ".join(held) or "none"
    yield "candidate", f"{found.model} ({found.tag(tags.KIND)})"
    yield "registered", f"{datetime.fromtimestamp(version.creation_timestamp / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    yield (
        "test",
        ", ".join(
            f"{metric.label} {found.version.metrics.get(tags.TEST_METRIC + metric.name, float('nan')):.3f}"
            for metric in HEADLINES
        ),
    )
    yield "weights (sha256)", found.tag(tags.WEIGHTS)
    yield "evaluation (sha256)", found.tag(tags.EVALUATION)
    if found.metrics is None:
        _obstacle(found, f"the evaluation's metrics are gone from run {found.version.run_id}: nothing to compare with")


def _parents(found: Provenance) -> Iterator[tuple[str, str]]:
    if (weights := found.version.tags.get(tags.DIFFUSION_WEIGHTS)) is not None:
        yield "diffusion weights (sha256)", weights
        yield "diffusion weights (DVC)", found.tag(f"{tags.DVC}{DIFFUSION}")


def _runs(found: Provenance) -> Iterator[tuple[str, str]]:
    for tag, what in RUNS.items():
        wanted = tag in found.version.tags
        if run := found.runs.get(what):
            yield what, f"{run.info.run_id} ({run.info.run_name}, {run.info.status.lower()})"
        elif wanted:
            found.gaps.append(f"the run of the {what} ({found.tag(tag)}) was deleted from MLflow")
        elif what != RUNS[tags.DIFFUSION_RUN] or found.facts["parents"]:
            found.gaps.append(f"this MLflow server knows no run of the {what}: it was done elsewhere, or is deleted")
    for what, run_id in (
        ("version itself", found.version.run_id),
        ("registration", found.version.registration_run_id),
    ):
        yield what, run_id
        if not run_id:
            found.gaps.append(f"no run of the {what} is named: it was registered by other means")
        elif found.run_of(run_id) is None:
            found.gaps.append(
                f"the run of the {what} ({run_id}) was deleted from MLflow: restore it with `mlflow runs restore "
                f"--run-id {run_id}`"
            )
    pipeline = found.tag(tags.PIPELINE)
    yield "pipeline", pipeline
    if UUID.fullmatch(pipeline):
        yield "Prefect run", _prefect_run(found, pipeline)


def _prefect_run(found: Provenance, run_id: str) -> str:
    """The flow run, read from the server of `PREFECT_API_URL` where that is set."""
    address, credentials = read_settings().prefect_api_url, read_settings().prefect_credentials
    if not address:
        return f"{run_id} (PREFECT_API_URL is not set: not looked up)"
    login = httpx.BasicAuth(*credentials.split(":", 1)) if credentials and ":" in credentials else None
    try:
        response = httpx.get(f"{address}/flow_runs/{run_id}", auth=login, timeout=10)
    except httpx.HTTPError as error:
        found.gaps.append(f"the Prefect server {address} does not answer ({type(error).__name__})")
        return run_id
    if not response.is_success:
        reason = "does not know" if response.status_code == 404 else f"answers {response.status_code} about"
        found.gaps.append(f"the Prefect server {address} {reason} the flow run {run_id}")
        return run_id
    run = response.json()
    return f"{run_id} ({run['name']}, {run['state_name']})"


def _code(found: Provenance) -> Iterator[tuple[str, str]]:
    yield "commit", found.commit
    yield "package (sha256)", found.tag(tags.CODE)
    if found.commit == "none":
        return _obstacle(found, "the model was made outside git: no commit holds its code")
    try:
        yield "commit says", git(found.repository, "show", "--no-patch", "--format=%ci %s", found.commit, "--")
    except DcubeError:
        return _obstacle(found, f"commit {found.commit} is not in {found.repository}: `git fetch` it")
    changed = found.tag(tags.UNCOMMITTED)
    yield "not committed", changed
    if fingerprint_at(found.repository, found.commit) != found.tag(tags.CODE):
        _obstacle(found, f"the code is in no commit: at registration, {changed} differed from commit {found.commit}")
    elif "dvc.yaml" in changed.split(", "):
        _obstacle(found, f"the graph is in no commit: at registration, dvc.yaml differed from commit {found.commit}")
    return None


def _data(found: Provenance) -> Iterator[tuple[str, str]]:
    digest = found.tag(tags.DATA)
    yield "raw data (DVC)", digest
    yield "prepared (fingerprint)", found.tag(tags.DATASET)
    yield "test (fingerprint)", found.tag(tags.TEST)
    if digest == "none":
        return _obstacle(found, "the raw data were not tracked by DVC")
    where, complete = locate_data(found.repository, digest)
    yield "raw data are", where
    if not complete:
        _obstacle(found, f"the raw data {digest} are {where}: `dvc push` them where they were added")
    with suppress(DcubeError):  # where the commit records none, there is nothing to compare with
        if (recorded := recorded_data(found.repository, found.commit)) != digest:
            _obstacle(found, f"data.dvc of commit {found.commit} records other data ({recorded}): it was not committed")
    return None


def _parameters(found: Provenance) -> Iterator[tuple[str, str]]:
    yield "sha256", found.tag(tags.PARAMS_SHA256)
    if found.params is None:
        return _obstacle(found, f"params.yaml is gone from run {found.version.registration_run_id}")
    usual = flattened(Params().model_dump(mode="json"))
    for name, value in flattened(parse_yaml(found.params, "params.yaml of the version")).items():
        if name not in usual or usual[name] != value:
            yield name, str(value)
    return None


def _outputs(found: Provenance) -> Iterator[tuple[str, str]]:
    for name, value in sorted(found.version.tags.items()):
        if name.startswith(tags.DVC) and name != tags.DATA:
            yield name.removeprefix(tags.DVC), value


def _machine(found: Provenance) -> Iterator[tuple[str, str]]:
    for name, value in found.machine.items():
        yield name.removeprefix(tags.VERSION).removeprefix(tags.OWN), value
    run_id = found.version.registration_run_id
    yield "packages", f"{len(found.packages)}, in {lineage.ORIGIN}/packages.txt of run {run_id}"
    if not found.packages:
        found.gaps.append("the list of installed packages is gone")


def _obstacle(found: Provenance, sentence: str) -> None:
    found.gaps.append(sentence)
    found.obstacles.append(sentence)


def fingerprint_at(repository: Path, commit: str) -> str:
    """`lineage.code_fingerprint` of the package as a commit holds it."""
    start = "dcube/"
    blobs = {}
    for line in git(repository, "ls-tree", "-r", "-z", commit, "--", start).split("\0"):
        if lineage.is_code(line):
            description, _, path = line.partition("\t")
            blobs[path.removeprefix(start)] = description.split()[2]
    return lineage.fingerprint_of(blobs)
