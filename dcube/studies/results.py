"""What a trial has yielded: metrics by name, and the predictions that they rest on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dcube.artifacts.layout import FID_REPORT, METRICS_FILE, PREDICTIONS
from dcube.artifacts.schemas.artifact import SomeArtifact
from dcube.artifacts.schemas.fid import FidReport
from dcube.artifacts.schemas.metrics import Metrics
from dcube.errors import DcubeError
from dcube.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Result:
    """Attributes:
    folder: `metrics.json` and `predictions.csv`, or `fid.json`, or the files that a study reports.
    """

    folder: Path

    @classmethod
    def load(cls, folder: Path) -> "Result":
        if not folder.is_dir():
            raise DcubeError(f"{folder} is missing: run the study again")
        return cls(folder)

    @cached_property
    def evaluation(self) -> Metrics | None:
        """Of a classifier."""
        return self._artifact(Metrics, METRICS_FILE)

    @cached_property
    def generation(self) -> FidReport | None:
        """Of generated images."""
        return self._artifact(FidReport, FID_REPORT)

    @property
    def validation(self) -> dict[str, float]:
        """Metrics of the validation split; none of generated images."""
        return self.evaluation.validation if self.evaluation else {}

    @cached_property
    def metrics(self) -> dict[str, float]:
        """By name: of the test split, or of the generated images: `fid`, `kid`, and `fid, CLASS` for every class."""
        if self.evaluation:
            return self.evaluation.test
        if not self.generation:
            return {}
        classes = self.generation.classes.items()
        by_class = {f"{name}, {label}": value for label, distances in classes for name, value in distances}
        return dict(self.generation.overall) | by_class

    @cached_property
    def predictions(self) -> Predictions | None:
        path = self.folder / PREDICTIONS
        return Predictions.load(path) if path.exists() else None

    def _artifact(self, schema: type[SomeArtifact], name: str) -> SomeArtifact | None:
        return schema.load(self.folder / name) if (self.folder / name).exists() else None
