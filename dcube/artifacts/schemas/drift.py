"""`reference.json` beside a candidate's config, and `drift.json`: how new images differ from it."""

from typing import ClassVar

from dcube.artifacts.candidates import TRAINING_STAGES
from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage


class DriftReference(Artifact):
    """Attributes:
    images: number of validation images.
    values: property of an image (`dcube.inference.drift`) → its value for each of them.
    predicted: class → share of them that is predicted to be it.
    """

    remedy: ClassVar[str] = remedy_of_stage(TRAINING_STAGES)

    images: int
    values: dict[str, list[float]]
    predicted: dict[str, float]


class DriftRow(ArtifactPart):
    """One line of the report: medians (or shares, or names), the distance, and whether it counts as drift."""

    what: str
    reference: str
    new: str
    distance: float
    drifted: bool


class DriftReport(Artifact):
    """`drift.json`."""

    remedy: ClassVar[str] = "compare the images again"

    rows: list[DriftRow]
