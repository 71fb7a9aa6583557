"""`dataset.json`: what the stage `prepare` says about the images that it has prepared."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage
from dcube.config.schema import Channels, Data, Fit

Grouping = Literal["patients", "group_by", "guessed", "none"]
SplitOrigin = Literal["official", "generated"]
Owners = Literal["patients", "groups"]

SPLITS = ("train", "validation", "test")
ABSTAIN = "abstain"  # what a model predicts where it decides nothing: no class may be called so
SET_SEPARATOR = "|"  # between the classes of a prediction set: no name of a class may hold it
SUBGROUP = "subgroup_"  # before the names of `data.subgroups`, as columns of manifest.csv
UNKNOWN = "unknown"  # there, of an empty cell


def owners_of(grouping: Grouping) -> Owners:
    """What is kept in one split by this, where anything is."""
    return "groups" if grouping in ("group_by", "guessed") else "patients"


class Extent(ArtifactPart):
    """Of one side of the raw images, in pixels."""

    smallest: int
    median: float
    largest: int


class RawImages(ArtifactPart):
    """The usable raw images, before anything was done to them.

    Attributes:
        modes: how they are stored → their number.
        modalities: DICOM's modality → their number.
        width, height: None where no image is usable.
    """

    modes: dict[str, int] = Field(default_factory=dict)
    modalities: dict[str, int] = Field(default_factory=dict)
    width: Extent | None = None
    height: Extent | None = None


class InputSpec(ArtifactPart):
    """What a model's images are made from, and how: the same for training, `predict` and serving.

    The fields but `raw` are those of the parameter group `data`.

    Attributes:
        raw: the images that training saw, which tells images that a model is not suitable for.
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
    """A copy that an official split had put into two places, and the files that stay."""

    file: str
    split: str
    reason: str
    kept: list[str]


class NearDuplicates(ArtifactPart):
    """Copies that were re-encoded, resized or brightened; the last two are groups of files."""

    images: int
    groups: int
    in_several_splits: list[list[str]]
    with_several_labels: list[list[str]]


class LeftOut(ArtifactPart):
    """Training images that are not used, on purpose."""

    count: int
    train_fraction: float
    imbalance: float | None


class DatasetInfo(Artifact):
    """Attributes:
    counts: split → class → labelled images.
    unlabelled: images without a label, in all splits.
    patients: or groups, where `data.group_by` makes them; 0 where neither is known.
    grouping: what is kept in one split: patients, the groups of `group_by`, such that nobody has confirmed (guessed),
        or (none) images, where not every labelled image names its patient.
    group_by: the parameter `data.group_by`.
    subgroups: the parameter `data.subgroups`.
    split_origin: the set's own split, or one that was made here.
    folds, fold: the parameters of cross-validation.
    near_duplicates: None where they were not looked for.
    notes: what the reader of the layout has to say, a sentence each.
    warnings: what makes every metric of the set doubtful, a sentence each, naming no file.
    left_out: None where every training image is used.
    fingerprint: hash over every image, label, patient and split, and over what the images were made into.
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
    group_by: str | None = None
    subgroups: list[str] = Field(default_factory=list)
    split_origin: SplitOrigin
    folds: int | None = None
    fold: int = 0
    dropped_duplicates: list[DroppedDuplicate] = Field(default_factory=list)
    blank_slices: int = 0
    near_duplicates: NearDuplicates | None = None
    notes: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    left_out: LeftOut | None = None
    fingerprint: str

    @property
    def owners(self) -> Owners:
        """What the column `patient` of the manifest holds, where it holds anything."""
        return owners_of(self.grouping)

    @property
    def known_owners(self) -> str:
        """How many they are, in words."""
        others = ", others unknown" if self.grouping == "none" else ""
        return f"{self.patients}{others}" if self.patients else "unknown"
