"""`audit.json`: whether the images of the stage `synthesize` are copies of training images."""

from typing import ClassVar

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage


class Neighbour(ArtifactPart):
    """A synthetic image and the training image that is nearest to it: rows of their arrays, and the distance."""

    synthetic: int
    training: int
    distance: float


class Audit(Artifact):
    """Without memorisation, a share of about `threshold_quantile_of_held_out` is nearer than the threshold.

    Attributes:
        exact_copies: synthetic images that equal a training image in every pixel.
        threshold: distance to the nearest training image that few held-out images undercut.
        nearest: the most suspicious images, nearest first.
        unfit: why they are not fit for training, a clause each; empty where the checks found nothing.
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
        """One sentence."""
        if not self.n_synthetic:
            return "No images were synthesised: every class already has its target number."
        if self.unfit:
            return f"The synthetic images are not fit for training: {'; '.join(self.unfit)}."
        return "No check found the synthetic images unfit for training."
