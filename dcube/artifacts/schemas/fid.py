"""`fid.json`: what the stage `track_fid` measured, and everything that defines the numbers."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage


class Distances(ArtifactPart):
    """Of generated images from the real ones of the same classes.

    Attributes:
        fid: Fréchet distance.
        kid, kid_std: kernel distance, mean and standard deviation over subsets.
    """

    fid: float
    kid: float
    kid_std: float


class Blockiness(ArtifactPart):
    """Jumps across patch borders over jumps inside patches (`dcube.generative_metrics.blockiness`)."""

    generated: float
    real: float


class FidDefinition(ArtifactPart):
    """What defines the distances besides the images: those of two definitions never compare.

    Attributes:
        extractor: network and weights whose features are compared.
        weights_sha256: of the file with the extractor's weights.
        resize: side in pixels at which the extractor sees the images.
        sampling_steps, seed: of the generated images.
    """

    extractor: str
    weights_sha256: str
    resize: int
    n_real: int
    n_generated: int
    sampling_steps: int
    seed: int


class FidReport(Artifact):
    """Attributes:
    classes: class → distances, where a class has at least two images on either side.
    """

    remedy: ClassVar[str] = remedy_of_stage("track_fid")

    overall: Distances
    classes: dict[str, Distances]
    blockiness: Blockiness
    definition: FidDefinition
