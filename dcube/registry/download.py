"""A registered version on this machine, from nothing but the registry. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from mlflow.artifacts import download_artifacts

from dcube.artifacts.layout import CONFIG
from dcube.errors import DcubeError
from dcube.registry.versions import referenced
from dcube.runtime.settings import library_defaults
from dcube.tracking import tags
from dcube.tracking.mlflow_client import NO_PROGRESS_BAR, tracking_uri, version_number


@dataclass(frozen=True)
class Fetched:
    """What is needed to ask a version.

    Attributes:
        folder: holds its weights, `config.json` and `reference.json`.
        abstain_below: the confidence below which it was evaluated as giving no prediction.
        split_notice: what must be said beside the metrics of its evaluation; empty where nothing must.
    """

    name: str
    version: str
    folder: Path
    abstain_below: float
    split_notice: str

    @property
    def title(self) -> str:
        return f"{self.name}/{self.version}"


def fetch(reference: str, folder: Path) -> Fetched:
    """Bring the version that `MODEL@ALIAS` or `MODEL/VERSION` names into `folder`.

    Raises:
        DcubeError: there is no such version, or its files are gone.
    """
    registry, version = referenced(reference)
    number = version_number(version)
    address = f"models:/{registry.name}/{number}/artifacts"
    with library_defaults({"MLFLOW_TRACKING_URI": tracking_uri()} | NO_PROGRESS_BAR):
        try:
            arrived = Path(download_artifacts(address, dst_path=str(folder), tracking_uri=tracking_uri()))
        except OSError as error:
            raise DcubeError(f"the files of {registry.name} version {number} are gone: {error}") from None
    configs = list(arrived.rglob(CONFIG))
    if len(configs) != 1:
        raise DcubeError(f"{registry.name} version {number} contains no candidate of this program: register one")
    below, notice = version.needed_number(tags.ABSTAIN), version.tags.get(tags.SPLIT_NOTICE, "")
    return Fetched(registry.name, number, configs[0].parent, below, notice)
