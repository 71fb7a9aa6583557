"""The predictions of a model for every image of a split: the table from which all metrics are computed."""

import hashlib
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dcube.artifacts.tables import TableSchema, to_csv
from dcube.data.prepared import PreparedDataset

PREFIX = "probability_"
SCHEMA = TableSchema(
    ("id", "file", "patient", "sha256", "label", "prediction"),
    "`dvc checkout`, or `dvc repro evaluate`; of a registered model, register it again",
)
IDENTITY = ("id", "label", "sha256")
IMAGE = ["sha256", "file"]  # identify an image in every division of a data set; `id` is the number of a row


def classes_of(columns: Iterable[Hashable]) -> list[str]:
    """Return the classes that have a column of probabilities, in the order of the columns."""
    return [name.removeprefix(PREFIX) for name in map(str, columns) if name.startswith(PREFIX)]


@dataclass(frozen=True)
class Predictions:
    """Predictions of one model.

    Attributes:
        table: one row per image, with the columns `id`, `file`, `patient`, `sha256`, `label`, `prediction`, and
            `probability_CLASS` for every class.
    """

    table: pd.DataFrame

    @classmethod
    def of(cls, dataset: PreparedDataset, rows: np.ndarray, probabilities: np.ndarray) -> "Predictions":
        """Make predictions from the (n, classes) probabilities of the data set's `rows`."""
        table = dataset.manifest.iloc[rows][["id", "file", "patient", "sha256", "label"]].reset_index(drop=True)
        table["prediction"] = np.array(dataset.classes)[probabilities.argmax(1)]
        for index, name in enumerate(dataset.classes):
            table[PREFIX + name] = probabilities[:, index]
        return cls(table)

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Load a table; raise `DcubeError` if the file is missing or damaged."""
        table = SCHEMA.load(path)
        try:
            predictions = cls(table.astype({PREFIX + name: float for name in classes_of(table.columns)}))
        except ValueError as error:
            raise SCHEMA.damaged(path, str(error)) from None
        known = predictions.table["label"].isin(predictions.classes).all() and len(predictions.table)
        if not known or not np.isfinite(predictions.probabilities).all():
            raise SCHEMA.damaged(path, "no rows, labels without a column, or no probabilities")
        return predictions

    def save(self, path: Path) -> None:
        to_csv(self.table, path, float_format="%.17g")

    @cached_property
    def classes(self) -> list[str]:
        return classes_of(self.table.columns)

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) class indices."""
        return self.table["label"].map({name: i for i, name in enumerate(self.classes)}).to_numpy(dtype=np.int64)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(n, classes) float64."""
        return self.table[[PREFIX + name for name in self.classes]].to_numpy(dtype=np.float64)

    @cached_property
    def groups(self) -> np.ndarray:
        """(n,) number of each image's patient; an image without a patient is a group of its own."""
        patient, image = self.table["patient"], self.table["id"]
        owner = ("patient " + patient).where(patient != "", "image " + image)
        return pd.factorize(owner)[0]

    @property
    def knows_patients(self) -> bool:
        """Whether every image has a patient."""
        return bool((self.table["patient"] != "").all())

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all images and labels: equal for two models if and only if they have the same test."""
        rows = sorted(self.table[list(IDENTITY)].itertuples(index=False, name=None))
        return hashlib.sha256(repr(rows).encode()).hexdigest()


def numbered_by_image(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by image, and number the rows, so that the same images always have the same `id`."""
    table = table.sort_values(IMAGE, ignore_index=True)
    return table.assign(id=table.index.astype(str))


def on_common_images(one: Predictions, other: Predictions) -> tuple[Predictions, Predictions]:
    """Return both predictions for the images that they have in common with the same label, numbered alike."""
    key = [*IMAGE, "label"]
    common = one.table[key].merge(other.table[key])
    first, second = (Predictions(numbered_by_image(side.table.merge(common))) for side in (one, other))
    return first, second
