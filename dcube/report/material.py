"""What a page is made from: the results below a folder, which is a working copy or looks like one.

What has not been computed, or is kept elsewhere, is None: the page says so in its place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from dcube.artifacts.layout import (
    DATASET,
    DIFFUSION,
    EVALUATION,
    FEATURES,
    FID,
    MODELS,
    PARAMS,
    PREPARED,
    SAMPLES,
    SYNTHETIC,
)
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.data.prepared import PreparedDataset
from dcube.errors import DcubeError
from dcube.evaluation.conclusions import MAIN, evaluations
from dcube.evaluation.predictions import Predictions
from dcube.features.selection import SELECTION, Selection


@dataclass(frozen=True)
class Material:
    """All paths are those of a working copy, below `folder`.

    Attributes:
        title: what the page is about.
        origin: where all this comes from, as part of a sentence.
        lineage: what → value.
        absent: why something may be missing and what helps, a sentence.
        wanted: the candidate that the page is about; else the main one.
    """

    folder: Path
    title: str
    origin: str
    lineage: Mapping[str, str]
    absent: str
    wanted: str | None = None

    @cached_property
    def evaluations(self) -> dict[str, dict]:
        """Name → content of `metrics.json`, this page's model first.

        Raises:
            DcubeError: there is none.
        """
        found = evaluations(self.folder / EVALUATION)
        return dict(sorted(found.items(), key=lambda item: item[0] != (self.wanted or MAIN)))

    @property
    def model(self) -> str:
        """Name of the candidate that the page is about."""
        return next(iter(self.evaluations))

    @cached_property
    def predictions(self) -> dict[str, Predictions]:
        return {
            name: Predictions.load(self.folder / EVALUATION / name / "predictions.csv") for name in self.evaluations
        }

    @cached_property
    def info(self) -> DatasetInfo | None:
        file = self.folder / PREPARED / DATASET
        return DatasetInfo.load(file) if file.exists() else None

    @cached_property
    def dataset(self) -> PreparedDataset | None:
        """The images themselves."""
        there = (self.folder / PREPARED / "manifest.csv").exists()
        return PreparedDataset.load(self.folder / PREPARED) if there else None

    @cached_property
    def params(self) -> dict | None:
        file = self.folder / PARAMS
        return yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None

    @cached_property
    def fid(self) -> dict | None:
        return self._json(FID / "fid.json")

    @cached_property
    def samples(self) -> dict[str, np.ndarray] | None:
        """Real and generated images with their labels, as the stage track_fid keeps them."""
        file = self.folder / FID / SAMPLES
        if not file.exists():
            return None
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)

    @cached_property
    def audit(self) -> dict | None:
        return self._json(SYNTHETIC / "audit.json")

    @cached_property
    def selection(self) -> Selection | None:
        return Selection.load(self.folder / FEATURES) if (self.folder / FEATURES / SELECTION).exists() else None

    @cached_property
    def diffusion_curves(self) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Losses and measurements over the steps."""
        history, validation = (self._csv(DIFFUSION / f"{name}.csv") for name in ("history", "validation"))
        return None if history is None or validation is None else (history, validation)

    @cached_property
    def classifier_curves(self) -> dict[str, pd.DataFrame]:
        """Name → validation figures over the steps."""
        curves = {name: self._csv(MODELS / name / "validation.csv") for name in self.evaluations}
        return {name: curve for name, curve in curves.items() if curve is not None}

    @property
    def weights(self) -> Path | None:
        """Folder of the candidate that the page is about."""
        folder = self.folder / MODELS / self.model
        return folder if (folder / "model.safetensors").exists() else None

    @cached_property
    def synthetic(self) -> np.ndarray | None:
        """All synthetic images at the U-ViT's size, (n, C, s, s)."""
        size = self.info.input.diffusion_image_size if self.info else 0
        file = self.folder / SYNTHETIC / f"images-{size}.npy"
        return np.load(file, mmap_mode="r") if file.exists() else None

    def _json(self, path: Path) -> dict | None:
        file = self.folder / path
        if not file.exists():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise DcubeError(f"{file} is damaged ({error}): run `dvc repro`, or register the model again") from None

    def _csv(self, path: Path) -> pd.DataFrame | None:
        file = self.folder / path
        return pd.read_csv(file) if file.exists() else None
