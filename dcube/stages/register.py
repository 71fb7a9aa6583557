"""Stage: put every evaluated model into the registry, name the challenger and, where there is none, the champion."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.checksums import hashes_of
from dcube.artifacts.layout import (
    CONFIG,
    DIFFUSION,
    EVALUATION,
    HISTORY,
    METRICS_FILE,
    MODELS,
    PREPARED,
    REGISTERED,
    REPORT,
    REPORT_PAGE,
    REPORTED,
    VALIDATION,
    VERSIONS,
)
from dcube.artifacts.schemas.registered import Registered
from dcube.config.loading import flattened
from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.weights import load_diffusion_config
from dcube.errors import DcubeError
from dcube.evaluation.metrics import HEADLINES
from dcube.evaluation.model_card import title_of_candidate
from dcube.registry.candidate_run import log_metrics, log_params
from dcube.registry.promotion import appoint_first
from dcube.registry.references import model_of
from dcube.registry.registration import Evaluated, Registration, best_by_validation, challenger_of, register
from dcube.registry.version_page import Champion
from dcube.registry.versions import CHALLENGER, CHAMPION, Registry
from dcube.report.origins import material_to_register
from dcube.report.page import page
from dcube.stages import params
from dcube.tracking import lineage, tags
from dcube.tracking.mlflow_client import tracking_client
from dcube.tracking.record import refuse_stale_record
from dcube.tracking.run import TrackedRun, tracked_run

if TYPE_CHECKING:
    from mlflow import MlflowClient


def main() -> None:
    settings = params()
    refuse_stale_record("register")
    name = model_of(settings.data.name)
    models = [Evaluated.load(MODELS, file.parent) for file in sorted(EVALUATION.glob(f"*/{METRICS_FILE}"))]
    if not models:
        raise DcubeError(f"nothing has been evaluated in {EVALUATION}: run `dvc repro`")
    dataset = PreparedDataset.load(PREPARED)
    with tracked_run("register", {}, dataset) as tracked, atomic_folder(REGISTERED) as folder:
        if tracked.run_id is None:
            raise DcubeError(
                f"{tracked.problem}: nothing can be registered without MLflow (MLFLOW_TRACKING_URI): then `dvc repro`"
            )
        files = _log_shared(tracked, dataset.name)
        client = tracking_client()
        registry = Registry.created(client, name)
        run_here = client.get_run(tracked.run_id)
        shared = Registration(run_here, settings, dataset, _diffusion_weights(), _champion(registry), files)
        versions = {
            model.name: register(registry, model, shared, lineage.origin_tags(f"evaluate@{model.name}"))
            for model in models
        }
        challenger = challenger_of(models)
        parent = run_here.data.tags[tags.PARENT]
        _log_headlines(client, parent, settings, {"best": best_by_validation(models), CHALLENGER: challenger})
        if challenger:
            registry.set_alias(CHALLENGER, versions[challenger.name].version)
            if registry.holder(CHAMPION) is None:
                appoint_first(registry, versions[challenger.name], who=f"pipeline {lineage.pipeline_id()}")
        result = Registered(
            name=name,
            versions={model: int(version.version) for model, version in versions.items()},
            aliases={alias: int(number) for alias, number in registry.aliases().items()},
            challenger=challenger.name if challenger else None,
            origin=lineage.origin_tags("register"),
        )
        result.save(folder / VERSIONS)
        tracked.log_artifacts(folder)
    _print(result)
    if CHAMPION not in result.aliases and registry.history():
        print(f"champion: none, since its version was deleted; `dcube rollback {name} --reason …` appoints one")


def _log_shared(tracked: TrackedRun, dataset: str) -> dict[str, dict[str, str]]:
    """What all candidates share: their origin, a page about them all, and what `dcube report MODEL@ALIAS` shows.

    All paths are those of a working copy.

    Returns:
        artifact folder → path → sha256.
    """
    shown = (*REPORTED, *MODELS.glob(f"*/{HISTORY}"), *MODELS.glob(f"*/{VALIDATION}"))
    files = {f"{REPORT}/{file}": file.read_bytes() for file in shown if file.exists()}
    files |= {f"{lineage.ORIGIN}/{name}": text.encode() for name, text in lineage.origin_files().items()}
    files[f"{REPORT}/{REPORT_PAGE}"] = page(material_to_register(dataset)).encode()
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        tracked.log_artifacts(Path(folder))
        return {place: hashes_of(Path(folder, place)) for place in (lineage.ORIGIN, REPORT)}


def _log_headlines(client: "MlflowClient", run_id: str, settings: Params, models: dict[str, Evaluated | None]) -> None:
    """Of a pipeline, to its run, so that pipelines can be sorted and compared: `challenger.auroc` and so on, and the
    parameters that are not the defaults, since MLflow's list of runs gets slower with every parameter.
    """
    if not client.get_run(run_id).data.params:  # MLflow refuses other values, as of a DVC experiment made again
        log_params(client, run_id, flattened(settings.model_dump(mode="json", exclude_defaults=True)))
    for role, model in models.items():
        if model:
            test = model.metrics.test
            log_metrics(client, run_id, {f"{role}.{metric.name}": test[metric.name] for metric in HEADLINES})
            client.set_tag(run_id, role, title_of_candidate(model.name, model.metrics.kind))


def _diffusion_weights() -> str | None:
    """Their sha256, where this pipeline trained any."""
    return load_diffusion_config(DIFFUSION).weights_sha256 if (DIFFUSION / CONFIG).exists() else None


def _champion(registry: Registry) -> Champion | None:
    """With what it said about the test, as long as that is there."""
    version = registry.holder(CHAMPION)
    if version is None:
        return None
    try:
        return Champion(version, registry.predictions(version))
    except DcubeError:
        return None


def _print(result: Registered) -> None:
    for model, version in result.versions.items():
        print(f"{result.name} version {version}: {model}")
    aliases = result.aliases
    if result.challenger:
        print(f"challenger: {result.challenger}, version {aliases[CHALLENGER]} (largest validation AUROC)")
    else:
        print("challenger: none, since only controls were evaluated")
    if CHAMPION in aliases and aliases[CHAMPION] != aliases.get(CHALLENGER):
        print(f"champion: still version {aliases[CHAMPION]}; `dcube promote` compares the two")
    elif CHAMPION in aliases:
        print(f"champion: version {aliases[CHAMPION]}")
