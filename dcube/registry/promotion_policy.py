"""Criteria for a promotion: a pure function of the two models' predictions for the same test images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact
from dcube.config.loading import validated
from dcube.config.schema import Evaluation, Group
from dcube.errors import DcubeError
from dcube.evaluation.comparison import Difference, ModelComparison, compare
from dcube.evaluation.metrics import metric_of, title_of
from dcube.evaluation.predictions import Predictions

MACRO_F1, ECE, SENSITIVITY = metric_of("macro_f1"), metric_of("ece"), "sensitivity"
ROUNDING = 1e-9  # tolerance for sums of the same numbers in different order


class PromotionPolicy(Group):
    """Requirements for a challenger compared with the champion on the same test images."""

    minimum_improvement: float = Field(
        0.0,
        ge=-1.0,
        le=1.0,
        title="Minimum improvement",
        description=(
            "With the confidence below, the gain in macro F1 must be above this. Negative: the challenger need only be "
            "no worse than by so much."
        ),
    )
    sensitivity_margin: float = Field(
        0.05,
        gt=0.0,
        le=1.0,
        title="Sensitivity margin",
        description="No class's sensitivity may have fallen by this much, with the confidence below.",
    )
    calibration_loss: float = Field(
        0.02,
        ge=0.0,
        le=1.0,
        title="Allowed loss of calibration",
        description="The expected calibration error may be larger than the champion's by at most this.",
    )
    confidence: float = Field(
        0.95, ge=0.8, lt=1.0, title="Confidence", description="Of the one-sided bounds and of McNemar's test."
    )
    bootstrap_samples: int = Field(
        2000, ge=100, le=100_000, title="Resamples", description="Of the test's patients (images where unknown)."
    )


@dataclass(frozen=True)
class Criterion:
    """One row of the comparison, as text to display."""

    name: str
    champion: str
    challenger: str
    result: str
    required: str
    passed: bool


@dataclass(frozen=True)
class Verdict:
    """Decision about the challenger, its reason, and the criteria behind it (empty without a comparison)."""

    promoted: bool
    reason: str
    criteria: tuple[Criterion, ...] = ()

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Criteria as rows of text for a table with the header `COLUMNS`."""
        return [
            (it.name, it.champion, it.challenger, it.result, it.required, "yes" if it.passed else "NO")
            for it in self.criteria
        ]


COLUMNS = ("criterion", "champion", "challenger", "result", "required", "met")
NO_CHAMPION = Verdict(True, "there was no champion yet")
IS_CHAMPION = Verdict(False, "the challenger is the champion already")


def policy_with(settings: list[str]) -> PromotionPolicy:
    """Return the default policy, changed by settings in the form `key=value`."""
    for setting in settings:
        if "=" not in setting:
            raise DcubeError(f"--set {setting}: write it as key=value, with {', '.join(PromotionPolicy.model_fields)}")
    return validated(PromotionPolicy, dict(setting.split("=", 1) for setting in settings), where="--set")


def judge(champion: Predictions, challenger: Predictions, policy: PromotionPolicy) -> Verdict:
    """Compare two models' predictions for the same test images.

    All criteria must be met. This is an intersection-union test: a promotion by chance is no likelier than the error
    rate of a single test, and the p-values need no correction.

    Raises:
        DcubeError: if the two tables do not contain the same images with the same labels.
    """
    sensitivities = [f"{SENSITIVITY}/{name}" for name in champion.classes]
    two_sided = 2 * policy.confidence - 1  # the ends of this interval are the one-sided bounds
    settings = Evaluation(bootstrap_samples=policy.bootstrap_samples, confidence=two_sided)
    found = compare(_in_order(challenger), champion, settings, [MACRO_F1.name, ECE.name, *sensitivities])
    criteria = tuple(_criteria(found, policy, champion.classes))
    failed = [criterion for criterion in criteria if not criterion.passed]
    if failed:
        return Verdict(False, "; ".join(f"{it.name}: {it.result}, required: {it.required}" for it in failed), criteria)
    return Verdict(True, f"{MACRO_F1.label} {criteria[0].result}, and every other criterion met", criteria)


def _in_order(predictions: Predictions) -> Predictions:
    """Sort by image, so that the resamples and the decision do not depend on the order of rows."""
    return Predictions(predictions.table.sort_values("id", ignore_index=True))


def _criteria(found: ModelComparison, policy: PromotionPolicy, classes: list[str]) -> Iterator[Criterion]:
    gain = found.differences[MACRO_F1.name]
    yield Criterion(
        MACRO_F1.label,
        *_values(gain),
        _with_bound(gain, policy),
        f"lower bound above {_signed(policy.minimum_improvement)}",
        gain.low > policy.minimum_improvement + ROUNDING,
    )
    p, significant = found.mcnemar_p, 1 - policy.confidence
    worse = found.only_first < found.only_second and p < significant
    yield Criterion(
        "images that only this model predicts correctly (McNemar)",
        str(found.only_second),
        str(found.only_first),
        f"p = {p:.2g}",
        f"not fewer with p below {significant:.2g}",
        not worse,
    )
    for name in classes:
        change = found.differences[f"{SENSITIVITY}/{name}"]
        yield Criterion(
            title_of(f"{SENSITIVITY}/{name}"),
            *_values(change),
            _with_bound(change, policy),
            f"lower bound above {_signed(-policy.sensitivity_margin)}",
            change.low > ROUNDING - policy.sensitivity_margin,  # false for an undefined bound (NaN)
        )
    loss = found.differences[ECE.name]
    yield Criterion(
        ECE.label,
        *_values(loss),
        _signed(loss.value),  # no bound: resampling inflates this error, and not equally for both models
        f"at most {_signed(policy.calibration_loss)}",
        loss.value <= policy.calibration_loss + ROUNDING,
    )


def _values(difference: Difference) -> tuple[str, str]:
    return f"{difference.second:.3f}", f"{difference.first:.3f}"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # no minus before a zero


def _with_bound(difference: Difference, policy: PromotionPolicy) -> str:
    return f"{_signed(difference.value)} (lower bound {_signed(difference.low)} at {policy.confidence:.0%})"


class PromotionRecord(Artifact):
    """Record of a promotion: the file `dcube.champion.MOMENT.json` of the source run.

    Attributes:
        criteria: criteria of the comparison; empty if there was no champion.
    """

    remedy: ClassVar[str] = "use the version of D-Cube that wrote it"

    policy: PromotionPolicy
    criteria: tuple[Criterion, ...]
