"""`plan.json`: what `dcube plan` decided, so that planning again tells its own values from a person's."""

from typing import Any, ClassVar, Literal

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart

Goal = Literal["few-labels", "balanced", "best"]  # of the time that is planned


class Decision(ArtifactPart):
    """A parameter, its value, and why: with the measured fact where there is one."""

    parameter: str
    value: Any
    reason: str


class PlanSummary(Artifact):
    """Attributes:
    seconds: budget of a whole `dvc repro`.
    estimate: stage → seconds, of every stage.
    machine: what it was measured on.
    """

    remedy: ClassVar[str] = "delete it and run `dcube plan` again"

    dataset: str
    seconds: float
    goal: Goal
    machine: str
    decisions: list[Decision]
    estimate: dict[str, float]
