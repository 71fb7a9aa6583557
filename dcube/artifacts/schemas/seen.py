"""`seen_images.json` beside a candidate's config: hashes of the images in its data set."""

from collections.abc import Iterable
from typing import ClassVar, Literal, Self

from dcube.artifacts.candidates import TRAINING_STAGES
from dcube.artifacts.schemas.artifact import Artifact, remedy_of_stage

LENGTH = 16  # hexadecimal digits: the probability of a collision among a million images is 3e-8


class SeenImages(Artifact):
    """Contents of `seen_images.json`.

    Attributes:
        images: first `LENGTH` digits of the sha256 of each preprocessed image, of all splits, ascending.
        perceptual_hashes: the same images' hashes (`dcube.data.checks.lookalikes`), ascending.
    """

    remedy: ClassVar[str] = remedy_of_stage(TRAINING_STAGES)
    format_version: Literal[2] = 2  # type: ignore[assignment]

    images: list[str]
    perceptual_hashes: list[str]

    @classmethod
    def of(cls, sha256: Iterable[str], perceptual_hashes: Iterable[str]) -> Self:
        images = sorted({digest[:LENGTH] for digest in sha256})
        return cls(images=images, perceptual_hashes=sorted(set(perceptual_hashes)))

    def among(self, sha256: Iterable[str]) -> list[int]:
        """Return the positions of the hashes that belong to seen images."""
        known = set(self.images)
        return [position for position, digest in enumerate(sha256) if digest[:LENGTH] in known]
