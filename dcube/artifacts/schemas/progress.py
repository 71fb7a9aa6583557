"""Progress of a stage: a line of the file that `DCUBE_PROGRESS_FILE` names."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact


class ProgressUpdate(Artifact):
    """One update.

    Attributes:
        description: name of the work.
        completed, total: amounts in `unit`.
        rate: units per second.
        remaining_s: estimated seconds left; None while the rate is 0.
        values: name → value to show, e.g. a loss.
    """

    remedy: ClassVar[str] = "the code of the stage and of its caller differ"

    description: str
    completed: int
    total: int
    unit: str
    rate: float
    remaining_s: float | None
    values: dict[str, float]
