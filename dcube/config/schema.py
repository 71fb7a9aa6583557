"""`params.yaml` as frozen pydantic models: one group a stage, every field with its meaning and bounds.

Defaults are the paper's values (§IV-B and the published configuration) wherever the paper has one.
Presets (`dcube/config/presets/*.yaml`) are differences from these defaults.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dcube.config.classifiers import (
    Augmentation,
    Baseline,
    ClassBalance,
    Classifier,
    ExtraImages,
    HeadLosses,
    Labels,
    Optimisation,
    Optimiser,
    Pretrained,
    Probe,
    SubFeatures,
)
from dcube.config.group import Count, Decay, Epochs, Fraction, Group, Rate, Seed, Timestep, Weight
from dcube.config.path_pattern import PathPattern
from dcube.config.yaml_text import dump_yaml

__all__ = [
    "Augmentation",
    "Baseline",
    "ClassBalance",
    "Classifier",
    "Compute",
    "Data",
    "Diffusion",
    "Evaluation",
    "ExtraImages",
    "Features",
    "Fid",
    "Group",
    "HeadLosses",
    "Labels",
    "Optimisation",
    "Optimiser",
    "Params",
    "Pretrained",
    "Probe",
    "Seed",
    "SubFeatures",
    "Synthesis",
]

LEAST_LOG_SIGNAL = math.log(1e-36)  # of ᾱ_T: its inverse must be a number in float32

MOST_PATCHES = 16_384  # attention needs memory by their square


class Data(Group):
    """The raw images, and how they are preprocessed and split."""

    name: str = Field(
        "phantom",
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",
        description="Folder below data/, and the name of the task in the model registry.",
    )
    image_size: int = Field(256, ge=8, le=2048, description="Image side in pixels for the CNNs (paper: 256).")
    diffusion_image_size: int = Field(
        128, ge=8, le=1024, description="Image side in pixels for the U-ViT (paper: 128)."
    )
    channels: Literal[1, 3] = Field(1, description="1 for grey, 3 for colour images.")
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop",
        description="How an image is made square: centre crop, black border, or stretch.",
    )
    crop: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="Side in stored pixels of the centre crop that is used (paper: 256 for CT). null: the whole image.",
    )
    window_center: float | None = Field(
        None,
        description=(
            "Centre of the display window, in the file's units (CT: Hounsfield units, soft tissue 40). DICOM and "
            "NIfTI only. null: the file's own window."
        ),
    )
    window_width: float | None = Field(
        None, gt=0.0, description="Width of the display window, from black to white (soft tissue 400). null: as above."
    )
    identifiers: Literal["hashed", "kept"] = Field(
        "hashed",
        description=(
            "Patient ids and file names outside data/: hashed with this installation's salt, or kept as they are "
            "(public sets of plain image files only)."
        ),
    )
    group_by: str | None = Field(
        None,
        max_length=200,
        pattern=r"^(folder:[1-9]|run:[1-9][0-9]{0,3}|pattern:.+)$",
        description=(
            "Which images belong together where patients are unknown: folder:2 (the name of the second folder of the "
            "path), run:10 (ten consecutive numbers in file names), or pattern: and a regular expression for the path "
            "(its parentheses, or all that it matches). null: each image on its own. `dcube data check` has proposals."
        ),
    )
    subgroups: list[Annotated[str, Field(pattern=r"^\w[\w .-]{0,39}$")]] = Field(
        [],
        max_length=6,
        description=(
            "Further columns of metadata.csv, such as age_band, sex, scanner or site: metrics are given for each of "
            "their values too. No dates, no free text, no identifiers."
        ),
    )
    patients: Literal["all", "segmented"] = Field(
        "all",
        description="Duke Breast MRI: all patients, or those with a segmentation series (the paper's 127).",
    )
    near_duplicates: bool = Field(
        True,
        description="Detect copies that were re-encoded, resized or brightened, and keep them in one split.",
    )
    validation_fraction: float = Field(
        0.15,
        gt=0.0,
        lt=0.5,
        description="Share of the patients held out for model selection, if the data set has no split of its own.",
    )
    test_fraction: float = Field(
        0.2,
        gt=0.0,
        lt=0.5,
        description="Share of the patients held out for the test, if the data set has no split of its own.",
    )
    folds: int | None = Field(
        None,
        ge=3,
        le=20,
        description=(
            "Cross-validation: the patients are dealt out to so many folds, class by class, even if the data set came "
            "with a split. null: one split. `dcube study folds` computes all of them."
        ),
    )
    fold: int = Field(
        0, ge=0, description="Which of `folds` is the test split, from 0. The next one is validation, the others train."
    )
    train_fraction: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="Share of the training images that is used.",
    )
    imbalance: float | None = Field(
        None,
        ge=1.0,
        le=1e6,
        description=(
            "Ratio of the training images of the most frequent class to those of each other class, reached by "
            "leaving images out. null: as it is."
        ),
    )
    seed: Seed = Field(0, description="Random seed of the splits and of which training images are left out.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.window_center is None) != (self.window_width is None):
            raise ValueError("give window_center and window_width together, or neither")
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold must be less than folds ({self.folds or 'null: there is fold 0 alone'})")
        return self

    @field_validator("subgroups")
    @classmethod
    def _further_columns(cls, subgroups: list[str]) -> list[str]:
        if used := {"file", "label", "patient_id", "split"} & set(subgroups):
            raise ValueError(f"{', '.join(sorted(used))} of metadata.csv has another use: name other columns")
        if len(set(subgroups)) < len(subgroups):
            raise ValueError("name each column once")
        return subgroups

    @field_validator("group_by")
    @classmethod
    def _compiles(cls, group_by: str | None) -> str | None:
        form, _, pattern = (group_by or "").partition(":")
        if form == "pattern":
            try:
                PathPattern(pattern)
            except ValueError as error:
                raise ValueError(f"this regular expression cannot be used: {error}") from None
        return group_by


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
    gradient_clip: float = Field(1.0, gt=0.0, le=1e6, description="Maximum norm of the gradient.")
    ema_decay: float = Field(
        0.9999, ge=0.0, lt=1.0, description="Decay of the moving average of the weights, after its warm-up."
    )
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
        betas = (min(self.beta_start + step * t, self.beta_end) for t in range(self.timesteps))  # not above by rounding
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
    weights_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of that file: 64 hexadecimal digits."
    )
    resize: int = Field(299, ge=32, le=512, description="Image side in pixels for the extractor.")
    samples: int = Field(
        5000,
        ge=2,
        le=1_000_000,
        description="Images generated for one measurement, with the class ratio of the data set.",
    )
    sampling_steps: int = Field(50, ge=2, le=1000, description="DPM-Solver++ steps per image.")
    seed: Seed = Field(0, description="Random seed of the generated images.")


class Features(Group):
    """Selection of the blocks whose features are not Gaussian (paper §III-B2, Eq. 6)."""

    timestep: Timestep = Field(
        1, description="Timestep given to the U-ViT with the clean training images. Low timesteps worked best here."
    )
    images: Count = Field(512, description="Number of training images that are tested.")
    null: Literal["random_field", "as_published"] = Field(
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
        3, description="Minimum number of blocks: completed by those with the largest statistic D (paper: 2 or 3)."
    )
    batch_size: Count = Field(64, description="Batch size of a forward pass.")
    seed: Seed = Field(0, description="Random seed of the choice of training images.")


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
    sampling_steps: int = Field(50, ge=2, le=1000, description="DPM-Solver++ steps per image.")
    batch_size: Count = Field(256, description="Images generated in one batch.")
    seed: Seed = Field(0, description="Random seed: image i uses seed + i.")


class Evaluation(Group):
    """The evaluation on the test split."""

    bootstrap_samples: int = Field(
        2000, ge=100, le=100_000, description="Bootstrap resamples (of patients, if known) for the intervals."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="Confidence level of the intervals.")
    calibration_bins: int = Field(10, ge=2, le=100, description="Bins of the reliability plot and of ECE.")
    abstain_below: Fraction = Field(
        0.0, description="Confidence (largest calibrated probability) below which the model abstains. 0: never."
    )
    operating_point: Literal["most_probable", "sensitivity", "specificity", "youden", "cost"] = Field(
        "most_probable",
        description=(
            "How a decision follows from probabilities: the most probable class, or positive_class from a threshold on "
            "that is chosen on the validation images for a sensitivity, a specificity, Youden's index, or costs."
        ),
    )
    positive_class: str | None = Field(None, max_length=200, description="The class that the operating point is for.")
    operating_target: float | None = Field(
        None,
        ge=0.0,
        le=1e6,
        description="The wished sensitivity or specificity (0 to 1); for cost, how many false alarms one miss costs.",
    )
    prevalence: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="Share of positive_class where the model will be used, for PPV, NPV and costs. null: as measured.",
    )
    set_coverage: float = Field(
        0.9,
        ge=0.5,
        lt=1.0,
        description="Coverage of the conformal prediction sets: how often they hold the true class (of all images of a "
        "patient, if known).",
    )
    abstain_by_set: bool = Field(False, description="Abstain unless the prediction set is the decided class alone.")
    seed: Seed = Field(0, description="Random seed of the resamples.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wish, target = self.operating_point, self.operating_target
        if wish != "most_probable" and not self.positive_class:
            raise ValueError(f"operating_point: {wish} needs positive_class")
        if wish in ("sensitivity", "specificity", "cost") and target is None:
            raise ValueError(f"operating_point: {wish} needs operating_target")
        if wish in ("sensitivity", "specificity") and target is not None and target > 1:
            raise ValueError(f"operating_target ({target:g}) must be 1 or less: it is a {wish}")
        return self


class Compute(Group):
    """Device, precision and processes."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Precision of matrix products in training. auto: bfloat16 if the hardware supports it.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description=(
            "Processes that train together on this machine, one for each GPU (without GPUs they share the cores). "
            "They divide every batch equally."
        ),
    )
    compile: bool = Field(False, description="Use torch.compile: worth it for long runs on a GPU.")

    def defining(self) -> dict:
        """The values that define the result of a training: all but the number of processes."""
        return self.model_dump(exclude={"processes"})


class Params(Group):
    """All parameters of a run, in groups."""

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
        if (size // patch) ** 2 > MOST_PATCHES:
            raise ValueError(
                f"{(size // patch) ** 2} patches an image are more than {MOST_PATCHES}: raise diffusion.patch_size "
                f"({patch}) or lower data.diffusion_image_size ({size})"
            )
        used = (*self.classifier.evaluation_timesteps, *self.probe.timesteps)
        highest = max(self.features.timestep, self.classifier.timestep_high, *used)
        if highest >= self.diffusion.timesteps:
            raise ValueError(f"timestep {highest} must be below diffusion.timesteps ({self.diffusion.timesteps})")
        for name in ("fid", "synthesis"):
            if (steps := getattr(self, name).sampling_steps) >= self.diffusion.timesteps:
                raise ValueError(
                    f"{name}.sampling_steps ({steps}) must be below diffusion.timesteps ({self.diffusion.timesteps})"
                )
        for name, least in (("diffusion", 1), ("classifier", 2), ("baseline", 2)):  # two: batch normalisation
            batch_size, processes = getattr(self, name).batch_size, self.compute.processes
            if batch_size % processes:
                raise ValueError(f"compute.processes ({processes}) must divide {name}.batch_size ({batch_size})")
            if batch_size < least * processes:
                raise ValueError(f"{name}.batch_size ({batch_size}) must give each process {least} images or more")
        if self.features.keep > self.diffusion.depth + 1:
            raise ValueError(f"features.keep ({self.features.keep}) exceeds the {self.diffusion.depth + 1} blocks")
        return self

    def to_yaml(self) -> str:
        return dump_yaml(self.model_dump(mode="json"))
