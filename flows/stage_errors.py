"""Error of a failed stage, which records whether a retry makes sense."""

from dcube.errors import DcubeError
from dcube.repository.repro import ReproResult


class StageError(DcubeError):
    """Raised when a stage ended with an error.

    Attributes:
        bad_input: whether the input has to be corrected by a person, so that a retry would fail too.
        interrupted: whether the stage was killed or never began, so that a retry may succeed.
    """

    def __init__(self, stage: str, reason: str, bad_input: bool = False, interrupted: bool = False) -> None:
        super().__init__(f"{stage}: {reason}")
        self.bad_input, self.interrupted = bad_input, interrupted

    @classmethod
    def of(cls, result: ReproResult) -> "StageError":
        return cls(result.target, str(result.reason), result.bad_input, result.interrupted)
