"""`seen_images.json` beside a candidate's config: the images that its data set consists of."""

from collections.abc import Iterable
from typing import ClassVar, Self

from dcube.artifacts.candidates import TRAINING_STAGES
from dcube.artifacts.schemas.artifact import Artifact, remedy_of_stage

LENGTH = 16  # hexadecimal digits: among a million images, two different ones agree with a chance of 3e-8


class SeenImages(Artifact):
    """Attributes:
    images: the first digits of the sha256 of each preprocessed image, ascending; of all splits.
    """

    remedy: ClassVar[str] = remedy_of_stage(TRAINING_STAGES)

    images: list[str]

    @classmethod
    def of(cls, sha256: Iterable[str]) -> Self:
        return cls(images=sorted({digest[:LENGTH] for digest in sha256}))

    def among(self, sha256: Iterable[str]) -> list[int]:
        """Positions of those that were seen."""
        known = set(self.images)
        return [position for position, digest in enumerate(sha256) if digest[:LENGTH] in known]
