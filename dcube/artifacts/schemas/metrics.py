"""`metrics.json`: metrics of one model on the test split, with intervals."""

from typing import ClassVar, Literal

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart, remedy_of_stage
from dcube.artifacts.schemas.dataset import Grouping, SplitOrigin
from dcube.artifacts.schemas.decision import DecisionPolicy, Estimate, OperatingPoint, PredictionSets
from dcube.config.schema import Evaluation

Resampled = Literal["patients", "groups", "patients or single images", "images"]
PARTLY_KNOWN: Resampled = "patients or single images"  # images without a patient are resampled individually


class Interval(ArtifactPart):
    low: float
    high: float


class Subgroup(ArtifactPart):
    """Metrics on the test images with one value of a column.

    Attributes:
        patients: number of patients; None if they are unknown.
        test: the headline metrics, and `sensitivity`, `specificity`, `ppv` and `npv` at the operating point.
    """

    value: str
    images: int
    patients: int | None
    test: dict[str, Estimate]


class SubgroupColumn(ArtifactPart):
    """Metrics by the values of one column of `data.subgroups`.

    Attributes:
        hidden: number of values with too few patients (or images) to be shown.
    """

    name: str
    groups: list[Subgroup]
    hidden: int


class Metrics(Artifact):
    """Contents of `metrics.json`.

    Attributes:
        model: name of the candidate in dvc.yaml.
        kind: kind of the candidate (`dcube.classifier.candidate`).
        test: metric (`dcube.evaluation.metrics`) → value; NaN if it is undefined.
        interval: metric → interval from resamples of `resampled`.
        resamples_without_a_class: number of resamples that lack a class; the intervals leave them out.
        test_patients: number of test patients, or of groups if `data.group_by` defines them; None if some have none.
        dataset: name of the data set.
        grouping, without_patient, split_origin: as in `dataset.json`.
        test_fingerprint: hash over the test images and their labels.
        operating_point: how the model decides. The metrics in `test` are those of the most probable class.
        prediction_sets: the conformal prediction sets and their coverage.
        subgroups: metrics by the columns of `data.subgroups`.
        lookalikes: number of images that look like images of the model's data set; None for its own test split.
        validation: metric → value on the validation split, measured during training.
        evaluation: parameters with which the metrics were measured.
        folds: number of models of an ensemble, each of which predicted the test images of its own fold alone; None if
            one model predicted all.
    """

    remedy: ClassVar[str] = remedy_of_stage("evaluate")
    format_version: Literal[2] = 2  # type: ignore[assignment]

    model: str
    kind: str
    test: dict[str, float]
    interval: dict[str, Interval]
    resampled: Resampled
    resamples_without_a_class: int
    test_images: int
    test_patients: int | None
    test_fingerprint: str
    dataset: str = ""
    grouping: Grouping = "none"
    without_patient: int = 0
    split_origin: SplitOrigin = "generated"
    lookalikes: int | None = None
    validation: dict[str, float]
    weights_sha256: str
    dataset_fingerprint: str
    is_phantom: bool
    operating_point: OperatingPoint = OperatingPoint()
    prediction_sets: PredictionSets = PredictionSets()
    subgroups: list[SubgroupColumn] = Field(default_factory=list)
    evaluation: Evaluation
    folds: int | None = None

    @property
    def confidence(self) -> float:
        """Confidence level of the intervals."""
        return self.evaluation.confidence

    @property
    def resamples(self) -> int:
        """Number of bootstrap resamples of the intervals."""
        return self.evaluation.bootstrap_samples

    @property
    def policy(self) -> DecisionPolicy:
        """Decision policy of the model, unless a request overrides it."""
        sets = self.prediction_sets
        return DecisionPolicy(
            rule=self.operating_point.rule,
            abstain_below=self.evaluation.abstain_below,
            set_from=sets.threshold if sets.calibrated_on else None,
            abstain_by_set=sets.abstain,
        )
