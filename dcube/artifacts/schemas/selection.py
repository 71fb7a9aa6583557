"""`selection.json`: which blocks of the U-ViT the stage `select_features` has chosen, and why."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage
from dcube.config.schema import BlockChoice, Null


class SelectionDefinition(ArtifactPart):
    """Settings of the test.

    Attributes:
        timestep: timestep given to the U-ViT.
        images: number of images.
        values_a_map: number of patches of an image.
        null, significance, keep: as in the parameter group `features`.
    """

    timestep: int
    images: int
    values_a_map: int
    null: Null
    significance: float
    keep: int
    seed: int


class Selection(Artifact):
    """Contents of `selection.json`.

    Attributes:
        best: blocks to use, ascending.
        worst: as many blocks with the smallest statistic, the counter-example of Table VI, ascending.
        statistic: median D of each block, 0 … depth.
        p_value: p-value of the median D of each block, under the null.
        critical: D of each block at which p equals `definition.significance`.
    """

    remedy: ClassVar[str] = remedy_of_stage("select_features")

    best: list[int]
    worst: list[int]
    statistic: list[float]
    p_value: list[float]
    critical: list[float]
    definition: SelectionDefinition

    def blocks(self, which: BlockChoice) -> list[int]:
        """Return the blocks for a value of the parameter `classifier.selection`."""
        return {"best": self.best, "worst": self.worst, "last": [len(self.statistic) - 1]}[which]
