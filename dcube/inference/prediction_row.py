"""One row of predictions: the result, the model and the time. This module must not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from dcube import __version__
from dcube.artifacts.schemas.dataset import SET_SEPARATOR
from dcube.evaluation.predictions import PREFIX, classes_of

RESEARCH_USE = "Research use only: not for diagnosis or any decision about a patient."
BLANK_SLICE = "blank slice"  # `problem` of a frame or slice of a series or volume that shows nothing


@dataclass(frozen=True)
class PredictionRow:
    """Prediction for one image. The fields are the columns described in `dcube.inference.prediction`.

    Attributes:
        probabilities: class → calibrated probability. This and all other numbers are NaN if the image was refused.
        prediction_set: classes in the prediction set; empty if the model has no prediction sets.
    """

    image: str
    decision: str
    decided_by: str
    prediction: str
    confidence: float
    probabilities: dict[str, float]
    prediction_set: list[str]
    entropy: float
    spread: float
    input_sha256: str
    predicted_at: str
    problem: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Build from a row (column → value) that `predict` returned."""
        simple = {name: row[name] for name in cls.__dataclass_fields__ if name in row}
        known = {name: row[PREFIX + name] for name in classes_of(row)}
        members = [name for name in row["prediction_set"].split(SET_SEPARATOR) if name]
        return cls(**simple | {"probabilities": known, "prediction_set": members})


def identity(model: str, version: str, weights: str, code: str) -> dict[str, str]:
    """Return the columns that identify a model, as column → value; the texts are empty for an unregistered model.

    Args:
        weights: sha256 of the weights.
        code: git commit of the pipeline that registered the version, as in `ServingConfig.code_revision`.
    """
    return {
        "model": model,
        "version": version,
        "weights_sha256": weights,
        "code_revision": code,
        "program_version": __version__,
        "use": RESEARCH_USE,
    }


def timestamp() -> str:
    """Return the present time in UTC, as ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
