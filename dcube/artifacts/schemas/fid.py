"""`fid.json`: what the stage `track_fid` measured, and everything that defines the numbers."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage


class Distances(ArtifactPart):
    """Distances between generated and real images of the same classes.

    Attributes:
        fid: Fréchet distance.
        kid, kid_std: kernel inception distance, mean and standard deviation over subsets.
    """

    fid: float
    kid: float
    kid_std: float


class Blockiness(ArtifactPart):
    """Ratio of the jumps across patch borders to those inside patches (`dcube.generative_metrics.blockiness`)."""

    generated: float
    real: float


class FidDefinition(ArtifactPart):
    """Settings that define the distances. Distances with different settings are not comparable.

    Attributes:
        extractor: network and weights whose features are compared.
        weights_sha256: checksum of the extractor's weights file.
        resize: side in pixels to which images are resized for the extractor.
        sampling_steps, seed: settings of the generated images.
    """

    extractor: str
    weights_sha256: str
    resize: int
    n_real: int
    n_generated: int
    sampling_steps: int
    seed: int


class FidReport(Artifact):
    """Contents of `fid.json`.

    Attributes:
        classes: class → distances, for classes with at least two real and two generated images.
    """

    remedy: ClassVar[str] = remedy_of_stage("track_fid")

    overall: Distances
    classes: dict[str, Distances]
    blockiness: Blockiness
    definition: FidDefinition
