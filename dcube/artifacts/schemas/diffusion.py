"""`config.json` of the trained diffusion model."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import remedy_of_stage
from dcube.artifacts.schemas.weights import WeightsConfig
from dcube.config.schema import Diffusion


class DiffusionConfig(WeightsConfig):
    """Contents of the diffusion model's `config.json`.

    Attributes:
        diffusion: parameters of the training.
        image_size: side of the images in pixels.
        best_step: step whose weights were kept, a row of `validation.csv`.
    """

    remedy: ClassVar[str] = remedy_of_stage("train_diffusion")

    diffusion: Diffusion
    image_size: int
    best_step: int
    channels: int
    classes: list[str]
    data_fingerprint: str
