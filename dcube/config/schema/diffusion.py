"""Parameters of stage 1: the diffusion model, and the images that it generates."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dcube.config.schema.group import (
    Count,
    Decay,
    EmaDecay,
    Epochs,
    Fraction,
    GradientClip,
    Group,
    Rate,
    SamplingSteps,
    Seed,
    Sha256,
    Weight,
)

LEAST_LOG_SIGNAL = math.log(1e-36)  # smallest log ᾱ_T: 1 / ᾱ_T must be finite in float32


class Diffusion(Group):
    """Stage 1: the U-ViT, its noise schedule, losses and training (paper §III-B1, §IV-B1)."""

    patch_size: int = Field(8, ge=1, le=64, description="Side of one patch in pixels (paper: 8).")
    width: int = Field(512, ge=16, le=2048, multiple_of=8, description="Embedding dimension of a token (paper: 512).")
    depth: int = Field(
        12,
        ge=2,
        le=48,
        multiple_of=2,
        description="Blocks besides the middle one: half before it, half after it (paper: 12).",
    )
    heads: int = Field(8, ge=1, le=64, description="Attention heads (paper: 8); must divide the width.")
    timesteps: int = Field(
        1000, ge=10, le=10_000, description="Number of diffusion timesteps, T of Eq. (1) (paper: 1000)."
    )
    beta_start: float = Field(1e-4, gt=0.0, lt=1.0, description="First β of the linear noise schedule, Eq. (1).")
    beta_end: float = Field(0.02, gt=0.0, lt=1.0, description="Last β of the linear noise schedule, Eq. (1).")
    prediction: Literal["epsilon", "v_prediction"] = Field(
        "epsilon",
        description=(
            "Prediction target: the noise (Eq. 3, the paper), or the velocity, which learns faster on small budgets."
        ),
    )
    label_dropout: Fraction = Field(
        0.2,
        description=(
            "Share of the pairs that are trained without labels. Stage 2 gives no label, so this path must be trained."
        ),
    )
    contrastive: Literal["pooled", "published", "off"] = Field(
        "pooled",
        description=(
            "Distance of Eq. (4): pooled (mean-pooled, normalised, label-free features), published (summed over "
            "all tokens, with the label as an input), or off."
        ),
    )
    contrastive_weight: Weight = Field(1.0, description="Weight of Eq. (4) in Eq. (5) (paper: 1).")
    margin: float = Field(
        0.1,
        gt=0.0,
        le=4.0,
        description="Margin m of Eq. (4): distance up to which images of two classes are pushed apart (paper: 0.1).",
    )
    epochs: Epochs = Field(
        280, description="Maximum number of epochs; training stops earlier when FID stabilises (paper: 280/950/730)."
    )
    batch_size: Count = Field(64, description="Pairs in a batch (paper: 64).")
    optimiser: Literal["adamw", "muon"] = Field(
        "adamw", description="adamw as in the paper, or muon for the matrices of the blocks and AdamW for the rest."
    )
    learning_rate: Rate = Field(2e-4, description="Learning rate (paper: 2e-4).")
    warmup_steps: int = Field(0, ge=0, le=10_000_000, description="Steps of linear warm-up of the learning rate.")
    weight_decay: Decay = Field(0.03, description="Weight decay.")
    gradient_clip: GradientClip = 1.0
    ema_decay: EmaDecay = 0.9999
    fid_every: Epochs = Field(10, description="Epochs between two measurements of FID.")
    patience: Count = Field(
        5, description="Early stopping: measurements of FID without improvement after which training stops."
    )
    seed: Seed = Field(0, description="Random seed of the initial weights, the pairs and the noise.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        if self.beta_start >= self.beta_end:
            raise ValueError("beta_start must be below beta_end")
        step = (self.beta_end - self.beta_start) / (self.timesteps - 1)
        betas = (min(self.beta_start + step * t, self.beta_end) for t in range(self.timesteps))  # `min`: rounding
        if math.fsum(math.log1p(-beta) for beta in betas) < LEAST_LOG_SIGNAL:
            raise ValueError(
                f"after timesteps ({self.timesteps}) up to beta_end ({self.beta_end:g}) nothing is left of an image to "
                "sample from: lower one of them"
            )
        return self


class Fid(Group):
    """How generated images are compared with real ones (paper Table V). Only values of one extractor are comparable."""

    extractor: Literal["efficientnet_lite0", "inception"] = Field(
        "inception",
        description=(
            "Network that extracts the features. efficientnet_lite0 comes with the installation; inception (the "
            "usual FID) needs a weights file."
        ),
    )
    weights_file: str | None = Field(None, description="Local file with the weights of the extractor (inception).")
    weights_sha256: Sha256 | None = Field(None, description="SHA-256 of that file: 64 hexadecimal digits.")
    resize: int = Field(299, ge=32, le=512, description="Image side in pixels for the extractor.")
    samples: int = Field(
        5000,
        ge=2,
        le=1_000_000,
        description="Images generated for one measurement, with the class ratio of the data set.",
    )
    sampling_steps: SamplingSteps = 50
    seed: Seed = Field(0, description="Random seed of the generated images.")


class Synthesis(Group):
    """Synthetic images for rare classes (paper Table III)."""

    ratio: dict[str, Annotated[float, Field(ge=1e-6, le=1e6)]] = Field(
        default_factory=dict,
        description=(
            "Target class ratio of real and synthetic images together (paper: 2:2:3). Empty: all classes as "
            "frequent as the largest."
        ),
    )
    maximum: int = Field(30_000, ge=0, le=10_000_000, description="Maximum number of synthetic images (paper: 30,000).")
    sampling_steps: SamplingSteps = 50
    batch_size: Count = Field(256, description="Images generated in one batch.")
    seed: Seed = Field(0, description="Random seed: image i uses seed + i.")
