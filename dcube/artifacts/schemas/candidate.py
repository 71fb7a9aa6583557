"""`config.json` of a candidate: what `train_classifier` and `train_baseline` say about the model that they trained."""

from typing import ClassVar

from dcube.artifacts.artifact import Part, run_again
from dcube.artifacts.schemas.dataset import InputSpec
from dcube.artifacts.schemas.weights import WeightsConfig
from dcube.config.schema import Baseline, Classifier, Diffusion


class Calibration(Part):
    """A fitted temperature, and the cross-entropy on the images that it was fitted on, without it and with it."""

    temperature: float = 1.0
    cross_entropy_before: float | None = None
    cross_entropy: float | None = None


class TrainedWith(Part):
    """The parameter groups that a candidate was trained with."""

    classifier: Classifier
    baseline: Baseline
    diffusion: Diffusion


class CandidateConfig(WeightsConfig):
    """Everything that loading, asking and judging a candidate needs.

    Attributes:
        kind: as in `dcube.classifier.candidate`.
        blocks: of the frozen U-ViT; None for kinds that use no diffusion features.
        noised: whether the U-ViT sees the image noised to t, instead of the clean one.
        evaluation_timesteps: noise levels that probabilities are averaged over.
        validation: metric → value on the validation split.
    """

    remedy: ClassVar[str] = run_again("train_classifier train_baseline")

    kind: str
    classes: list[str]
    input: InputSpec
    blocks: list[int] | None = None
    noised: bool = False
    calibration: Calibration = Calibration()
    evaluation_timesteps: list[int]
    params: TrainedWith
    data_fingerprint: str
    validation: dict[str, float]
