"""Stage register: register all evaluated models, and set the challenger and, if there is none yet, the champion."""

from collections.abc import Mapping
from pathlib import Path

from dcube.artifacts.atomic import atomic_folder
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
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.weights import load_diffusion_config
from dcube.errors import DcubeError
from dcube.evaluation.model_card import title_of_candidate
from dcube.registry.pipeline_registration import log_shared_files, register_pipeline
from dcube.registry.references import model_of
from dcube.registry.registration import EvaluatedCandidate, Registration
from dcube.registry.staleness import refuse, stale_inputs
from dcube.registry.versions import CHALLENGER, CHAMPION, RegisteredModel
from dcube.report.origins import material_to_register
from dcube.report.page import page
from dcube.stages.process.running import params
from dcube.tracking import lineage
from dcube.tracking.mlflow_client import tracking_client
from dcube.tracking.run import tracked_run


def main() -> None:
    settings = params()
    refuse(stale_inputs("register", settings))
    name = model_of(settings.data.name)
    models = [EvaluatedCandidate.load(MODELS, file.parent) for file in sorted(EVALUATION.glob(f"*/{METRICS_FILE}"))]
    if not models:
        raise DcubeError(f"nothing has been evaluated in {EVALUATION}: run `dvc repro`")
    dataset = PreparedDataset.load(PREPARED)
    with tracked_run("register", {}, dataset) as tracked, atomic_folder(REGISTERED) as folder:
        shared = Registration(
            run=tracking_client().get_run(tracked.wait_for_server()),
            params=settings,
            dataset=dataset,
            diffusion=_diffusion_weights(),
            files=log_shared_files(tracked.log_artifacts, _shared_files(dataset.name)),
        )
        registered_model = RegisteredModel.created(tracking_client(), name)
        result = register_pipeline(registered_model, models, shared, lineage.origin_tags)
        result.save(folder / VERSIONS)
        tracked.log_artifacts(folder)
    _print(
        result, registered_model, {model.name: title_of_candidate(model.name, model.metrics.kind) for model in models}
    )
    if CHAMPION not in result.aliases and registered_model.history():
        print(f"champion: none, since its version was deleted; `dcube rollback {name} --reason …` appoints one")


def _shared_files(dataset: str) -> dict[str, bytes]:
    """Return the files that all candidates share, as artifact path → content.

    They are the files of the origin, the report on all candidates, and the results that `dcube report MODEL@ALIAS`
    shows, with their paths in a working copy.
    """
    material = material_to_register(dataset, Path(), lineage.origin_tags("register"))
    shown = (*REPORTED, *MODELS.glob(f"*/{HISTORY}"), *MODELS.glob(f"*/{VALIDATION}"))
    return {
        **{f"{REPORT}/{file}": file.read_bytes() for file in shown if file.exists()},
        **{f"{lineage.ORIGIN}/{name}": text.encode() for name, text in lineage.origin_files().items()},
        f"{REPORT}/{REPORT_PAGE}": page(material).encode(),
    }


def _diffusion_weights() -> str | None:
    """Return the sha256 of the diffusion weights, or None if this pipeline trained none."""
    return load_diffusion_config(DIFFUSION).weights_sha256 if (DIFFUSION / CONFIG).exists() else None


def _print(result: Registered, registered_model: RegisteredModel, titles: Mapping[str, str]) -> None:
    for model, version in result.versions.items():
        print(f"{result.name} version {version}: {titles[model]}")
    aliases = result.aliases
    if result.challenger:
        challenger = f"{titles[result.challenger]}, version {aliases[CHALLENGER]}"
        print(f"challenger: {challenger}: it has the largest validation AUROC of all candidates but controls")
    else:
        print("challenger: none, since only controls were evaluated")
    if CHAMPION in aliases and aliases[CHAMPION] != aliases.get(CHALLENGER):
        print(f"champion: still version {aliases[CHAMPION]}; `dcube promote` compares the two")
    elif CHAMPION in aliases:
        first = ", the first" if len(registered_model.history()) == 1 else ""
        print(f"champion: {titles[str(result.challenger)]}, version {aliases[CHAMPION]}{first}")
