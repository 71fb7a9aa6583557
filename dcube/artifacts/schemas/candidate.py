"""`config.json` of a candidate: what the stages that train one say about it."""

from typing import Any, ClassVar

from pydantic import BaseModel, field_serializer

from dcube.artifacts.candidates import TRAINING_STAGES
from dcube.artifacts.schemas.artifact import ArtifactPart, remedy_of_stage
from dcube.artifacts.schemas.dataset import InputSpec
from dcube.artifacts.schemas.weights import WeightsConfig
from dcube.config.schema import Baseline, Classifier, Diffusion


class Calibration(ArtifactPart):
    """A fitted temperature, and the cross-entropy on the images that it was fitted on, without it and with it."""

    temperature: float = 1.0
    cross_entropy_before: float | None = None
    cross_entropy: float | None = None


class TrainedWith(ArtifactPart):
    """The parameters that a candidate was trained with, and no others.

    Attributes:
        classifier: of D-Cube and its controls; None for a method to compare with.
        baseline: of a method to compare with, resolved: with the values that its authors publish.
        diffusion: of the frozen U-ViT, if there is one.
    """

    classifier: Classifier | None = None
    baseline: Baseline | None = None
    diffusion: Diffusion | None = None

    @field_serializer("*")
    def _only_those_given(self, group: BaseModel | None) -> dict[str, Any] | None:
        return None if group is None else group.model_dump(mode="json", exclude_unset=True)


class CandidateConfig(WeightsConfig):
    """Everything that loading, predicting with and judging a candidate needs.

    Attributes:
        kind: one of D-Cube's and its controls' names (`dcube.artifacts.candidates`), or a method's.
        blocks: of the frozen U-ViT; None for kinds that use no diffusion features.
        noised: whether the U-ViT sees the image noised to t, instead of the clean one.
        evaluation_timesteps: that probabilities are averaged over.
        flips: whether predictions are means over an image and its mirror image.
        prior: share of each class that the probabilities assume.
        validation: metric → value on the validation split.
    """

    remedy: ClassVar[str] = remedy_of_stage(TRAINING_STAGES)

    kind: str
    classes: list[str]
    input: InputSpec
    blocks: list[int] | None = None
    noised: bool = False
    calibration: Calibration = Calibration()
    evaluation_timesteps: list[int]
    flips: bool = False
    prior: list[float]
    params: TrainedWith
    data_fingerprint: str
    validation: dict[str, float]
