"""Parameters of the frozen features: block selection and linear probes."""

from typing import Annotated, Literal

from pydantic import Field

from dcube.config.schema.group import Count, Group, Seed, Timestep

Null = Literal["random_field", "as_published"]


class Features(Group):
    """Selection of the blocks whose features are not Gaussian (paper §III-B2, Eq. 6)."""

    timestep: Timestep = Field(
        1, description="Timestep given to the U-ViT with the clean training images. Low timesteps worked best here."
    )
    images: Count = Field(512, description="Number of training images that are tested.")
    null: Null = Field(
        "random_field",
        description=(
            "What feature maps are compared with. random_field: Gaussian fields with the same autocorrelation, "
            "standardised like the maps. as_published: independent values of the standard normal distribution."
        ),
    )
    significance: float = Field(
        0.05,
        gt=0.0,
        lt=1.0,
        description="A block counts as semantic if the p-value of its median D is below this (paper: 0.05).",
    )
    keep: Count = Field(
        3, description="Minimum number of blocks; those with the largest statistic D are added (paper: 2 or 3)."
    )
    batch_size: Count = Field(64, description="Batch size of a forward pass.")
    seed: Seed = Field(0, description="Random seed of the choice of training images.")


class Probe(Group):
    """Linear probes on the frozen features: by block, timestep and number of labels."""

    labels: list[Annotated[int, Field(ge=2)]] = Field(
        [], description="Numbers of labels in the label-efficiency curve; the full number is added. Empty: no probes."
    )
    draws: Count = Field(20, description="Random subsets per number of labels, the same for all features.")
    timesteps: list[Timestep] = Field(
        [1, 10, 50, 100, 250, 500], min_length=1, description="Timesteps of the map of blocks and timesteps."
    )
    batch_size: Count = Field(256, description="Batch size of a forward pass.")
    seed: Seed = Field(0, description="Random seed of the noise and of the untrained control.")
