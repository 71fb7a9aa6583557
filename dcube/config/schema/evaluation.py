"""Parameters of the evaluation."""

from typing import Literal, Self

from pydantic import Field, StrictBool, model_validator

from dcube.config.schema.group import Fraction, Group, Seed

ChosenBy = Literal["most_probable", "sensitivity", "specificity", "youden", "cost"]


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
    operating_point: ChosenBy = Field(
        "most_probable",
        description=(
            "How probabilities become a decision: the most probable class, or positive_class above a threshold that is "
            "chosen on the validation images by sensitivity, specificity, Youden's index or cost."
        ),
    )
    positive_class: str | None = Field(None, max_length=200, description="The class that the operating point is for.")
    operating_target: float | None = Field(
        None,
        ge=0.0,
        le=1e6,
        description="The required sensitivity or specificity (0 to 1); for cost, how many false alarms one miss costs.",
    )
    prevalence: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="Share of positive_class where the model will be used, for PPV, NPV, cost. null: as in the images.",
    )
    set_coverage: float = Field(
        0.9,
        ge=0.5,
        lt=1.0,
        description="Coverage of the conformal prediction sets: how often they hold the true class (of all images of a "
        "patient, if known).",
    )
    abstain_by_set: StrictBool = Field(
        False, description="Abstain unless the prediction set holds the decided class alone."
    )
    seed: Seed = Field(0, description="Random seed of the resamples.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        criterion, target = self.operating_point, self.operating_target
        if criterion != "most_probable" and not self.positive_class:
            raise ValueError(f"operating_point: {criterion} needs positive_class")
        if criterion in ("sensitivity", "specificity", "cost") and target is None:
            raise ValueError(f"operating_point: {criterion} needs operating_target")
        if criterion in ("sensitivity", "specificity") and target is not None and target > 1:
            raise ValueError(f"operating_target ({target:g}) must be 1 or less: it is a {criterion}")
        return self
