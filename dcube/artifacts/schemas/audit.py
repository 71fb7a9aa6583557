"""`audit.json`: whether the images of the stage `synthesize` are copies of training images."""

from typing import ClassVar

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage


class Neighbour(ArtifactPart):
    """Row of a synthetic image, row of its nearest training image, and the distance between them."""

    synthetic: int
    training: int
    distance: float


class Audit(Artifact):
    """Memorisation audit of the synthetic images.

    Without memorisation, about `threshold_quantile_of_held_out` of the images are nearer than the threshold.

    Attributes:
        exact_copies: number of synthetic images that equal a training image in every pixel.
        threshold: quantile of the held-out images' distances to their nearest training image.
        nearest: the synthetic images with the smallest distances, nearest first.
        unfit: reasons why the images are not fit for training, a clause each; empty if the checks found none.
    """

    remedy: ClassVar[str] = remedy_of_stage("synthesize")

    n_synthetic: int
    n_held_out: int
    exact_copies: int
    share_nearer_than_threshold: float | None
    threshold: float
    threshold_quantile_of_held_out: float
    median_distance: float | None
    median_distance_of_held_out: float
    nearest: list[Neighbour]
    unfit: list[str] = Field(default_factory=list)

    @property
    def fitness(self) -> str:
        """One sentence that says whether the images are fit for training."""
        if not self.n_synthetic:
            return "No images were synthesised: every class already has its target number."
        if self.unfit:
            return f"The synthetic images are not fit for training: {'; '.join(self.unfit)}."
        return "No check found the synthetic images unfit for training."
