"""`probe.json`: settings behind the tables of the stage `probe`."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage


class BlockMap(ArtifactPart):
    """Map of blocks and timesteps: number of labelled training images, the probe's C, and U-ViT → its best pooling."""

    images: int
    C: float
    poolings: dict[str, str]


class LabelCurves(ArtifactPart):
    """Settings of the curves of AUROC by number of labels.

    Attributes:
        skipped: requested numbers of labels that cannot be drawn.
        folds: number of folds of the cross-validation on the drawn labels, which chooses C and pooling.
        dimensions: set of features → number of values with its largest pooling.
    """

    counts: list[int]
    skipped: list[int]
    draws: int
    C_tried: list[float]
    folds: int
    timesteps: list[int]
    dimensions: dict[str, int]


class Agreement(ArtifactPart):
    """Rank correlation across blocks between the statistic D and a probe's validation AUROC at one timestep.

    Attributes:
        spearman: Spearman's correlation; None if either is constant.
    """

    timestep: int
    spearman: float | None


class ProbeReport(Artifact):
    """Contents of `probe.json`.

    Attributes:
        images: split → number of labelled images.
        unlabelled: number of training images without a label.
    """

    remedy: ClassVar[str] = remedy_of_stage("probe")

    map: BlockMap
    labels: LabelCurves
    selection: Agreement
    images: dict[str, int]
    unlabelled: int
    seed: int
    data_fingerprint: str
    weights_sha256: str
