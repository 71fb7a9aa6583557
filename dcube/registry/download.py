"""A registered version on this machine, from nothing but the registry. Imports no torch."""

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
from dcube.tracking.verification import MODEL


@dataclass(frozen=True)
class DownloadedVersion:
    """What predicting with a version needs.

    Attributes:
        folder: holds its weights, `config.json` and `reference.json`.
        metrics: of its own test split.
        code: git commit of the pipeline that registered it.
        weights: sha256 of the weights. A model that is deleted and made again starts at version 1; its weights differ.
        split_notice: what must be said beside the metrics of its evaluation; empty where nothing must.
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
        """How it decides, as it was evaluated."""
        return self.metrics.policy

    @property
    def identity(self) -> dict[str, str]:
        """What every row of predictions says of the model."""
        return identity(self.name, self.version, self.weights, self.code)

    @property
    def title(self) -> str:
        return f"{self.name}/{self.version}"


def download_version(reference: str, folder: Path) -> DownloadedVersion:
    """Bring the version that `MODEL@ALIAS` or `MODEL/VERSION` names into `folder`.

    Raises:
        DcubeError: there is no such version, or it is not what was registered.
    """
    registry, version = resolve_reference(reference)
    number = version.version
    files = registry.verified(version, folder, code=False).or_refuse()
    refuse_unfit_champion(reference, registry, version)
    configs = list((files / MODEL).rglob(CONFIG))
    if len(configs) != 1:
        raise DcubeError(f"{registry.name} version {number} contains no candidate of this program: register one")
    notice = version.tags.get(tags.SPLIT_NOTICE, "")
    metrics = Metrics.load(files / evaluation_artifacts(version.needed(tags.MODEL)) / METRICS_FILE)
    code, weights = version.tags.get(tags.COMMIT, ""), version.needed(tags.WEIGHTS)
    return DownloadedVersion(registry.name, number, configs[0].parent, metrics, code, weights, notice)
