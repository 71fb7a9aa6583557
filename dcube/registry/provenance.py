"""What is known of the origin of a registered version, read from the runs that MLflow keeps of it."""

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
from dcube.registry.versions import Registry, evaluation_artifacts
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
    """What is known about a version's origin.

    Attributes:
        facts: group → name → value.
        gaps: what cannot be found any more or was changed, a sentence each.
        obstacles: those gaps that keep the version from being made again.
        compared: what of the version was compared with its manifest, in words.
        manifest: what was registered; None where that is unknown.
    """

    registry: Registry
    version: Version
    repository: Path
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    compared: str = ""
    manifest: VersionManifest | None = None

    @property
    def model(self) -> str:
        """The candidate's name in the pipeline."""
        return self.tag(tags.MODEL)

    @property
    def commit(self) -> str:
        return self.tag(tags.COMMIT)

    def obstacle(self, sentence: str) -> None:
        """A gap that keeps the version from being made again."""
        self.gaps.append(sentence)
        self.obstacles.append(sentence)

    def tag(self, name: str) -> str:
        return self.version.tags.get(name, "none")

    def artifact(self, run_id: str, path: str) -> str | None:
        """Text of a file that a run holds; None where it is gone."""
        with TemporaryDirectory() as folder:
            file = Path(folder, "artifact")
            there = download(self.registry.client, f"runs:/{run_id}/{path}", file)
            return file.read_text(encoding="utf-8") if there else None

    @cached_property
    def params(self) -> str | None:
        """`params.yaml` as it was."""
        return self.artifact(self.version.registration_run_id, f"{lineage.ORIGIN}/{lineage.PARAMS}")

    @cached_property
    def metrics(self) -> Metrics | None:
        """As they were."""
        path = f"{evaluation_artifacts(self.model)}/{METRICS_FILE}"
        text = self.artifact(self.version.run_id, path)
        return None if text is None else Metrics.parse(text, f"{path} of run {self.version.run_id}")

    @cached_property
    def packages(self) -> list[str]:
        return (self.artifact(self.version.registration_run_id, f"{lineage.ORIGIN}/packages.txt") or "").split()

    @cached_property
    def runs(self) -> "dict[str, Run]":
        """The runs that MLflow still has, by what they did."""
        return {what: run for tag, what in RUNS.items() if (run := self.run_of(self.tag(tag)))}

    @property
    def machine(self) -> dict[str, str]:
        """What the training ran on."""
        run = self.runs.get("training") or self.run_of(self.version.registration_run_id)
        known = run.data.tags if run else {}
        return {name: value for name, value in known.items() if name == tags.MACHINE or name.startswith(tags.VERSION)}

    def run_of(self, run_id: str) -> "Run | None":
        try:
            run = self.registry.client.get_run(run_id)
        except MlflowException as error:
            if not is_missing(error):
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None
