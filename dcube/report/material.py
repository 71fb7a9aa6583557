"""Input of a page: the results below a folder, which is a working copy or has the same layout.

Results that have not been computed or are kept elsewhere are None, and the page says that they are missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dcube.artifacts import layout
from dcube.artifacts.candidates import DCUBE, TRAINING_STAGES
from dcube.artifacts.schemas.artifact import SomeArtifact, remedy_of_stage
from dcube.artifacts.schemas.audit import Audit
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.artifacts.schemas.diffusion import DiffusionConfig
from dcube.artifacts.schemas.fid import FidReport
from dcube.artifacts.schemas.metrics import Metrics
from dcube.artifacts.schemas.selection import Selection
from dcube.artifacts.tables import DIFFUSION_HISTORY, DIFFUSION_VALIDATION, TableSchema
from dcube.config.loading import load_params
from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from dcube.evaluation.conclusions import evaluations
from dcube.evaluation.predictions import Predictions

CANDIDATE_VALIDATION = TableSchema(("step", "auroc"), remedy_of_stage(TRAINING_STAGES), numbers=True)


@dataclass(frozen=True)
class DiffusionCurves:
    """Losses and validation metrics over the steps, and the step of the weights that were kept."""

    history: pd.DataFrame
    validation: pd.DataFrame
    best_step: int

    @property
    def chosen(self) -> pd.Series:
        """Validation metrics of the weights that were kept."""
        return self.validation[self.validation["step"] == self.best_step].iloc[0]


@dataclass(frozen=True)
class Material:
    """Results and facts for one page. Paths below `folder` are those of a working copy.

    Attributes:
        title: title of the page.
        origin: origin of the results, as part of a sentence.
        lineage: name → value, for the table of lineage.
        absent: sentence that says why results may be missing and how to get them.
        wanted: candidate that the page is about. None: the main one.
        external_tests: name of the test set → result, for the external tests that the registry knows.
        with_images: whether single images of the data set are shown if they exist.
    """

    folder: Path
    title: str
    origin: str
    lineage: Mapping[str, str]
    absent: str
    wanted: str | None = None
    external_tests: Mapping[str, str] = field(default_factory=dict)
    with_images: bool = True

    @cached_property
    def evaluations(self) -> dict[str, Metrics]:
        """Candidate → metrics, with this page's candidate first.

        Raises:
            DcubeError: if there is no evaluation.
        """
        found = evaluations(self.folder / layout.EVALUATION)
        return dict(sorted(found.items(), key=lambda item: item[0] != (self.wanted or DCUBE)))

    @property
    def model(self) -> str:
        """Name of the candidate that the page is about."""
        return next(iter(self.evaluations))

    @cached_property
    def predictions(self) -> dict[str, Predictions]:
        folder = self.folder / layout.EVALUATION
        return {name: Predictions.load(folder / name / layout.PREDICTIONS) for name in self.evaluations}

    @cached_property
    def info(self) -> DatasetInfo | None:
        return self._artifact(DatasetInfo, layout.PREPARED / layout.DATASET)

    @cached_property
    def dataset(self) -> PreparedDataset | None:
        """Prepared data set with its images; None if it is missing or `with_images` is false."""
        there = self.with_images and (self.folder / layout.PREPARED / layout.MANIFEST).exists()
        return PreparedDataset.load(self.folder / layout.PREPARED) if there else None

    @cached_property
    def params(self) -> Params | None:
        file = self.folder / layout.PARAMS
        return load_params(file) if file.exists() else None

    @cached_property
    def fid(self) -> FidReport | None:
        return self._artifact(FidReport, layout.FID / layout.FID_REPORT)

    @cached_property
    def samples(self) -> dict[str, np.ndarray] | None:
        """Real and generated images with their labels, as the stage `track_fid` saves them."""
        file = self.folder / layout.FID / layout.SAMPLES
        if not file.exists():
            return None
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)

    @cached_property
    def audit(self) -> Audit | None:
        return self._artifact(Audit, layout.SYNTHETIC / layout.AUDIT)

    @cached_property
    def selection(self) -> Selection | None:
        return self._artifact(Selection, layout.FEATURES / layout.SELECTION)

    @cached_property
    def diffusion_curves(self) -> DiffusionCurves | None:
        history, validation = (
            self._table(schema, layout.DIFFUSION / name)
            for schema, name in ((DIFFUSION_HISTORY, layout.HISTORY), (DIFFUSION_VALIDATION, layout.VALIDATION))
        )
        config = self._artifact(DiffusionConfig, layout.DIFFUSION / layout.CONFIG)
        if history is None or validation is None or config is None:
            return None
        return DiffusionCurves(history, validation, config.best_step)

    @cached_property
    def classifier_curves(self) -> dict[str, pd.DataFrame]:
        """Candidate → validation metrics over the steps."""
        curves = {
            name: self._table(CANDIDATE_VALIDATION, layout.MODELS / name / layout.VALIDATION)
            for name in self.evaluations
        }
        return {name: curve for name, curve in curves.items() if curve is not None}

    @property
    def weights(self) -> Path | None:
        """Folder of the candidate that the page is about; None if its weights are missing."""
        folder = self.folder / layout.MODELS / self.model
        return folder if (folder / layout.WEIGHTS).exists() else None

    @cached_property
    def synthetic(self) -> np.ndarray | None:
        """All synthetic images at the U-ViT's image size, shape (n, C, s, s)."""
        size = self.info.input.diffusion_image_size if self.info else 0
        file = self.folder / layout.SYNTHETIC / f"images-{size}.npy"
        return np.load(file, mmap_mode="r") if file.exists() else None

    def _artifact(self, schema: type[SomeArtifact], path: Path) -> SomeArtifact | None:
        file = self.folder / path
        return schema.load(file) if file.exists() else None

    def _table(self, schema: TableSchema, path: Path) -> pd.DataFrame | None:
        file = self.folder / path
        return schema.load(file) if file.exists() else None
