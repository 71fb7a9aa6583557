"""Parameters of the classifiers: D-Cube, its controls and the baselines."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, model_validator

from dcube.config.schema.group import (
    Count,
    Decay,
    EmaDecay,
    Epochs,
    Fraction,
    GradientClip,
    Group,
    Rate,
    Seed,
    Sha256,
    Timestep,
    Weight,
)


class Pretrained(Group):
    """Where a network's weights come from."""

    weights: Literal["none", "package", "file", "download"] = Field(
        "download",
        description=(
            "Pretrained weights: none, from an installed package (tf_efficientnet_lite0), from a local file, or "
            "downloaded from where the authors publish them."
        ),
    )
    weights_file: str | None = Field(None, description="A .safetensors file, for weights: file.")
    weights_sha256: Sha256 | None = Field(None, description="SHA-256 of that file: 64 hexadecimal digits.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.weights == "file" and not (self.weights_file and self.weights_sha256):
            raise ValueError("weights: file needs weights_file and weights_sha256")
        return self


class SubFeatures(Pretrained):
    """The network beside the U-ViT (paper: ResNeXt-101 pretrained on ImageNet, Table VIII)."""

    architecture: str = Field("resnext101_32x8d", description="Name of the network in timm.")
    stage: int = Field(
        -1, ge=-5, le=4, description="Index of the feature stage in timm that is used; -1 is the deepest."
    )


ExtraImages = Literal["none", "synthetic", "duplicates"]
BlockChoice = Literal["best", "worst", "last"]
Optimiser = Literal["adamw", "sgd"]
ClassBalance = Annotated[
    Literal["none", "loss_weights", "sampling", "logit_adjustment"],
    Field(
        description=(
            "What makes rare classes count as much as frequent ones: loss_weights (each class's share of the loss), "
            "sampling (every class equally often in an epoch), logit_adjustment (Menon et al. 2021, tau = 1). "
            "Probabilities are then those of equally frequent classes. none: as in the training images."
        )
    ),
]
Augmentation = Annotated[
    Literal["none", "geometric", "radiograph", "ct", "mri"],
    Field(
        description=(
            "Small random changes of training images beside flips (paper: none). geometric: rotation, shift and scale; "
            "radiograph, ct, mri: also brightness, contrast and noise, as far as that modality allows."
        )
    ),
]
TestFlip = Annotated[
    StrictBool,
    Field(description="Predict the mean of an image's and its mirror image's probabilities, in evaluation and in use."),
]
TrainingSeed = Annotated[
    Seed, Field(description="Random seed of the initial weights, the order of the images and the flips.")
]


class Optimisation(Group):
    """Training settings of any classifier, made from `Classifier` or `Baseline`.

    It is not their base class, because pydantic puts inherited fields first, and `params.yaml` and the form follow the
    order of the fields. Shared bounds and descriptions are in the types.
    """

    epochs: Epochs
    batch_size: Count
    optimiser: Optimiser
    learning_rate: Rate
    weight_decay: Decay
    gradient_clip: GradientClip
    ema_decay: EmaDecay
    flip_probability: Fraction
    augmentation: Augmentation
    class_balance: ClassBalance
    seed: TrainingSeed

    @classmethod
    def of(cls, group: Group, **published: Any) -> Self:
        """Take the values of a group; those that it lacks or leaves at None come from `published`."""
        own = {name: getattr(group, name, None) for name in cls.model_fields}
        return cls(**{name: published[name] if value is None else value for name, value in own.items()})


class HeadSettings(Group):
    """Loss weights of Eq. (10) beside cross-entropy, and the timesteps at which the head uses the U-ViT.

    By default only cross-entropy is used.
    """

    consistency_weight: Weight = 0.0
    cycle_weight: Weight = 0.0
    timestep_low: Timestep = 0
    timestep_high: Timestep = 0
    evaluation_timesteps: list[Timestep] = Field([])


class Labels(Group):
    """How many labels stage 2 uses. Stage 1 uses every training image, labelled or not."""

    count: int | None = Field(
        None,
        ge=2,
        description="Number of labelled training images, with the class ratio of the data set. null: all of them.",
    )
    seed: Seed = Field(0, description="Random seed of the choice of labelled images, the same for every model.")


class Classifier(Group):
    """Stage 2: the D-Cube head on frozen features (paper §III-B2, §IV-B2)."""

    sub_features: SubFeatures = Field(default_factory=SubFeatures, description="The network beside the U-ViT.")
    use_sub_features: StrictBool = Field(True, description="Use the network beside the U-ViT (Table IV without it).")
    selection: BlockChoice = Field(
        "best",
        description="Blocks that are used: best or worst of select_features (Table VI), or the last block (Table IV).",
    )
    input: Literal["clean", "noised"] = Field(
        "clean", description="Input of the U-ViT at t: the clean image (paper), or the image noised to t (Table VII)."
    )
    fused_channels: int = Field(1, ge=1, le=512, description="Channels after the 1×1 convolution (paper: 1).")
    dropout: float = Field(
        0.5, ge=0.0, lt=1.0, description="Dropout between the two fully connected layers (paper: 0.5)."
    )
    timestep_low: Timestep = Field(0, description="Lowest timestep in training: t is random for each image.")
    timestep_high: Timestep = Field(999, description="Highest timestep in training, included (paper: 999).")
    evaluation_timesteps: list[Timestep] = Field(
        [1],
        min_length=1,
        max_length=10,
        description="Fixed timesteps in evaluation; probabilities are averaged over them.",
    )
    cycle_weight: Weight = Field(
        10.0, description="Weight α of the cycle loss in Eq. (10) (paper: 10 pancreas, 100 breast). 0 switches it off."
    )
    consistency_weight: Weight = Field(
        0.1, description="Weight β of the consistency loss in Eq. (10) (paper: 0.1). 0 switches it off."
    )
    flip_probability: Fraction = Field(0.5, description="Probability of a horizontal flip (paper: 0.5).")
    augmentation: Augmentation = "none"
    class_balance: ClassBalance = "none"
    flip_at_test: TestFlip = False
    extra_images: ExtraImages = Field(
        "none",
        description="Extra training images: none, the synthetic ones, or as many duplicates of real ones (control).",
    )
    epochs: Epochs = Field(70, description="Epochs (paper: 70, breast 50).")
    batch_size: Count = Field(64, description="Images in a batch (paper: 64).")
    learning_rate: Rate = Field(2e-4, description="Learning rate of AdamW (paper: 2e-4).")
    weight_decay: Decay = Field(0.03, description="Weight decay of AdamW (paper: 0.03, breast 0.1).")
    gradient_clip: GradientClip = 1.0
    ema_decay: EmaDecay = Field(
        0.999, description="Decay of the moving average of the weights, after its warm-up (paper: 0.999)."
    )
    seed: TrainingSeed = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.timestep_low > self.timestep_high:
            raise ValueError("timestep_low must not be above timestep_high")
        return self

    @property
    def optimisation(self) -> Optimisation:
        return Optimisation.of(self, optimiser="adamw")

    @property
    def head_settings(self) -> HeadSettings:
        return HeadSettings(**{name: getattr(self, name) for name in HeadSettings.model_fields})


class Baseline(Pretrained):
    """The baseline: a published method (paper Tables I and II), under the same protocol."""

    method: str = Field(
        "resnet101",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$",
        description="Method (`dcube methods` lists them), or any network in timm (NAME_probe: frozen).",
    )
    extra_images: ExtraImages = Field(
        "none",
        description="Extra training images: none, synthetic (paper Table III), or as many duplicates of real ones.",
    )
    flip_probability: Fraction = Field(0.5, description="Probability of a horizontal flip.")
    augmentation: Augmentation = "none"
    class_balance: ClassBalance = "none"
    flip_at_test: TestFlip = False
    epochs: Epochs | None = Field(None, description="Epochs. null: the method's own (paper Table IX).")
    pretraining_steps: Count | None = Field(
        None,
        description="Pretraining steps of a method that is first trained without labels (CPT). null: the method's own.",
    )
    batch_size: Count = Field(64, description="Images in a batch.")
    optimiser: Optimiser | None = Field(
        None, description="AdamW, or SGD with momentum 0.9. null: the method's own (paper Table IX)."
    )
    learning_rate: Rate | None = Field(None, description="Learning rate. null: the method's own (paper Table IX).")
    weight_decay: Decay | None = Field(None, description="Weight decay. null: the method's own (paper Table IX).")
    gradient_clip: GradientClip = 1.0
    ema_decay: EmaDecay = 0.999
    seed: TrainingSeed = 0
