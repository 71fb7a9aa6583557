"""`selection.json`: which blocks of the U-ViT the stage `select_features` has chosen, and why."""

from typing import ClassVar

from dcube.artifacts.artifact import Artifact, ArtifactPart, run_again


class SelectionDefinition(ArtifactPart):
    """What was tested.

    Attributes:
        timestep: noise level at which the images were shown.
        images: their number.
        values_a_map: patches of an image.
        significance, keep: as in the parameter group `features`.
    """

    timestep: int
    images: int
    values_a_map: int
    significance: float
    keep: int
    seed: int


class Selection(Artifact):
    """Attributes:
    best: blocks to use, ascending.
    worst: as many with the smallest statistic, the counter-example of Table VI.
    statistic: median D of every block, 0 … depth.
    p_value: median p of every block.
    """

    remedy: ClassVar[str] = run_again("select_features")

    best: list[int]
    worst: list[int]
    statistic: list[float]
    p_value: list[float]
    definition: SelectionDefinition
