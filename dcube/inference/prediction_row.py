"""One row of predictions: what a model says, which model, and when. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from dcube import __version__
from dcube.artifacts.schemas.dataset import SET_SEPARATOR
from dcube.evaluation.predictions import PREFIX, classes_of

RESEARCH_USE = "Research use only: not for diagnosis or any decision about a patient."
BLANK_SLICE = "blank slice"  # as the problem of a frame or slice among others that shows nothing


@dataclass(frozen=True)
class PredictionRow:
    """What a model says about one image. The fields are columns of `dcube.inference.prediction`.

    Attributes:
        probabilities: class → calibrated probability; NaN, as all numbers, where the image was refused.
        prediction_set: empty where the model has no prediction sets.
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
        """Args: row: column → value, as `predict` gives them."""
        simple = {name: row[name] for name in cls.__dataclass_fields__ if name in row}
        known = {name: row[PREFIX + name] for name in classes_of(row)}
        members = [name for name in row["prediction_set"].split(SET_SEPARATOR) if name]
        return cls(**simple | {"probabilities": known, "prediction_set": members})


def identity(model: str, version: str, weights: str, code: str) -> dict[str, str]:
    """Column → value. Empty texts stand for a model that is in no registry.

    Args:
        weights: their sha256.
        code: git commit of the pipeline that registered the version.
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
    """The time in UTC, as ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
