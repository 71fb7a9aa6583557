"""Facts about a version's origin that MLflow still has: files, runs and tags.

Each function yields pairs of name and value, and adds gaps and obstacles to `found`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from dcube.artifacts.layout import DIFFUSION
from dcube.config.loading import flattened
from dcube.config.schema import Params
from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError
from dcube.evaluation.metrics import HEADLINES
from dcube.registry.external_tags import unconfirmed_external_tests
from dcube.registry.provenance import RUNS, Provenance
from dcube.tracking import lineage, tags


def registered(found: Provenance) -> Iterator[tuple[str, str]]:
    """Compare the version with its manifest, the champions' history and the runs of external tests."""
    with TemporaryDirectory() as folder:
        verified = found.registered_model.verified(found.version, Path(folder))
    found.compared, found.manifest = verified.compared, verified.manifest
    yield "compared with the manifest", verified.compared
    yield "manifest (sha256)", found.tag(tags.MANIFEST)
    for problem in verified.problems:
        found.obstacle(f"it is not what was registered: {problem}")
    if moved := found.registered_model.champion_moved_by_hand():
        found.gaps.append(moved)
    found.gaps += unconfirmed_external_tests(found.registered_model, found.version)


def model(found: Provenance) -> Iterator[tuple[str, str]]:
    version = found.version
    held = sorted(alias for alias, which in found.registered_model.aliases().items() if which == version.version)
    yield "version", f"{found.registered_model.name}/{version.version}"
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
        found.obstacle(f"the evaluation's metrics are gone from run {found.version.run_id}: nothing to compare with")


def parents(found: Provenance) -> Iterator[tuple[str, str]]:
    if (weights := found.version.tags.get(tags.DIFFUSION_WEIGHTS)) is not None:
        yield "diffusion weights (sha256)", weights
        yield "diffusion weights (DVC)", found.tag(f"{tags.DVC}{DIFFUSION}")


def runs(found: Provenance, describe_pipeline: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    yield from _members(found)
    for tag, what in RUNS.items() if tags.ENSEMBLE not in found.version.tags else ():
        wanted = tag in found.version.tags
        if run := found.runs.get(what):
            yield what, f"{run.info.run_id} ({run.info.run_name}, {run.info.status.lower()})"
        elif wanted:
            found.gaps.append(f"the run of the {what} ({found.tag(tag)}) was deleted from MLflow")
        elif what != RUNS[tags.DIFFUSION_RUN] or found.facts["parents"]:
            found.gaps.append(f"this MLflow server knows no run of the {what}: it ran elsewhere, or was deleted")
    for what, run_id in (
        ("version itself", found.version.run_id),
        ("registration", found.version.registration_run_id),
    ):
        yield what, run_id
        if not run_id:
            found.gaps.append(f"no run of the {what} is named: it was registered outside D-Cube")
        elif found.run_of(run_id) is None:
            found.gaps.append(
                f"the run of the {what} ({run_id}) was deleted from MLflow: restore it with `mlflow runs restore "
                f"--run-id {run_id}`"
            )
    yield "pipeline", _pipeline(found, describe_pipeline)


def _members(found: Provenance) -> Iterator[tuple[str, str]]:
    for tag, made_by in sorted(found.version.tags.items()):
        if not tag.startswith(tags.MEMBER):
            continue
        number = tag.removeprefix(tags.MEMBER)
        run_id = found.tag(f"{tags.MEMBER_RUN}{number}")
        yield f"member {number}", f"{made_by}; training {run_id}"
        if found.run_of(run_id) is None:
            found.gaps.append(
                f"this MLflow server has no run {run_id}, which trained member {number}: deleted, or elsewhere"
            )


def _pipeline(found: Provenance, describe: Callable[[str], str]) -> str:
    name = found.tag(tags.PIPELINE)
    try:
        return describe(name)
    except DcubeError as error:
        found.gaps.append(str(error))
        return name


def parameters(found: Provenance) -> Iterator[tuple[str, str]]:
    yield "sha256", found.tag(tags.PARAMS_SHA256)
    if found.params is None:
        return found.obstacle(f"params.yaml is gone from run {found.version.registration_run_id}")
    usual = flattened(Params().model_dump(mode="json"))
    for name, value in flattened(parse_yaml(found.params, "params.yaml of the version")).items():
        if name not in usual or usual[name] != value:
            yield name, str(value)
    return None


def outputs(found: Provenance) -> Iterator[tuple[str, str]]:
    for name, value in sorted(found.version.tags.items()):
        if name.startswith(tags.DVC) and name != tags.DATA:
            yield name.removeprefix(tags.DVC), value


def machine(found: Provenance) -> Iterator[tuple[str, str]]:
    for name, value in found.machine.items():
        yield name.removeprefix(tags.VERSION).removeprefix(tags.PREFIX), value
    run_id = found.version.registration_run_id
    yield "packages", f"{len(found.packages)}, in {lineage.ORIGIN}/packages.txt of run {run_id}"
    if not found.packages:
        found.gaps.append("the list of installed packages is gone")
