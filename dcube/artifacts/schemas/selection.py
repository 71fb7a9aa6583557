"""`selection.json`: which blocks of the U-ViT the stage `select_features` has chosen, and why."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage
from dcube.config.schema import BlockChoice, Null


class SelectionDefinition(ArtifactPart):
    """What was tested.

    Attributes:
        timestep: at which the images were shown.
        images: their number.
        values_a_map: patches of an image.
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
    """Attributes:
    best: blocks to use, ascending.
    worst: as many with the smallest statistic, the counter-example of Table VI.
    statistic: median D of every block, 0 … depth.
    p_value: of that median, under the null.
    critical: the D of every block at which p is `definition.significance`.
    """

    remedy: ClassVar[str] = remedy_of_stage("select_features")

    best: list[int]
    worst: list[int]
    statistic: list[float]
    p_value: list[float]
    critical: list[float]
    definition: SelectionDefinition

    def blocks(self, which: BlockChoice) -> list[int]:
        """Those that the parameter `classifier.selection` names."""
        return {"best": self.best, "worst": self.worst, "last": [len(self.statistic) - 1]}[which]
