"""How a decision follows from probabilities: the rule, how it was chosen, and what it gives."""

from typing import Literal, Self

from pydantic import Field

from dcube.artifacts.schemas.artifact import ArtifactPart
from dcube.errors import DcubeError

MOST_PROBABLE = "most probable class"
FROM = " >= "
ChosenBy = Literal["most_probable", "sensitivity", "specificity", "youden", "cost"]


class Estimate(ArtifactPart):
    """A value with its interval; NaN where it is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


class DecisionRule(ArtifactPart):
    """`of_class` from a probability of `threshold` on, else the most probable of the other classes.

    Without a class, the most probable one.
    """

    of_class: str | None = None
    threshold: float = Field(0.0, ge=0.0, le=1.0)

    def __str__(self) -> str:
        return MOST_PROBABLE if self.of_class is None else f"{self.of_class}{FROM}{self.threshold!r}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rule of a text such as `malignant >= 0.3`, or of `most probable class`.

        Raises:
            DcubeError: it is neither.
        """
        if text.strip() == MOST_PROBABLE:
            return cls()
        name, operator, number = text.rpartition(FROM.strip())
        try:
            threshold = float(number)
        except ValueError:
            threshold = -1.0
        if not operator or not name.strip() or not 0 <= threshold <= 1:
            raise DcubeError(f"decide: {text!r} is no rule: give {MOST_PROBABLE!r}, or e.g. 'malignant >= 0.3'")
        return cls(of_class=name.strip(), threshold=threshold)

    def checked(self, classes: list[str]) -> Self:
        """Raises: DcubeError: the model has no such class."""
        if self.of_class is not None and self.of_class not in classes:
            raise DcubeError(f"decide: the model has no class {self.of_class!r}: it knows {', '.join(classes)}")
        return self


class OperatingPoint(ArtifactPart):
    """Attributes:
    chosen_by: on the validation images; `most_probable`: nothing was chosen.
    target: the wished sensitivity or specificity, or what a miss costs in false alarms.
    threshold: with the interval of choices on resamples.
    prevalence: of the class, that `ppv` and `npv` are for; None: the share among the images measured.
    validation, test: `sensitivity`, `specificity`, `ppv` and `npv` of the class at this point.
    validation_patients: None where they are unknown.
    """

    rule: DecisionRule = DecisionRule()
    chosen_by: ChosenBy = "most_probable"
    target: float | None = None
    threshold: Estimate | None = None
    prevalence: float | None = None
    validation: dict[str, Estimate] = Field(default_factory=dict)
    test: dict[str, Estimate] = Field(default_factory=dict)
    validation_images: int = 0
    validation_patients: int | None = None


class PredictionSets(ArtifactPart):
    """Attributes:
    coverage: as set.
    threshold: probability from which on a class is in the set; 0: every class is.
    calibrated_on: number of validation patients, or of images where these are unknown; 0: there are no sets.
    abstain: whether there is no decision unless the set is the decided class alone.
    test: what they give there, see `dcube.evaluation.prediction_sets`.
    """

    coverage: float = 1.0
    threshold: float = 0.0
    calibrated_on: int = 0
    abstain: bool = False
    test: dict[str, Estimate] = Field(default_factory=dict)


class DecisionPolicy(ArtifactPart):
    """All that turns probabilities into a decision.

    Attributes:
        abstain_below: confidence below which there is no decision.
        set_from: probability from which on a class is in the prediction set; None: there are no sets.
        abstain_by_set: whether there is no decision unless the set is the decided class alone.
    """

    rule: DecisionRule = DecisionRule()
    abstain_below: float = 0.0
    set_from: float | None = None
    abstain_by_set: bool = False

    def overridden(self, decide: str | None, abstain_below: float | None, classes: list[str]) -> Self:
        """With another rule, or another confidence, where one is given.

        Raises:
            DcubeError: there is no such rule or class, or no such confidence.
        """
        rule = self.rule if decide is None else DecisionRule.parse(decide).checked(classes)
        below = self.abstain_below if abstain_below is None else abstain_below
        if not 0 <= below <= 1:
            raise DcubeError(f"abstain_below: {below:g} is no confidence: give 0 to 1")
        return self.model_copy(update={"rule": rule, "abstain_below": below})

    @property
    def folder_name(self) -> str:
        """Of predictions that were made by it: those of another policy must not be taken for them."""
        rule = "" if self.rule.of_class is None else f"-{self.rule.of_class}-from-{self.rule.threshold:.6g}"
        sets = "-or-by-set" if self.abstain_by_set else ""
        return f"abstain-below-{self.abstain_below:g}{sets}{rule}".replace("/", "-")
