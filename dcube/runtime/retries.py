"""Timeouts and retries: a named policy for each purpose."""

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
    """Retries with pauses that double from `first_pause` to `longest_pause` until `timeout`, all in seconds.

    Attributes:
        timeout: seconds until the policy gives up. None: never.
    """

    timeout: float | None
    first_pause: float
    longest_pause: float

    def pause_after(self, failures: int) -> float:
        """Return the seconds until the next attempt, for callers that do something else meanwhile."""
        return min(self.first_pause * 2**failures, self.longest_pause)

    def retrying(
        self,
        errors: type[Exception],
        on_error: Callable[[BaseException], None] = lambda error: None,
        **options: Any,
    ) -> Retrying:
        """Return a callable that calls a function, retries after `errors`, and raises the last one after the timeout.

        Args:
            on_error: called with the first error only.
            options: options of `tenacity.Retrying`.
        """

        def before_sleep(state: RetryCallState) -> None:
            if state.attempt_number == 1 and state.outcome and (error := state.outcome.exception()):
                on_error(error)

        retry = retry_if_exception_type(errors)
        return Retrying(**(self._limits() | {"retry": retry, "before_sleep": before_sleep, "reraise": True} | options))

    def wait_until(self, is_true: Callable[[], bool]) -> bool:
        """Call `is_true` until it returns true, and return False after the timeout. Its exceptions are not caught."""
        retry = retry_if_result(lambda found: not found)
        return Retrying(**self._limits(), retry=retry, retry_error_callback=lambda state: False)(is_true)

    def _limits(self) -> dict[str, Any]:
        stop = stop_never if self.timeout is None else stop_after_delay(self.timeout)
        return {"stop": stop, "wait": wait_exponential(multiplier=self.first_pause, max=self.longest_pause)}


# A run waits for the shared bucket, because a failure would lose the results that it has computed.
WAIT_FOR_STORAGE = RetryPolicy(timeout=600, first_pause=5, longest_pause=5)
# The start of a training waits longer than a server takes to restart, then continues with local checkpoints.
FETCH_CHECKPOINT = RetryPolicy(timeout=150, first_pause=2, longest_pause=2)
# Uploads run in the background as long as the training runs.
UPLOAD_CHECKPOINT = RetryPolicy(timeout=None, first_pause=2, longest_pause=60)
# During the training, the next log call retries. At its end the timeout depends on the status: a killed run has little.
SEND_TRACKING = RetryPolicy(timeout=None, first_pause=2, longest_pause=60)
CLOSE_TRACKING = {
    "FINISHED": RetryPolicy(timeout=60, first_pause=2, longest_pause=2),
    "FAILED": RetryPolicy(timeout=10, first_pause=2, longest_pause=2),
    "KILLED": RetryPolicy(timeout=2, first_pause=2, longest_pause=2),
}
# Two pipelines may write the same row of MLflow (an alias, a data set) at the same moment.
AFTER_COLLISION = RetryPolicy(timeout=10, first_pause=0.1, longest_pause=1)
# Wait for the end of another user's promotion, which writes an event, a record and an alias one after another.
PROMOTION = RetryPolicy(timeout=2, first_pause=0.5, longest_pause=0.5)
START_SERVER = RetryPolicy(timeout=120, first_pause=0.2, longest_pause=0.2)
# Wait for the end of a child process and of all processes that it started.
END_OF_PROCESS = RetryPolicy(timeout=None, first_pause=0.05, longest_pause=0.05)
END_OF_SERVERS = RetryPolicy(timeout=60, first_pause=0.1, longest_pause=0.1)
# Runs on workers may take hours.
END_OF_RUNS = RetryPolicy(timeout=None, first_pause=2, longest_pause=2)
