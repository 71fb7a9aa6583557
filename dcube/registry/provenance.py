"""Known facts about the origin of a registered version, read from its runs in MLflow."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from dcube.artifacts.layout import METRICS_FILE
from dcube.artifacts.schemas.manifest import VersionManifest
from dcube.artifacts.schemas.metrics import Metrics
from dcube.registry.version import Version
from dcube.registry.versions import RegisteredModel, evaluation_artifacts
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


@dataclass
class Provenance:
    """Known facts about a version's origin, and problems that were found.

    Attributes:
        facts: group → name → value.
        gaps: messages about files, runs and other facts that are missing or were changed.
        obstacles: those gaps that prevent a reproduction of the version.
        compared: description of what was compared with the manifest.
        manifest: record of what was registered; None if it is missing or changed.
    """

    registered_model: RegisteredModel
    version: Version
    repository: Path
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    compared: str = ""
    manifest: VersionManifest | None = None

    @property
    def model(self) -> str:
        """Name of the candidate in the pipeline."""
        return self.tag(tags.MODEL)

    @property
    def commit(self) -> str:
        return self.tag(tags.COMMIT)

    def obstacle(self, sentence: str) -> None:
        """Add a gap that prevents a reproduction of the version."""
        self.gaps.append(sentence)
        self.obstacles.append(sentence)

    def tag(self, name: str) -> str:
        return self.version.tags.get(name, "none")

    def artifact(self, run_id: str, path: str) -> str | None:
        """Return the text of a run's file, or None if the file is gone."""
        with TemporaryDirectory() as folder:
            file = Path(folder, "artifact")
            there = download(self.registered_model.client, f"runs:/{run_id}/{path}", file)
            return file.read_text(encoding="utf-8") if there else None

    @cached_property
    def params(self) -> str | None:
        """Text of `params.yaml` at registration; None if it is gone."""
        return self.artifact(self.version.registration_run_id, f"{lineage.ORIGIN}/{lineage.PARAMS}")

    @cached_property
    def metrics(self) -> Metrics | None:
        """Metrics of the version's evaluation; None if they are gone."""
        path = f"{evaluation_artifacts(self.model)}/{METRICS_FILE}"
        text = self.artifact(self.version.run_id, path)
        return None if text is None else Metrics.parse(text, f"{path} of run {self.version.run_id}")

    @cached_property
    def packages(self) -> list[str]:
        return (self.artifact(self.version.registration_run_id, f"{lineage.ORIGIN}/packages.txt") or "").split()

    @cached_property
    def runs(self) -> "dict[str, Run]":
        """Runs that MLflow still has, by the values of `RUNS`."""
        return {what: run for tag, what in RUNS.items() if (run := self.run_of(self.tag(tag)))}

    @property
    def machine(self) -> dict[str, str]:
        """Tags with the hardware and package versions of the training, or of the registration if its run is gone."""
        run = self.runs.get("training") or self.run_of(self.version.registration_run_id)
        known = run.data.tags if run else {}
        return {name: value for name, value in known.items() if name == tags.MACHINE or name.startswith(tags.VERSION)}

    def run_of(self, run_id: str) -> "Run | None":
        try:
            run = self.registered_model.client.get_run(run_id)
        except MlflowException as error:
            if not is_missing(error):
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None
