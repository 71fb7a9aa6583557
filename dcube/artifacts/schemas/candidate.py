"""`config.json` of a candidate, written by the stage that trains it."""

from typing import Any, ClassVar

from pydantic import BaseModel, Field, field_serializer

from dcube.artifacts.candidates import TRAINING_STAGES
from dcube.artifacts.schemas.artifact import ArtifactPart, remedy_of_stage
from dcube.artifacts.schemas.dataset import InputSpec
from dcube.artifacts.schemas.weights import WeightsConfig
from dcube.config.schema import Baseline, Classifier, Diffusion


class Calibration(ArtifactPart):
    """A fitted temperature, and the cross-entropy before and after it on the images that it was fitted on."""

    temperature: float = 1.0
    cross_entropy_before: float | None = None
    cross_entropy: float | None = None


class TrainedWith(ArtifactPart):
    """The parameters that affect a candidate.

    Attributes:
        classifier: parameters of D-Cube or a control; None for a baseline method.
        baseline: parameters of a baseline method, with its published values filled in; None for other candidates.
        diffusion: parameters of the frozen U-ViT; None if there is none.
    """

    classifier: Classifier | None = None
    baseline: Baseline | None = None
    diffusion: Diffusion | None = None

    @field_serializer("*")
    def _only_those_given(self, group: BaseModel | None) -> dict[str, Any] | None:
        return None if group is None else group.model_dump(mode="json", exclude_unset=True)


class CandidateConfig(WeightsConfig):
    """Everything needed to load a candidate, to predict with it and to evaluate it.

    Attributes:
        kind: name of D-Cube or a control (`dcube.artifacts.candidates`), or of a baseline method.
        blocks: blocks of the frozen U-ViT that are used; None for kinds without diffusion features.
        noised: whether the U-ViT sees the image noised to t, instead of the clean one.
        evaluation_timesteps: timesteps over which probabilities are averaged.
        flips: whether predictions are means over an image and its mirror image.
        prior: share of each class that the probabilities assume.
        validation: metric → value on the validation split.
        members: the candidates of an ensemble, each with its own blocks, calibration and prior; empty for one network.
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
    members: list["CandidateConfig"] = Field(default_factory=list)

    @property
    def networks(self) -> list["CandidateConfig"]:
        """The members of an ensemble, or this candidate alone."""
        return self.members or [self]
