"""Registration of the models of all folds of a cross-validation as one version, which predicts their mean.

Each fold's outputs are restored from its DVC experiment. Nothing is predicted again: the metrics are those of the
predictions that each model made for the fold that it never saw.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dcube.artifacts.layout import (
    CONFIG,
    DATASET,
    EVALUATION,
    LOCK,
    MANIFEST,
    METRICS_FILE,
    MODELS,
    PARAMS,
    PREDICTIONS,
    PREPARED,
    REFERENCE,
    REPORT,
    REPORT_PAGE,
    SEEN,
    VALIDATION_PREDICTIONS,
)
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.drift import DriftReference
from dcube.artifacts.schemas.metrics import Metrics
from dcube.artifacts.schemas.registered import Registered
from dcube.artifacts.schemas.seen import SeenImages
from dcube.classifier.candidate import save_ensemble
from dcube.data.prepared import PreparedDataset
from dcube.errors import DcubeError
from dcube.evaluation.evaluation_folder import write_evaluation
from dcube.evaluation.predictions import Predictions
from dcube.registry.candidate_run import ending
from dcube.registry.pipeline_registration import log_shared_files, register_pipeline
from dcube.registry.references import model_of
from dcube.registry.registration import EvaluatedCandidate, Registration
from dcube.registry.versions import RegisteredModel
from dcube.report.origins import material_to_register
from dcube.report.page import page
from dcube.repository.experiments import commits_of_experiments, restore_from_experiment
from dcube.studies.building import FOLD
from dcube.studies.pooling import (
    pooled_config,
    pooled_dataset,
    pooled_predictions,
    pooled_reference,
    pooled_seen,
)
from dcube.studies.results import Result
from dcube.studies.runner import Runner, StudyResults
from dcube.studies.trials import Trial, make_trial, variants
from dcube.tracking import lineage, tags
from dcube.tracking.batches import milliseconds
from dcube.tracking.mlflow_client import experiment_called, tracking_client


@dataclass(frozen=True)
class Fold:
    """One fold's trial, and the folder with what its experiment holds, as in a working copy."""

    trial: Trial
    experiment: str
    folder: Path

    @property
    def candidate(self) -> Path:
        return self.folder / MODELS / self.trial.variant.row.model

    @property
    def evaluation(self) -> Path:
        return self.folder / EVALUATION / self.trial.variant.row.model


def refuse_unfit(runner: Runner, row: str) -> None:
    """Raise `DcubeError` if the study is no cross-validation, or has no such row or several variants of it."""
    study, names = runner.study, [variant.row.name for variant in variants(runner.study)]
    if FOLD not in study.vary or study.report != "evaluation":
        raise DcubeError(f"--register: {runner.name} is no cross-validation, as `dcube study folds` is")
    if names.count(row) != 1:
        raise DcubeError(f"--register {row}: name one row that is computed here: {', '.join(dict.fromkeys(names))}")


def register_ensemble(runner: Runner, row: str, results: StudyResults) -> tuple[Registered, Metrics]:
    """Register the mean of a row's models as one version, and return what was registered with its pooled metrics.

    The version becomes challenger and, if there is none yet, champion, unless it is a control.

    Raises:
        DcubeError: if the row could not be computed, or if the experiment of a fold or its outputs were removed.
    """
    variant = next((it for it in results.by_variant if it.row.name == row), None)
    if variant is None:
        raise DcubeError(f"--register {row}: this row could not be computed ({results.failures.get(row, 'unknown')})")
    chosen, computed = results.chosen[variant], enumerate(results.by_variant[variant])
    with TemporaryDirectory(dir=runner.store) as work:
        folds = [
            _restored(runner, make_trial(runner.study, runner.base, variant, repeat, chosen), result, Path(work))
            for repeat, result in computed
        ]
        dataset = pooled_dataset([PreparedDataset.load(fold.folder / PREPARED) for fold in folds])
        home, name = Path(work, "ensemble"), f"{variant.row.model}_folds"
        home.mkdir()
        (home / PARAMS).write_text(folds[0].trial.params.to_yaml(), encoding="utf-8")
        config = _join(folds, home / MODELS / name, dataset)
        origin = _origin(runner, row, folds, config)
        metrics = _evaluate(folds, home / EVALUATION / name, name, config, dataset, origin)
        return _register(home, name, folds, dataset, origin), metrics


def _restored(runner: Runner, trial: Trial, result: Result, folder: Path) -> Fold:
    """Restore what the trial's experiment holds: of those with its parameters, the one with the kept metrics."""
    problem = "its experiment is gone"
    evaluation = EVALUATION / trial.variant.row.model
    kept = (result.folder / METRICS_FILE).read_bytes()
    others = [MODELS / trial.variant.row.model, PREPARED / MANIFEST, PREPARED / DATASET, LOCK]
    for commit, name in commits_of_experiments(runner.repository, f"*-{trial.key[:6]}").items():
        own = folder / commit
        try:
            restore_from_experiment(runner.repository, commit, [evaluation], own)
            if (own / evaluation / METRICS_FILE).read_bytes() == kept:
                restore_from_experiment(runner.repository, commit, others, own)
                return Fold(trial, f"{name} ({commit[:12]})", own)
        except DcubeError as error:
            problem = f"outputs of its experiment {name} are gone ({error})"
    raise DcubeError(f"{trial.title}: {problem}: remove {result.folder}, then run the study again")


def _join(folds: Sequence[Fold], folder: Path, dataset: PreparedDataset) -> CandidateConfig:
    """Write the ensemble's candidate, and return its configuration."""
    folder.mkdir(parents=True)
    members = [CandidateConfig.load(fold.candidate / CONFIG) for fold in folds]
    save_ensemble(folder, [fold.candidate for fold in folds], pooled_config(members, dataset.fingerprint))
    pooled_seen([SeenImages.load(fold.candidate / SEEN) for fold in folds]).save(folder / SEEN)
    pooled_reference([DriftReference.load(fold.candidate / REFERENCE) for fold in folds]).save(folder / REFERENCE)
    return CandidateConfig.load(folder / CONFIG)


def _evaluate(
    folds: Sequence[Fold],
    folder: Path,
    name: str,
    config: CandidateConfig,
    dataset: PreparedDataset,
    origin: dict[str, str],
) -> Metrics:
    folder.mkdir(parents=True)
    validation, test = (
        pooled_predictions([Predictions.load(fold.evaluation / table) for fold in folds])
        for table in (VALIDATION_PREDICTIONS, PREDICTIONS)
    )
    return write_evaluation(folder, name, config, dataset, validation, test, folds[0].trial.params.evaluation, origin)


def _origin(runner: Runner, row: str, folds: Sequence[Fold], config: CandidateConfig) -> dict[str, str]:
    """Return tags for the origin of the ensemble and of each member."""
    params = folds[0].trial.params
    data, number = runner.base.data.name, f"data.folds={len(folds)}"
    command = ["dcube", "study", runner.name, "--data", data, "--set", number, "--register", row]
    made_by = {
        f"{tags.MEMBER}{number}": f"experiment {fold.experiment}, weights {member.weights_sha256}, data set "
        f"{member.data_fingerprint}"
        for number, (fold, member) in enumerate(zip(folds, config.members, strict=True))
    }
    return {
        **lineage.checkout_tags(),
        tags.PIPELINE: f"{runner.name}-{data}-{config.weights_sha256[:12]}",
        tags.COMMIT: runner.commit,
        tags.PARAMS_SHA256: hashlib.sha256(params.to_yaml().encode()).hexdigest(),
        tags.ENSEMBLE: shlex.join(command),
        **made_by,
    }


def _register(
    home: Path, name: str, folds: Sequence[Fold], dataset: PreparedDataset, origin: dict[str, str]
) -> Registered:
    (home / PREPARED).mkdir(parents=True)
    dataset.info.save(home / PREPARED / DATASET)
    files = {
        f"{REPORT}/{PREPARED / DATASET}": (home / PREPARED / DATASET).read_bytes(),
        f"{REPORT}/{REPORT_PAGE}": page(material_to_register(dataset.name, home, origin)).encode(),
        **{f"{lineage.ORIGIN}/{file}": content for file, content in _origin_files(home, folds).items()},
    }
    client = tracking_client()
    experiment = experiment_called(client, f"dcube/{dataset.name}")
    own = origin | lineage.source_tags("register") | lineage.machine_tags()
    run = client.create_run(experiment, milliseconds(), own, f"ensemble {origin[tags.PIPELINE]}")
    with ending(client, run.info.run_id):
        shared = Registration(
            run=run,
            params=folds[0].trial.params,
            dataset=dataset,
            files=log_shared_files(lambda folder: client.log_artifacts(run.info.run_id, str(folder)), files),
        )
        candidate = EvaluatedCandidate.load(home / MODELS, home / EVALUATION / name)
        registered_model = RegisteredModel.created(client, model_of(dataset.name))
        return register_pipeline(registered_model, [candidate], shared, lambda stage: origin)


def _origin_files(home: Path, folds: Sequence[Fold]) -> dict[str, bytes]:
    """Return path → content of the files that a rebuild needs, with the `dvc.lock` of each fold."""
    common = {name: text.encode() for name, text in lineage.origin_files().items() if name != str(LOCK)}
    locks = {f"fold-{fold.trial.repeat}/{LOCK}": (fold.folder / LOCK).read_bytes() for fold in folds}
    return common | {str(PARAMS): (home / PARAMS).read_bytes()} | locks
