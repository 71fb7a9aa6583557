"""`reference.json` beside a candidate's config, and `drift.json`: how new images differ from it."""

from typing import ClassVar

from dcube.artifacts.candidates import TRAINING_STAGES
from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage


class DriftReference(Artifact):
    """The validation images that new images are compared with.

    Attributes:
        images: number of validation images.
        values: image property (`dcube.inference.drift`) → its value for each validation image.
        predicted: class → share of the validation images with this prediction.
    """

    remedy: ClassVar[str] = remedy_of_stage(TRAINING_STAGES)

    images: int
    values: dict[str, list[float]]
    predicted: dict[str, float]


class DriftRow(ArtifactPart):
    """One row of the report: medians, shares or names of both sides, their distance, and whether this is drift."""

    what: str
    reference: str
    new: str
    distance: float
    drifted: bool


class DriftReport(Artifact):
    """Contents of `drift.json`."""

    remedy: ClassVar[str] = "compare the images again"

    rows: list[DriftRow]
