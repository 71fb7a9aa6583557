"""`config.json` of the trained diffusion model."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import remedy_of_stage
from dcube.artifacts.schemas.weights import WeightsConfig
from dcube.config.schema import Diffusion


class DiffusionConfig(WeightsConfig):
    """Attributes:
    diffusion: the parameters that it was trained with.
    image_size: side in pixels of its images.
    best_step: the step whose weights were kept, a row of `validation.csv`.
    """

    remedy: ClassVar[str] = remedy_of_stage("train_diffusion")

    diffusion: Diffusion
    image_size: int
    best_step: int
    channels: int
    classes: list[str]
    data_fingerprint: str
