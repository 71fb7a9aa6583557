"""`probe.json`: what the tables of the stage `probe` rest on."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage


class BlockMap(ArtifactPart):
    """Blocks by timesteps: labelled training images, the probe's C, and the poolings chosen."""

    images: int
    C: float
    poolings: dict[str, str]


class LabelCurves(ArtifactPart):
    """AUROC by number of labels."""

    counts: list[int]
    skipped: list[int]
    draws: int
    C_tried: list[float]
    timesteps: list[int]
    poolings: dict[str, str]
    dimensions: dict[str, int]


class Agreement(ArtifactPart):
    """Rank correlation of the blocks' statistic with what is read from them at a timestep.

    Attributes:
        spearman: None where one of them is constant.
    """

    timestep: int
    spearman: float | None


class ProbeReport(Artifact):
    """Attributes:
    images: split → labelled images.
    unlabelled: training images without a label.
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
