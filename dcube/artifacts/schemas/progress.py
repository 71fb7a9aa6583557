"""How far a stage is: a line of the file that `DCUBE_PROGRESS_FILE` names."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact


class ProgressUpdate(Artifact):
    """Attributes:
    description: what is under way.
    completed, total: in `unit`.
    rate: units a second.
    remaining_s: None as long as nothing can be said.
    values: name → what is shown beside it, a loss for example.
    """

    remedy: ClassVar[str] = "the code of the stage and of its caller differ"

    description: str
    completed: int
    total: int
    unit: str
    rate: float
    remaining_s: float | None
    values: dict[str, float]
