"""Registration of all candidates of one pipeline, and choice of the challenger."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dcube.artifacts.checksums import hashes_of
from dcube.artifacts.schemas.registered import Registered
from dcube.config.loading import flattened
from dcube.config.schema import Params
from dcube.errors import DcubeError
from dcube.evaluation.metrics import HEADLINES
from dcube.evaluation.model_card import title_of_candidate
from dcube.registry.candidate_run import log_metrics
from dcube.registry.promotion import appoint_first
from dcube.registry.registration import EvaluatedCandidate, Registration, best_by_validation, challenger_of, register
from dcube.registry.version_page import Champion
from dcube.registry.versions import CHALLENGER, CHAMPION, RegisteredModel
from dcube.tracking import tags
from dcube.tracking.batches import send_params

if TYPE_CHECKING:
    from mlflow import MlflowClient


def register_pipeline(
    registered_model: RegisteredModel,
    models: Sequence[EvaluatedCandidate],
    shared: Registration,
    origin_of: Callable[[str], Mapping[str, str]],
) -> Registered:
    """Register a version of every candidate, and set the challenger and, if there is none yet, the champion.

    Args:
        origin_of: function that returns the tags of a stage's origin.
    """
    shared = replace(shared, champion=_champion(registered_model))
    versions = {it.name: register(registered_model, it, shared, origin_of(f"evaluate@{it.name}")) for it in models}
    challenger, origin = challenger_of(models), origin_of("register")
    roles = {"best": best_by_validation(models), CHALLENGER: challenger}
    pipeline = shared.run.data.tags.get(tags.PARENT, shared.run.info.run_id)
    _log_headlines(registered_model.client, pipeline, shared.params, roles)
    if challenger:
        registered_model.set_alias(CHALLENGER, versions[challenger.name].version)
        if registered_model.holder(CHAMPION) is None:
            appoint_first(registered_model, versions[challenger.name], who=f"pipeline {origin[tags.PIPELINE]}")
    return Registered(
        name=registered_model.name,
        versions={name: int(version.version) for name, version in versions.items()},
        aliases={alias: int(number) for alias, number in registered_model.aliases().items()},
        challenger=challenger.name if challenger else None,
        origin=dict(origin),
    )


def headline(role: str, metric: str) -> str:
    """Return the name of the pipeline run's metric for a metric of the candidate in a role."""
    return f"{role}.{metric}"


def log_shared_files(log: Callable[[Path], None], files: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """Log files (path that starts with an artifact folder → content) to the registering run.

    Args:
        log: function that logs the contents of a folder to that run.

    Returns:
        Hashes as artifact folder → path → sha256.
    """
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        log(Path(folder))
        return {place.name: hashes_of(place) for place in sorted(Path(folder).iterdir())}


def _log_headlines(
    client: "MlflowClient", run_id: str, params: Params, roles: Mapping[str, EvaluatedCandidate | None]
) -> None:
    """Log a pipeline's main metrics to its run, so that pipelines can be sorted, and its non-default parameters.

    Default parameters are left out, because MLflow's list of runs gets slower with every parameter.
    """
    if not client.get_run(run_id).data.params:  # MLflow refuses changed values, e.g. when a DVC experiment is run again
        send_params(client, run_id, flattened(params.model_dump(mode="json", exclude_defaults=True)))
    for role, model in roles.items():
        if model:
            test = model.metrics.test
            log_metrics(client, run_id, {headline(role, it.name): test[it.name] for it in HEADLINES})
            client.set_tag(run_id, role, title_of_candidate(model.name, model.metrics.kind))


def _champion(registered_model: RegisteredModel) -> Champion | None:
    """Return the champion with its test predictions, or None if there is none or they cannot be read."""
    version = registered_model.holder(CHAMPION)
    if version is None:
        return None
    try:
        return Champion(version, registered_model.predictions(version))
    except DcubeError:
        return None
