"""Registration of an evaluated candidate as a complete version of the task's model: weights, code and evaluation."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlflow.entities import Run

from dcube.artifacts.candidates import CONTROLS, DCUBE
from dcube.artifacts.checksums import hashes_of
from dcube.artifacts.layout import CONFIG, METRICS_FILE, PREDICTIONS
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from dcube.evaluation.model_card import title_of_candidate
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.split_notice import split_notice
from dcube.evaluation.summary import refuse_contradiction
from dcube.registry.candidate_run import (
    USES,
    candidate_run,
    log_evaluation,
    params_of,
    undefined_in,
)
from dcube.registry.packaging import log_model
from dcube.registry.presence import has_its_files
from dcube.registry.version import Version
from dcube.registry.version_page import Champion, description, page_tags
from dcube.registry.versions import RegisteredModel, evaluation_artifacts
from dcube.runtime.settings import library_defaults
from dcube.tracking import tags
from dcube.tracking.batches import send_datasets, send_params
from dcube.tracking.code_revision import code_revision
from dcube.tracking.datasets import dataset_entity
from dcube.tracking.lineage import PACKAGE, code_fingerprint, source_tags
from dcube.tracking.mlflow_client import all_runs
from dcube.tracking.verification import MODEL, write_manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class EvaluatedCandidate:
    """A candidate's folder, the folder of its evaluation, and the metrics in the latter."""

    name: str
    folder: Path
    evaluation: Path
    metrics: Metrics

    @classmethod
    def load(cls, models: Path, evaluation: Path) -> "EvaluatedCandidate":
        return cls(evaluation.name, models / evaluation.name, evaluation, Metrics.load(evaluation / METRICS_FILE))

    @property
    def identity(self) -> dict[str, str]:
        """Tags that define a version: hashes of the weights, of their evaluation, and of the code that predicts.

        The code is identified by its content and not by its commit, because a commit that changes only documentation
        makes no new model, but an uncommitted change to the code does.
        """
        return {
            tags.WEIGHTS: self.metrics.weights_sha256,
            tags.EVALUATION: sha256(self.metrics.model_dump_json().encode()).hexdigest(),
            tags.CODE: code_fingerprint(PACKAGE),
        }

    @property
    def version_tags(self) -> dict[str, str]:
        metrics = self.metrics
        return {
            tags.MODEL: self.name,
            tags.KIND: metrics.kind,
            tags.TEST: metrics.test_fingerprint,
            tags.ABSTAIN: repr(metrics.evaluation.abstain_below),
            tags.DECISION: str(metrics.policy.rule),
            tags.DATASET: metrics.dataset_fingerprint,
            tags.UNDEFINED: ", ".join(undefined_in(metrics)) or "none",
            **({tags.SPLIT_NOTICE: notice} if (notice := split_notice(metrics)) else {}),
            **self.identity,
        }

    @property
    def files(self) -> dict[str, dict[str, str]]:
        """Hashes of the files, as place in the version's manifest → path → sha256."""
        own = {f"artifacts/{self.folder.name}/{path}": digest for path, digest in hashes_of(self.folder).items()}
        return {MODEL: own, evaluation_artifacts(self.name): hashes_of(self.evaluation)}

    @property
    def config(self) -> CandidateConfig:
        return CandidateConfig.load(self.folder / CONFIG)


@dataclass(frozen=True)
class Registration:
    """Inputs that all candidates of one registration share.

    Attributes:
        run: run that registers the candidates.
        params: parameters of the pipeline.
        diffusion: sha256 of the diffusion weights that the pipeline trained.
        champion: champion of the registered model before the registration.
        files: files in `run` for all candidates, as artifact folder → path → sha256.
    """

    run: Run
    params: Params
    dataset: PreparedDataset
    diffusion: str | None = None
    champion: Champion | None = None
    files: Mapping[str, dict[str, str]] = field(default_factory=dict)


def register(
    registered_model: RegisteredModel, model: EvaluatedCandidate, shared: Registration, lineage: Mapping[str, str]
) -> Version:
    """Return the existing version with this identity, or create one with its own source run.

    If the existing version has lost files, a new one is created too.

    Args:
        lineage: tags with the version's origin.
    """
    client, config, evaluation = registered_model.client, model.config, evaluation_artifacts(model.name)
    if existing := registered_model.find(model.identity):
        if has_its_files(client, existing, evaluation):
            return existing
        print(f"version {existing.version} of {registered_model.name} has lost files: {model.name} is registered again")
    predictions = Predictions.load(model.evaluation / PREDICTIONS)
    refuse_contradiction(model.metrics, predictions, str(model.evaluation))
    origin = {
        **lineage,
        **_ancestors(client, model, config, shared.diffusion),
        **model.version_tags,
        **source_tags(f"register@{model.name}"),
        tags.REGISTRATION_RUN: shared.run.info.run_id,
    }
    title = title_of_candidate(model.name, model.metrics.kind)
    with candidate_run(client, shared.run, title, origin) as run_id:
        send_params(client, run_id, params_of(config, shared.params))
        datasets = {use: dataset_entity(shared.dataset, split) for use, split in USES.items()}
        send_datasets(client, run_id, datasets)
        client.log_artifacts(run_id, str(model.evaluation), evaluation)
        logged = log_model(title, model.folder, config, model.metrics.policy, run_id, code_revision(lineage))
        log_evaluation(client, run_id, model.metrics, datasets["test"], logged.model_id)
        with library_defaults({"MLFLOW_TRACKING_URI": client.tracking_uri}):  # MLflow looks there for the logged model
            entry = client.create_model_version(
                registered_model.name,
                logged.model_uri,
                run_id=run_id,
                tags=page_tags(model.metrics, predictions, shared.dataset.name, lineage, shared.champion),
                model_id=logged.model_id,
            )
        text = description(entry, model.metrics, shared.dataset.info, client.get_run(run_id), evaluation, shared.run)
        entry = client.update_model_version(registered_model.name, entry.version, text)
        client.set_tag(run_id, tags.NOTE, text)
        registered = [{"name": registered_model.name, "version": entry.version}]
        model_tags = {tags.MODEL_VERSIONS: json.dumps(registered), tags.SOURCE_NAME: origin[tags.SOURCE_NAME]}
        client.set_logged_model_tags(logged.model_id, model_tags)
        entry = client.get_model_version(registered_model.name, entry.version)
        with TemporaryDirectory() as folder:
            write_manifest(client, entry, client.get_run(run_id), {**shared.files, **model.files}, Path(folder))
        # last, so that only complete versions are found
        client.set_tag(run_id, tags.REGISTERED_MODEL, registered_model.name)
    return Version(client.get_model_version(registered_model.name, entry.version), client.get_run(run_id))


def _ancestors(
    client: "MlflowClient", model: EvaluatedCandidate, config: CandidateConfig, diffusion: str | None
) -> dict[str, str]:
    """Return tags for the runs that trained and evaluated the weights, and for the diffusion model if it is used.

    Of an ensemble they are those for the training runs of its members.
    """
    if config.members:
        trained = [_runs(client, {tags.TRAINING_RUN: one.weights_sha256}) for one in config.members]
        return {
            f"{tags.MEMBER_RUN}{number}": run.info.run_id
            for number, found in enumerate(trained)
            for run in found.values()
        }
    weights = dict.fromkeys((tags.TRAINING_RUN, tags.EVALUATION_RUN), model.metrics.weights_sha256)
    parents = {}
    if diffusion and _descends_from_diffusion(config):
        weights[tags.DIFFUSION_RUN] = parents[tags.DIFFUSION_WEIGHTS] = diffusion
    return parents | {tag: run.info.run_id for tag, run in _runs(client, weights).items()}


def _descends_from_diffusion(config: CandidateConfig) -> bool:
    """Return whether the candidate uses the trained diffusion model's features or was trained on its images."""
    trained_with = config.params.classifier or config.params.baseline
    return config.kind == DCUBE or (trained_with is not None and trained_with.extra_images == "synthetic")


def challenger_of(models: Iterable[EvaluatedCandidate]) -> EvaluatedCandidate | None:
    """Return the best candidate by validation that is not a control, or None.

    Controls only measure the value of D-Cube's parts, and are not meant for use.
    """
    return best_by_validation(model for model in models if model.metrics.kind not in CONTROLS)


def best_by_validation(models: Iterable[EvaluatedCandidate]) -> EvaluatedCandidate | None:
    """Return the candidate with the largest validation AUROC, and among equals the smallest cross-entropy there."""

    def merit(model: EvaluatedCandidate) -> tuple[float, float]:
        validation = model.metrics.validation
        return _or_least(validation["auroc"]), _or_least(-validation["cross_entropy"])

    return max(models, key=merit, default=None)


def _or_least(value: float) -> float:
    """Return minus infinity for an undefined value, so that it loses against all others."""
    return -math.inf if math.isnan(value) else value


def _runs(client: "MlflowClient", weights: Mapping[str, str]) -> dict[str, Run]:
    """Return the newest runs that trained or evaluated weights, for weights as tag of the run → sha256."""
    stages = {
        tags.TRAINING_RUN: "train_%", tags.EVALUATION_RUN: "evaluate@%", tags.DIFFUSION_RUN: "train_diffusion"
    }  # fmt: skip
    found: dict[str, Run] = {}
    for tag, digest in weights.items():
        wanted = f"tags.`{tags.WEIGHTS}` = '{digest}' and tags.`{tags.STAGE}` LIKE '{stages[tag]}'"
        if run := next(all_runs(client, wanted), None):
            found[tag] = run
    return found
