"""`plan.json`: the decisions of `dcube plan`. The next plan tells them from values that the user has changed."""

from typing import Any, ClassVar, Literal

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart

Goal = Literal["few-labels", "balanced", "best"]  # how the time budget is divided


class Decision(ArtifactPart):
    """A parameter, its value, and the reason for it, with the measurement behind it if there is one."""

    parameter: str
    value: Any
    reason: str


class PlanSummary(Artifact):
    """Contents of `plan.json`.

    Attributes:
        seconds: time budget of a whole `dvc repro`.
        machine: description of the machine on which speeds were measured.
        waiting: share of the measurements' time in which they waited for a core that another program used.
        estimate: stage → estimated seconds.
    """

    remedy: ClassVar[str] = "delete it and run `dcube plan` again"

    dataset: str
    seconds: float
    goal: Goal
    machine: str
    waiting: float = 0.0
    decisions: list[Decision]
    estimate: dict[str, float]
