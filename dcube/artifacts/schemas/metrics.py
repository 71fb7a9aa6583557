"""`metrics.json`: one model on the test split, with intervals."""

from typing import ClassVar, Literal

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage
from dcube.artifacts.schemas.dataset import Grouping, SplitOrigin
from dcube.artifacts.schemas.decision import DecisionPolicy, Estimate, OperatingPoint, PredictionSets
from dcube.config.schema import Evaluation

Resampled = Literal["patients", "groups", "patients or single images", "images"]
PARTLY_KNOWN: Resampled = "patients or single images"  # some images have no patient: they stand for themselves


class Interval(ArtifactPart):
    low: float
    high: float


class Subgroup(ArtifactPart):
    """The test images of one value of a column.

    Attributes:
        patients: None where they are unknown.
        test: headline metrics, and at the operating point `sensitivity`, `specificity`, `ppv`, `npv`.
    """

    value: str
    images: int
    patients: int | None
    test: dict[str, Estimate]


class SubgroupColumn(ArtifactPart):
    """Metrics by the values of one column of `data.subgroups`.

    Attributes:
        hidden: number of values that have too few patients (or images) to be shown.
    """

    name: str
    groups: list[Subgroup]
    hidden: int


class Metrics(Artifact):
    """Attributes:
    model: name of the candidate in dvc.yaml.
    kind: as in `dcube.classifier.candidate`.
    test: metric (`dcube.evaluation.metrics`) → value; NaN where it is undefined.
    interval: of each of them, from resamples of `resampled`.
    confidence: level of the intervals.
    abstain_below: confidence below which the model gives no prediction.
    calibration_bins: of the expected calibration error and the reliability plot.
    resamples_without_a_class: those that the intervals leave out.
    test_patients: or groups, where `data.group_by` makes them; None where not every image names one.
    dataset: its name.
    grouping, split_origin: as in `dataset.json`.
    test_fingerprint: hash over the test images and their labels.
    operating_point: how a decision follows from probabilities. The metrics in `test` are of the most probable class.
    prediction_sets: the classes that an image may have, with their coverage.
    subgroups: by the columns of `data.subgroups`.
    validation: metric → value on the validation split, as training measured it.
    evaluation: all parameters that it was measured with; None in files that were written before they were kept.
    """

    remedy: ClassVar[str] = remedy_of_stage("evaluate")

    model: str
    kind: str
    test: dict[str, float]
    interval: dict[str, Interval]
    confidence: float = Field(gt=0.5, lt=1.0)  # these four as in the parameters `evaluation`
    abstain_below: float = Field(ge=0.0, le=1.0)
    calibration_bins: int = Field(ge=2, le=100)
    resampled: Resampled
    resamples: int = Field(ge=100, le=100_000)
    resamples_without_a_class: int
    test_images: int
    test_patients: int | None
    test_fingerprint: str
    dataset: str = ""
    grouping: Grouping = "none"
    split_origin: SplitOrigin = "generated"
    validation: dict[str, float]
    weights_sha256: str
    dataset_fingerprint: str
    is_phantom: bool
    operating_point: OperatingPoint = OperatingPoint()
    prediction_sets: PredictionSets = PredictionSets()
    subgroups: list[SubgroupColumn] = Field(default_factory=list)
    evaluation: Evaluation | None = None

    @property
    def policy(self) -> DecisionPolicy:
        """How the model decides, unless a request says otherwise."""
        sets = self.prediction_sets
        return DecisionPolicy(
            rule=self.operating_point.rule,
            abstain_below=self.abstain_below,
            set_from=sets.threshold if sets.calibrated_on else None,
            abstain_by_set=sets.abstain,
        )
