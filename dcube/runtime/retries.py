"""How long this program waits for a server, and how often it tries again: a named policy for each purpose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    stop_never,
    wait_exponential,
)


@dataclass(frozen=True)
class RetryPolicy:
    """Pauses that double from `first_pause` to `longest_pause`, until `timeout`; all in seconds.

    Attributes:
        timeout: None tries for ever.
    """

    timeout: float | None
    first_pause: float
    longest_pause: float

    def pause_after(self, failures: int) -> float:
        """Seconds until the next attempt, for those who do not wait but do something else meanwhile."""
        return min(self.first_pause * 2**failures, self.longest_pause)

    def retrying(
        self,
        errors: type[Exception],
        on_error: Callable[[BaseException], None] = lambda error: None,
        **options: Any,
    ) -> Retrying:
        """Call it with a function: tries again after `errors`, and raises the last one when the time is over.

        Args:
            on_error: called with the first error only.
            options: of `tenacity.Retrying`.
        """

        def before_sleep(state: RetryCallState) -> None:
            if state.attempt_number == 1 and state.outcome and (error := state.outcome.exception()):
                on_error(error)

        retry = retry_if_exception_type(errors)
        return Retrying(**(self._limits() | {"retry": retry, "before_sleep": before_sleep, "reraise": True} | options))

    def wait_until(self, is_true: Callable[[], bool]) -> bool:
        """Call `is_true` until it is; False if it was not before the time was over. What it raises ends the waiting."""
        retry = retry_if_result(lambda found: not found)
        return Retrying(**self._limits(), retry=retry, retry_error_callback=lambda state: False)(is_true)

    def _limits(self) -> dict[str, Any]:
        stop = stop_never if self.timeout is None else stop_after_delay(self.timeout)
        return {"stop": stop, "wait": wait_exponential(multiplier=self.first_pause, max=self.longest_pause)}


# A run waits for the bucket that machines share, rather than fail with all that it has computed.
WAIT_FOR_STORAGE = RetryPolicy(timeout=600, first_pause=5, longest_pause=5)
# The start of a training waits longer than the restart of a server takes, then goes on with what this machine has.
FETCH_CHECKPOINT = RetryPolicy(timeout=150, first_pause=2, longest_pause=2)
# Beside the training, as long as it runs.
UPLOAD_CHECKPOINT = RetryPolicy(timeout=None, first_pause=2, longest_pause=60)
# Beside the training, with whatever is logged next; at the end of a run by its status: a killed one has seconds.
SEND_TRACKING = RetryPolicy(timeout=None, first_pause=2, longest_pause=60)
CLOSE_TRACKING = {
    "FINISHED": RetryPolicy(timeout=60, first_pause=2, longest_pause=2),
    "FAILED": RetryPolicy(timeout=10, first_pause=2, longest_pause=2),
    "KILLED": RetryPolicy(timeout=2, first_pause=2, longest_pause=2),
}
# Two pipelines that write the same row of MLflow's at the same moment: an alias, a data set.
AFTER_COLLISION = RetryPolicy(timeout=10, first_pause=0.1, longest_pause=1)
# Until another's promotion has ended, which writes an event, a record and an alias.
PROMOTION = RetryPolicy(timeout=2, first_pause=0.5, longest_pause=0.5)
START_SERVER = RetryPolicy(timeout=120, first_pause=0.2, longest_pause=0.2)
# Until a process of ours, or what it has started, is gone.
END_OF_PROCESS = RetryPolicy(timeout=None, first_pause=0.05, longest_pause=0.05)
END_OF_SERVERS = RetryPolicy(timeout=60, first_pause=0.1, longest_pause=0.1)
# Until runs on workers have ended, which takes hours.
END_OF_RUNS = RetryPolicy(timeout=None, first_pause=2, longest_pause=2)
