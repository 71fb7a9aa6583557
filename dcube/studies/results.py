"""Result of a trial: metrics by name, and the predictions behind them."""

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
    """Result of a trial, read from its files.

    Attributes:
        folder: folder with `metrics.json`, `predictions.csv` and their pictures, or `fid.json`, or the files that the
            study reports.
    """

    folder: Path

    @classmethod
    def load(cls, folder: Path) -> "Result":
        if not folder.is_dir():
            raise DcubeError(f"{folder} is missing: run the study again")
        return cls(folder)

    @cached_property
    def evaluation(self) -> Metrics | None:
        """Metrics of a classifier; None for other results."""
        return self._artifact(Metrics, METRICS_FILE)

    @cached_property
    def generation(self) -> FidReport | None:
        """Distances of generated images; None for other results."""
        return self._artifact(FidReport, FID_REPORT)

    @property
    def validation(self) -> dict[str, float]:
        """Metrics on the validation split; empty for generated images."""
        return self.evaluation.validation if self.evaluation else {}

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Metrics on the test split, or of generated images (`fid`, `kid`, and for each class `fid, CLASS` etc.)."""
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
