"""`reference.json` beside a candidate's config: what new images are compared with."""

from typing import ClassVar

from dcube.artifacts.candidates import TRAINING_STAGES
from dcube.artifacts.schemas.artifact import Artifact, remedy_of_stage


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
