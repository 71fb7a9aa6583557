"""How a decision follows from probabilities: the rule, how it was chosen, and its measured rates."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from dcube.artifacts.schemas.artifact import ArtifactPart
from dcube.config.schema import ChosenBy
from dcube.errors import DcubeError

MOST_PROBABLE = "most probable class"
FROM, AT = " >= ", " at "
# Error messages contain the full syntax, because users write rules by hand.
GRAMMAR = (
    f"give {MOST_PROBABLE!r} or 'CLASS >= PROBABILITY', e.g. 'malignant >= 0.3'; for another prevalence append "
    "' at CLASS = SHARE', e.g. ' at malignant = 0.05'"
)


class Estimate(ArtifactPart):
    """A value with its interval; NaN if it is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


class Prevalence(ArtifactPart):
    """Share of a class among the patients for whom the model is used."""

    of_class: str
    share: float = Field(gt=0.0, lt=1.0)

    def __str__(self) -> str:
        return f"{self.of_class} = {self.share!r}"


class DecisionRule(ArtifactPart):
    """Rule: decide `of_class` if its probability is at least `threshold`, else the most probable of the other classes.

    If `of_class` is None, the rule decides the most probable class.

    Attributes:
        at: prevalence to which the probabilities are corrected; None: that of the training images.
        weights: factors that correct the probabilities, one for each class; empty: no correction.
    """

    of_class: str | None = None
    threshold: float = Field(0.0, ge=0.0, le=1.0)
    at: Prevalence | None = None
    weights: tuple[float, ...] = ()

    def __str__(self) -> str:
        rule = MOST_PROBABLE if self.of_class is None else f"{self.of_class}{FROM}{self.threshold!r}"
        return rule if self.at is None else f"{rule}{AT}{self.at}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `most probable class` or `malignant >= 0.3`, optionally followed by ` at malignant = 0.05`.

        Raises:
            DcubeError: if the text is not a rule.
        """
        most, at, prevalence = text.strip().partition(MOST_PROBABLE + AT)
        try:
            if text.strip() == MOST_PROBABLE or (at and not most):
                return cls(at=_prevalence(prevalence))
            name, sign, rest = text.rpartition(FROM.strip())
            if not sign:
                raise ValueError("it has no `>=`")
            threshold, _, prevalence = rest.partition(AT)
            return cls(of_class=_name(name), threshold=_threshold(threshold), at=_prevalence(prevalence))
        except ValueError as error:
            raise DcubeError(f"decide: {text!r} is no rule ({error}): {GRAMMAR}") from None

    def checked(self, classes: list[str], prior: Sequence[float]) -> Self:
        """Check the class names, and add the weights for the prevalence (Saerens et al. 2002, Eq. (2.4)).

        The other classes keep their proportions.

        Args:
            classes: classes of the model.
            prior: share of each class that the model's probabilities assume.

        Raises:
            DcubeError: if the rule names a class that the model does not have.
        """
        for name in (self.of_class, self.at.of_class if self.at else None):
            if name is not None and name not in classes:
                raise DcubeError(f"decide: the model has no class {name!r}: it knows {', '.join(map(repr, classes))}")
        if self.at is None:
            return self
        own = prior[classes.index(self.at.of_class)]
        weights = [(1 - self.at.share) / (1 - own)] * len(classes)
        weights[classes.index(self.at.of_class)] = self.at.share / own
        return self.model_copy(update={"weights": tuple(weights)})


def _prevalence(text: str) -> Prevalence | None:
    """Parse `CLASS = SHARE`; None for an empty text. Raises `ValueError` if the text is something else."""
    if not text:
        return None
    name, sign, share = text.rpartition("=")
    if not sign:
        raise ValueError("its prevalence has no `=`")
    if not 0 < _number(share) < 1:
        raise ValueError(f"the prevalence {share.strip()!r} is not between 0 and 1")
    return Prevalence(of_class=_name(name), share=_number(share))


def _threshold(text: str) -> float:
    """Parse a probability. Raises `ValueError` if the text is something else."""
    if not 0 <= _number(text) <= 1:
        raise ValueError(f"the probability {text.strip()!r} is not from 0 to 1")
    return _number(text)


def _number(text: str) -> float:
    """Parse a number; NaN if the text is something else."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _name(text: str) -> str:
    """Strip a class name. Raises `ValueError` if it is blank."""
    if not text.strip():
        raise ValueError("it names no class")
    return text.strip()


class OperatingPoint(ArtifactPart):
    """The operating point: a decision rule chosen on the validation images, and its rates.

    Attributes:
        chosen_by: criterion of the choice; `most_probable`: nothing was chosen.
        target: the required sensitivity or specificity, or the cost of a miss in false alarms.
        threshold: chosen threshold, with the interval of the thresholds chosen on resamples.
        prevalence: prevalence of the class for `ppv` and `npv`; None: its share among the measured images.
        validation, test: `sensitivity`, `specificity`, `ppv` and `npv` of the class at this point.
        validation_patients: number of validation patients; None if they are unknown.
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
    """Conformal prediction sets and their rates on the test images.

    Attributes:
        coverage: the requested coverage.
        threshold: lowest probability of a class in the set; 0: every class is in the set.
        calibrated_on: number of validation patients, or of images if patients are unknown; 0: there are no sets.
        abstain: whether the model abstains unless the set contains only the decided class.
        test: rate (`dcube.evaluation.prediction_sets`) → value on the test images.
    """

    coverage: float = 1.0
    threshold: float = 0.0
    calibrated_on: int = 0
    abstain: bool = False
    test: dict[str, Estimate] = Field(default_factory=dict)


class DecisionPolicy(ArtifactPart):
    """Everything that determines the decision for given probabilities.

    Attributes:
        abstain_below: confidence below which the model abstains.
        set_from: lowest probability of a class in the prediction set; None: there are no sets.
        abstain_by_set: whether the model abstains unless the set contains only the decided class.
    """

    rule: DecisionRule = DecisionRule()
    abstain_below: float = 0.0
    set_from: float | None = None
    abstain_by_set: bool = False

    def overridden(
        self, decide: str | None, abstain_below: float | None, classes: list[str], prior: Sequence[float]
    ) -> Self:
        """Return the policy with another rule or confidence, if given. For `prior` see `DecisionRule.checked`.

        Raises:
            DcubeError: if the rule, its class or the confidence is not valid.
        """
        rule = self.rule if decide is None else DecisionRule.parse(decide).checked(classes, prior)
        below = self.abstain_below if abstain_below is None else abstain_below
        if not 0 <= below <= 1:
            raise DcubeError(f"abstain_below: {below:g} is not between 0 and 1")
        return self.model_copy(update={"rule": rule, "abstain_below": below})

    @property
    def folder_name(self) -> str:
        """Name of the folder for predictions with this policy, to separate them from those with another."""
        rule = "" if self.rule.of_class is None else f"-{self.rule.of_class}-from-{self.rule.threshold:.6g}"
        at = "" if self.rule.at is None else f"-at-{self.rule.at.of_class}-{self.rule.at.share:.6g}"
        sets = "-or-by-set" if self.abstain_by_set else ""
        return f"abstain-below-{self.abstain_below:g}{sets}{rule}{at}".replace("/", "-")
