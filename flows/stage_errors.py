"""A stage that failed, and whether it is worth another attempt."""

from dcube.errors import DcubeError
from dcube.repository.repro import ReproResult


class StageError(DcubeError):
    """A stage that ended with an error.

    Attributes:
        bad_input: only a person can mend it, trying again is of no use.
        interrupted: it was killed, or never began: not its own fault.
    """

    def __init__(self, stage: str, reason: str, bad_input: bool = False, interrupted: bool = False) -> None:
        super().__init__(f"{stage}: {reason}")
        self.bad_input, self.interrupted = bad_input, interrupted

    @classmethod
    def of(cls, result: ReproResult) -> "StageError":
        return cls(result.target, str(result.reason), result.bad_input, result.interrupted)
