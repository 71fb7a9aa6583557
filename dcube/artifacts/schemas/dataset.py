"""`dataset.json`: description of the prepared data set, written by the stage `prepare`."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage
from dcube.config.schema import Channels, Data, Fit

Grouping = Literal["patients", "group_by", "guessed", "none"]
SplitOrigin = Literal["official", "generated"]
Owners = Literal["patients", "groups"]

SPLITS = ("train", "validation", "test")
ABSTAIN = "abstain"  # decision of a model that abstains; no class may have this name
SET_SEPARATOR = "|"  # between the classes of a prediction set; no class name may contain it
SUBGROUP = "subgroup_"  # prefix of the columns of manifest.csv for `data.subgroups`
UNKNOWN = "unknown"  # value for an empty cell in these columns


def owners_of(grouping: Grouping) -> Owners:
    """Return the unit that a grouping keeps in one split: `groups` or `patients` (also if patients are unknown)."""
    return "groups" if grouping in ("group_by", "guessed") else "patients"


class Extent(ArtifactPart):
    """Range and median of one side of the raw images, in pixels."""

    smallest: int
    median: float
    largest: int


class RawImages(ArtifactPart):
    """Summary of the usable raw images before preprocessing.

    Attributes:
        modes: storage mode → number of images.
        modalities: DICOM modality → number of images.
        width, height: range of the sides; None if no image is usable.
    """

    modes: dict[str, int] = Field(default_factory=dict)
    modalities: dict[str, int] = Field(default_factory=dict)
    width: Extent | None = None
    height: Extent | None = None


class InputSpec(ArtifactPart):
    """How raw images become a model's input; the same for training, `predict` and serving.

    All fields except `raw` come from the parameter group `data`.

    Attributes:
        raw: summary of the raw images of the data set, to detect images that the model is not suitable for.
    """

    channels: Channels
    image_size: int = Field(ge=1)
    diffusion_image_size: int = Field(ge=1)
    fit: Fit
    crop: int | None = None
    window_center: float | None = None
    window_width: float | None = None
    raw: RawImages = RawImages()

    @classmethod
    def of(cls, data: Data) -> Self:
        return cls(**{name: getattr(data, name) for name in cls.model_fields if name != "raw"})


class DroppedDuplicate(ArtifactPart):
    """An image of an official split that was dropped, the reason, and the copies of it that are kept."""

    file: str
    split: str
    reason: str
    kept: list[str]


class NearDuplicates(ArtifactPart):
    """Re-encoded, resized or brightened copies: counts, and the files of each group in several splits or with several
    labels."""

    images: int
    groups: int
    in_several_splits: list[list[str]]
    with_several_labels: list[list[str]]


class LeftOut(ArtifactPart):
    """Training images left out by `data.train_fraction` and `data.imbalance`."""

    count: int
    train_fraction: float
    imbalance: float | None


class DatasetInfo(Artifact):
    """Description of a prepared data set.

    Attributes:
        counts: split → class → number of labelled images.
        unlabelled: number of images without a label, in all splits.
        patients: number of patients, or of groups if `data.group_by` defines them; 0 if neither is known.
        grouping: unit that is kept in one split: patients, groups by `group_by`, guessed groups (by an unconfirmed
            `group_by`), or none: single images, because not every labelled image names its patient.
        without_patient: number of labelled images without a patient or group, each of which is split on its own; 0 if
            no labelled image has one.
        group_by: the parameter `data.group_by`.
        subgroups: the parameter `data.subgroups`.
        split_origin: the official split of the data set, or a generated one.
        folds, fold: the parameters of cross-validation; `fold` is None if each is the test of another model.
        near_duplicates: None if they were not searched for.
        notes: remarks of the layout reader, a sentence each.
        warnings: reasons to doubt every metric of the data set, a sentence each, without file names.
        left_out: None if every training image is used.
        fingerprint: hash over all images, labels, patients and splits, and the input specification.
    """

    remedy: ClassVar[str] = remedy_of_stage("prepare")

    name: str
    is_phantom: bool
    classes: list[str]
    input: InputSpec
    counts: dict[str, dict[str, int]]
    unlabelled: int = 0
    patients: int = 0
    grouping: Grouping = "none"
    without_patient: int = 0
    group_by: str | None = None
    subgroups: list[str] = Field(default_factory=list)
    split_origin: SplitOrigin
    folds: int | None = None
    fold: int | None = 0
    dropped_duplicates: list[DroppedDuplicate] = Field(default_factory=list)
    blank_slices: int = 0
    near_duplicates: NearDuplicates | None = None
    notes: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    left_out: LeftOut | None = None
    fingerprint: str

    @property
    def owners(self) -> Owners:
        """Content of the manifest's column `patient`: patients or groups."""
        return owners_of(self.grouping)

    @property
    def known_owners(self) -> str:
        """Number of known patients or groups, as text."""
        others = ", others unknown" if self.grouping == "none" or self.without_patient else ""
        return f"{self.patients}{others}" if self.patients else "unknown"
