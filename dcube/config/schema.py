"""`params.yaml` as frozen pydantic models: one group a stage, every field with its meaning and bounds.

Defaults are the paper's values (§IV-B and the published configuration) wherever the paper has one.
Presets (`dcube/config/presets/*.yaml`) are differences from these defaults.
"""

from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dcube.config import json_schema

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Timestep = Annotated[int, Field(ge=0, lt=10_000)]


class Group(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        field_title_generator=json_schema.title,
        json_schema_extra=json_schema.arrange,
    )


class Data(Group):
    """Which raw images, and how they become arrays."""

    name: str = Field(
        "phantom",
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",
        description="Folder below data/, and name of the task in the model registry.",
    )
    image_size: int = Field(256, ge=8, le=2048, description="Side in pixels that CNNs see (paper: 256).")
    diffusion_image_size: int = Field(
        128, ge=8, le=1024, description="Side in pixels that the U-ViT sees (paper: 128)."
    )
    channels: Literal[1, 3] = Field(1, description="1 for grey, 3 for colour images.")
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop",
        description="How an image that is not square becomes one: centre crop, black border, or stretch.",
    )
    crop: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="Side in stored pixels of the middle square that is used (paper: 256 for CT). None: all of it.",
    )
    window_center: float | None = Field(
        None,
        description=(
            "Middle of the values shown, in the file's units (CT: Hounsfield units, soft tissue 40). DICOM and "
            "NIfTI only. None: the file's own window."
        ),
    )
    window_width: float | None = Field(
        None, gt=0.0, description="Range of the values shown, from black to white (soft tissue 400). None: as above."
    )
    identifiers: Literal["hashed", "kept"] = Field(
        "hashed",
        description=(
            "Patient ids and file names beyond data/: hashed with this installation's salt, or kept as they are "
            "(public sets of plain images only)."
        ),
    )
    near_duplicates: bool = Field(
        True,
        description="Look for copies that were re-encoded, resized or brightened, and keep them in one split.",
    )
    validation_fraction: float = Field(
        0.15,
        gt=0.0,
        lt=0.5,
        description=("Share of the patients held out for model selection, where the set has no split of its own."),
    )
    test_fraction: float = Field(
        0.2,
        gt=0.0,
        lt=0.5,
        description="Share of the patients held out for the one test, where the set has no split of its own.",
    )
    train_fraction: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="Share of the training images that is used (curves over the amount of data).",
    )
    imbalance: float | None = Field(
        None,
        ge=1.0,
        description=(
            "How many times more training images the most frequent class has than each other one, by leaving images "
            "out, for curves over the imbalance. None: as it is."
        ),
    )
    seed: Seed = Field(0, description="Decides who goes into which split, and which training images are left out.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.window_center is None) != (self.window_width is None):
            raise ValueError("give window_center and window_width together, or neither")
        return self


class Diffusion(Group):
    """Stage 1: the U-ViT, its noise schedule, losses and training (paper §III-B1, §IV-B1)."""

    patch_size: int = Field(8, ge=1, le=64, description="Side of one patch in pixels (paper: 8).")
    width: int = Field(512, ge=16, le=2048, multiple_of=8, description="Channels of a token (paper: 512).")
    depth: int = Field(
        12, ge=2, le=48, multiple_of=2, description="Blocks besides the middle one; half go in, half out (paper: 12)."
    )
    heads: int = Field(8, ge=1, le=64, description="Attention heads (paper: 8); divides the width.")
    timesteps: int = Field(1000, ge=10, le=10_000, description="Noise levels, T of Eq. (1) (paper: 1000).")
    beta_start: float = Field(1e-4, gt=0.0, lt=1.0, description="First β of the linear noise schedule, Eq. (1).")
    beta_end: float = Field(0.02, gt=0.0, lt=1.0, description="Last β of the linear noise schedule, Eq. (1).")
    prediction: Literal["epsilon", "v_prediction"] = Field(
        "epsilon",
        description=(
            "What the network puts out: the noise (Eq. 3, the paper), or the velocity, which learns "
            "faster on small budgets."
        ),
    )
    label_dropout: Fraction = Field(
        0.2,
        description=(
            "Share of the pairs trained without their labels. Stage 2 has no label to give, so this "
            "path must be trained."
        ),
    )
    contrastive: Literal["pooled", "published", "off"] = Field(
        "pooled",
        description=(
            "Distance of Eq. (4): on mean-pooled, normalised, label-free features; as published "
            "(summed over all tokens, label among the inputs); or none."
        ),
    )
    contrastive_weight: Weight = Field(1.0, description="Factor on Eq. (4) inside Eq. (5) (paper: 1).")
    margin: float = Field(
        0.1, gt=0.0, le=4.0, description="How far images of two classes are pushed apart, m of Eq. (4) (paper: 0.1)."
    )
    epochs: Count = Field(
        280, description="Most epochs; training ends earlier once FID stabilises (paper: 280/950/730)."
    )
    batch_size: Count = Field(64, description="Pairs a step (paper: 64).")
    learning_rate: Rate = Field(2e-4, description="Step size of the optimiser, AdamW (paper: 2e-4).")
    warmup_steps: int = Field(0, ge=0, description="Steps over which the learning rate rises linearly.")
    weight_decay: Weight = Field(0.03, description="Pull of AdamW towards small weights.")
    gradient_clip: float = Field(1.0, gt=0.0, description="Largest norm of the gradient.")
    ema_decay: float = Field(0.9999, ge=0.0, lt=1.0, description="Decay of the averaged weights once warmed up.")
    fid_every: Count = Field(10, description="Epochs between two measurements of FID.")
    patience: Count = Field(5, description="Measurements of FID without improvement after which training stops.")
    seed: Seed = Field(0, description="Decides the first weights, the pairs, the noise.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        if self.beta_start >= self.beta_end:
            raise ValueError("beta_start must be below beta_end")
        return self


class Fid(Group):
    """How generated images are compared with real ones (paper Table V). Numbers of two extractors never compare."""

    extractor: Literal["efficientnet_lite0", "inception"] = Field(
        "inception",
        description=(
            "Network whose features are compared. efficientnet_lite0 comes with the installation; "
            "inception (the usual FID) needs its weights file."
        ),
    )
    weights_file: str | None = Field(None, description="Local file with the extractor's weights (inception).")
    weights_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of that file: 64 hexadecimal digits."
    )
    resize: int = Field(299, ge=32, le=512, description="Side in pixels at which the extractor sees the images.")
    samples: int = Field(5000, ge=2, description="Images generated for one measurement, in the classes' own ratio.")
    sampling_steps: int = Field(50, ge=2, le=1000, description="DPM-Solver++ steps an image.")
    seed: Seed = Field(0, description="Decides the generated images.")


class Features(Group):
    """Selection of the blocks whose features are not Gaussian (paper §III-B2, Eq. 6)."""

    timestep: Timestep = Field(1, description="Noise level at which the clean training images are shown. Low is best.")
    images: Count = Field(512, description="Training images tested.")
    significance: float = Field(
        0.05, gt=0.0, lt=1.0, description="A block with a median p below this counts as semantic (paper: 0.05)."
    )
    keep: Count = Field(3, description="Blocks to use at least: filled up by the largest statistic D (paper: 2 or 3).")
    batch_size: Count = Field(64, description="Images a forward pass.")
    seed: Seed = Field(0, description="Decides which training images are tested.")


class Synthesis(Group):
    """Synthetic images for rare classes (paper Table III)."""

    ratio: dict[str, Annotated[float, Field(gt=0.0)]] = Field(
        default_factory=dict,
        description=(
            "Wished class ratio, real and synthetic together (paper: 2:2:3). Empty: all classes as "
            "frequent as the largest."
        ),
    )
    maximum: int = Field(30_000, ge=0, description="Most synthetic images in all (paper: 30,000).")
    sampling_steps: int = Field(50, ge=2, le=1000, description="DPM-Solver++ steps an image.")
    batch_size: Count = Field(256, description="Images generated at once.")
    seed: Seed = Field(0, description="Image i is made from seed + i.")


class Pretrained(Group):
    """Where a network's weights come from."""

    weights: Literal["none", "package", "file", "download"] = Field(
        "download",
        description=(
            "Pretrained weights: none, from an installed package (tf_efficientnet_lite0), a local "
            "file, or fetched from where its authors publish them."
        ),
    )
    weights_file: str | None = Field(None, description="A .safetensors file, for weights: file.")
    weights_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of that file: 64 hexadecimal digits."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.weights == "file" and not (self.weights_file and self.weights_sha256):
            raise ValueError("weights: file needs weights_file and weights_sha256")
        return self


class SubFeatures(Pretrained):
    """The network beside the U-ViT (paper: ResNeXt-101 pretrained on ImageNet, Table VIII)."""

    architecture: str = Field("resnext101_32x8d", description="Name of the network in timm.")
    stage: int = Field(-1, ge=-5, le=4, description="Which of timm's feature stages is used; -1 is the deepest.")


ExtraImages = Literal["none", "synthetic", "duplicates"]


class Labels(Group):
    """How many labels stage 2 sees. Stage 1 sees every training image all the same."""

    count: int | None = Field(
        None, ge=2, description="Labelled training images used, in the classes' own ratio. None: all of them."
    )
    draw: Seed = Field(0, description="Decides which ones: the same for every model.")


class Probe(Group):
    """What a linear probe reads from frozen features: by block, noise level and number of labels."""

    labels: list[Annotated[int, Field(ge=2)]] = Field(
        [20, 50, 100, 500], description="Numbers of labels of the label-efficiency curve; all of them come last."
    )
    draws: Count = Field(20, description="Random draws of the labels, the same for all features.")
    timesteps: list[Timestep] = Field(
        [1, 10, 50, 100, 250, 500], min_length=1, description="Noise levels of the map of blocks and noise levels."
    )
    batch_size: Count = Field(256, description="Images a forward pass.")
    seed: Seed = Field(0, description="Decides the noise and the untrained control.")


class Classifier(Group):
    """Stage 2: the D-Cube head on frozen features (paper §III-B2, §IV-B2)."""

    sub_features: SubFeatures = Field(default_factory=SubFeatures, description="The network beside the U-ViT.")
    use_sub_features: bool = Field(True, description="Use the network beside the U-ViT (Table IV without it).")
    selection: Literal["best", "worst", "last"] = Field(
        "best",
        description="Which blocks are used: of select_features (Table VI), or the last one, unselected (Table IV).",
    )
    input: Literal["clean", "noised"] = Field(
        "clean", description="What the U-ViT sees at t: the clean image (paper), or the image noised to t (Table VII)."
    )
    fused_channels: int = Field(1, ge=1, le=512, description="Channels after the 1×1 convolution (paper: 1).")
    dropout: float = Field(
        0.5, ge=0.0, lt=1.0, description="Share of values hidden between the two fully connected layers (paper: 0.5)."
    )
    timestep_low: Timestep = Field(0, description="Training shows the clean image at a random t from here …")
    timestep_high: Timestep = Field(999, description="… to here, both included (paper: 0 to 999).")
    evaluation_timesteps: list[Timestep] = Field(
        [1],
        min_length=1,
        max_length=10,
        description="Fixed t's of evaluation; probabilities are averaged over them.",
    )
    cycle_weight: Weight = Field(
        10.0, description="α of Eq. (10) (paper: 10 pancreas, 100 breast). 0 switches Eq. (7) off."
    )
    consistency_weight: Weight = Field(0.1, description="β of Eq. (10) (paper: 0.1). 0 switches Eq. (8) off.")
    flip_probability: Fraction = Field(0.5, description="How often an image is shown mirrored (paper: 0.5).")
    extra_images: ExtraImages = Field(
        "none",
        description="Train on the synthetic images too, or, as their control, on as many repeated real ones.",
    )
    epochs: Count = Field(70, description="Passes over the training images (paper: 70, breast 50).")
    batch_size: Count = Field(64, description="Images a step (paper: 64).")
    learning_rate: Rate = Field(2e-4, description="Step size of the optimiser, AdamW (paper: 2e-4).")
    weight_decay: Weight = Field(0.03, description="Pull of AdamW towards small weights (paper: 0.03, breast 0.1).")
    gradient_clip: float = Field(1.0, gt=0.0, description="Largest norm of the gradient.")
    ema_decay: float = Field(
        0.999, ge=0.0, lt=1.0, description="Decay of the averaged weights once warmed up (paper: 0.999)."
    )
    seed: Seed = Field(0, description="Decides the first weights, the order, the flips.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.timestep_low > self.timestep_high:
            raise ValueError("timestep_low must not be above timestep_high")
        return self


class Baseline(Pretrained):
    """A published method to compare with (paper Tables I and II), under the same protocol."""

    method: str = Field(
        "resnet101",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$",
        description="Name of the method (`dcube methods` lists them), or of any network in timm.",
    )
    extra_images: ExtraImages = Field(
        "none",
        description="Train on the synthetic images too (paper Table III), or on as many repeated real ones.",
    )
    flip_probability: Fraction = Field(0.5, description="How often an image is shown mirrored.")
    epochs: Count | None = Field(
        None, description="Passes over the training images. None: the method's own (paper Table IX)."
    )
    pretraining_steps: Count | None = Field(
        None, description="Steps of a method that is trained without labels first (CPT). None: the method's own."
    )
    batch_size: Count = Field(64, description="Images a step.")
    optimiser: Literal["adamw", "sgd"] | None = Field(
        None, description="AdamW, or SGD with momentum 0.9. None: the method's own (paper Table IX)."
    )
    learning_rate: Rate | None = Field(
        None, description="Step size of the optimiser. None: the method's own (paper Table IX)."
    )
    weight_decay: Weight | None = Field(
        None, description="Pull towards small weights. None: the method's own (paper Table IX)."
    )
    gradient_clip: float = Field(1.0, gt=0.0, description="Largest norm of the gradient.")
    ema_decay: float = Field(0.999, ge=0.0, lt=1.0, description="Decay of the averaged weights once warmed up.")
    seed: Seed = Field(0, description="Decides the first weights, the order, the flips.")


class Evaluation(Group):
    """The one look at the test split."""

    bootstrap_samples: int = Field(
        2000, ge=100, le=100_000, description="Resamples (of patients, where known) for the intervals."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="Coverage of the intervals.")
    calibration_bins: int = Field(10, ge=2, le=100, description="Bins of the reliability plot and of ECE.")
    abstain_below: Fraction = Field(
        0.0, description="Confidence (largest calibrated probability) below which the model gives no answer. 0: never."
    )
    seed: Seed = Field(0, description="Decides the resamples.")


class Compute(Group):
    """Where and how numbers are computed."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of matrix products in training; auto takes bfloat16 where the hardware computes with it.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that train together, one a GPU (without GPUs they share the cores). Same result.",
    )
    compile: bool = Field(False, description="torch.compile the networks: worth it for long runs on a GPU.")

    def defining(self) -> dict:
        """What of it defines a training: not by how many processes it is computed."""
        return self.model_dump(exclude={"processes"})


class Params(Group):
    """Everything that a run can be told. One group a stage."""

    data: Data = Field(default_factory=Data)
    diffusion: Diffusion = Field(default_factory=Diffusion)
    fid: Fid = Field(default_factory=Fid)
    features: Features = Field(default_factory=Features)
    synthesis: Synthesis = Field(default_factory=Synthesis)
    labels: Labels = Field(default_factory=Labels)
    classifier: Classifier = Field(default_factory=Classifier)
    baseline: Baseline = Field(default_factory=Baseline)
    probe: Probe = Field(default_factory=Probe)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    compute: Compute = Field(default_factory=Compute)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        size, patch = self.data.diffusion_image_size, self.diffusion.patch_size
        if size % patch:
            raise ValueError(f"diffusion.patch_size ({patch}) must divide data.diffusion_image_size ({size})")
        asked = (*self.classifier.evaluation_timesteps, *self.probe.timesteps)
        highest = max(self.features.timestep, self.classifier.timestep_high, *asked)
        if highest >= self.diffusion.timesteps:
            raise ValueError(f"timestep {highest} must be below diffusion.timesteps ({self.diffusion.timesteps})")
        smallest_batch = min(group.batch_size for group in (self.diffusion, self.classifier, self.baseline))
        if self.compute.processes > smallest_batch:
            raise ValueError(f"compute.processes ({self.compute.processes}) exceeds a batch_size ({smallest_batch})")
        if self.features.keep > self.diffusion.depth + 1:
            raise ValueError(f"features.keep ({self.features.keep}) exceeds the {self.diffusion.depth + 1} blocks")
        return self

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
