"""Download of a registered version, which needs only the registry. This module must not import torch."""

from dataclasses import dataclass
from pathlib import Path

from dcube.artifacts.layout import CONFIG, METRICS_FILE
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.artifacts.schemas.metrics import Metrics
from dcube.errors import DcubeError
from dcube.inference.prediction_row import identity
from dcube.registry.references import refuse_unfit_champion, resolve_reference
from dcube.registry.versions import evaluation_artifacts
from dcube.tracking import tags
from dcube.tracking.code_revision import code_revision
from dcube.tracking.verification import MODEL


@dataclass(frozen=True)
class DownloadedVersion:
    """Files and facts that prediction with a version needs.

    Attributes:
        folder: folder with the weights, `config.json` and `reference.json`.
        metrics: metrics on the version's own test split.
        code: `dcube.tracking.code_revision` of the pipeline that registered the version.
        weights: sha256 of the weights. Version numbers start at 1 again when a model is deleted and created again.
        split_notice: warning that must be shown beside the metrics, or empty text.
    """

    name: str
    version: str
    folder: Path
    metrics: Metrics
    code: str
    weights: str
    split_notice: str

    @property
    def policy(self) -> DecisionPolicy:
        """Decision policy of the version's evaluation."""
        return self.metrics.policy

    @property
    def identity(self) -> dict[str, str]:
        """Columns that identify the model in every row of predictions."""
        return identity(self.name, self.version, self.weights, self.code)

    @property
    def title(self) -> str:
        return f"{self.name}/{self.version}"


def download_version(reference: str, folder: Path) -> DownloadedVersion:
    """Download the version that `MODEL@ALIAS` or `MODEL/VERSION` names into `folder`, and verify it.

    Raises:
        DcubeError: if there is no such version, if it differs from what was registered, or if the alias `champion`
            is on a control.
    """
    registered_model, version = resolve_reference(reference)
    number = version.version
    files = registered_model.verified(version, folder).or_refuse()
    refuse_unfit_champion(reference, registered_model, version)
    configs = list((files / MODEL).rglob(CONFIG))
    if len(configs) != 1:
        raise DcubeError(f"{registered_model.name} version {number} contains no candidate of D-Cube: register one")
    notice = version.tags.get(tags.SPLIT_NOTICE, "")
    metrics = Metrics.load(files / evaluation_artifacts(version.needed(tags.MODEL)) / METRICS_FILE)
    code, weights = code_revision(version.tags), version.needed(tags.WEIGHTS)
    return DownloadedVersion(registered_model.name, number, configs[0].parent, metrics, code, weights, notice)
