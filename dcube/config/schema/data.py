"""Parameters of the data."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, field_validator, model_validator

from dcube.config.guessed import rule_of
from dcube.config.path_pattern import PathPattern
from dcube.config.schema.group import Group, Seed

Channels = Literal[1, 3]
Fit = Literal["crop", "pad", "stretch"]
NAME = "[a-z][a-z0-9_-]{0,62}"  # pattern for the name of a data set
GROUP_BY = r"^(guessed:)?(folder:[1-9]|run:[1-9][0-9]{0,3}|pattern:.+)$"


class Data(Group):
    """The raw images, and how they are preprocessed and split."""

    name: str = Field(
        "phantom",
        pattern=f"^{NAME}$",
        description="Folder below data/, and the name of the task in the model registry.",
    )
    image_size: int = Field(256, ge=8, le=2048, description="Image side in pixels for the CNNs (paper: 256).")
    diffusion_image_size: int = Field(
        128, ge=8, le=1024, description="Image side in pixels for the U-ViT (paper: 128)."
    )
    channels: Channels = Field(1, description="1 for grey, 3 for colour images.")
    fit: Fit = Field(
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
        pattern=GROUP_BY,
        description=(
            "Which images belong together where patients are unknown: folder:2 (the name of the second folder of the "
            "path), run:10 (ten consecutive numbers in file names), or pattern: and a regular expression for the path "
            "(its parentheses, or all that it matches). null: each image on its own. `dcube data check` has proposals. "
            "The prefix guessed: marks groups that `dcube plan` has proposed and nobody has confirmed; remove it if "
            "they are right."
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
    near_duplicates: StrictBool = Field(
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
            "Number of folds for cross-validation; patients are assigned to them class by class, even if the data set "
            "has a split of its own. null: one split. `dcube study folds` computes all folds."
        ),
    )
    fold: int = Field(
        0, ge=0, description="Index of the test fold, from 0. The next fold is validation, the others are training."
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

    @field_validator("name", mode="before")
    @classmethod
    def _named_in_words(cls, name: object) -> object:
        if isinstance(name, str) and not re.fullmatch(NAME, name):
            raise ValueError("use lower-case letters, digits, _ and -, a letter first, 63 characters at most")
        return name

    @field_validator("subgroups")
    @classmethod
    def _further_columns(cls, subgroups: list[str]) -> list[str]:
        if used := {"file", "label", "patient_id", "split"} & set(subgroups):
            raise ValueError(f"{', '.join(sorted(used))} of metadata.csv has another use: name other columns")
        if len(set(subgroups)) < len(subgroups):
            raise ValueError("name each column once")
        return subgroups

    @field_validator("group_by", mode="before")
    @classmethod
    def _has_a_known_form(cls, group_by: object) -> object:
        if isinstance(group_by, str) and not re.match(GROUP_BY, group_by):
            raise ValueError(
                "expected folder: and a level (folder:2), run: and a length (run:10), or pattern: and a regular "
                "expression (pattern:patient[0-9]+)"
            )
        return group_by

    @field_validator("group_by")
    @classmethod
    def _compiles(cls, group_by: str | None) -> str | None:
        form, _, pattern = rule_of(group_by or "").partition(":")
        if form == "pattern":
            try:
                PathPattern(pattern)
            except ValueError as error:
                raise ValueError(f"this regular expression cannot be used: {error}") from None
        return group_by
