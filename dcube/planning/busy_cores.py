"""Whether other programs use the cores while a plan measures speeds: the measured steps are then too slow."""

import time
from contextlib import suppress
from pathlib import Path

BUSY = 0.2  # share of the time; the estimates are to hold within a factor of 1.5


class CoreWatch:
    """What this process computes and how long it waits for a core, from the creation of the object."""

    def __init__(self) -> None:
        self._computed, self._waited = time.process_time(), waited_seconds()

    def waiting(self) -> float:
        """Return the share of the time in which threads that could compute waited for a core; 0 if not known."""
        computed = time.process_time() - self._computed
        waited = max(waited_seconds() - self._waited, 0.0)  # threads that have ended are no longer counted
        return waited / (computed + waited) if waited else 0.0


def waited_seconds() -> float:
    """Return how long the threads of this process have waited for a core so far; 0 outside Linux."""
    nanoseconds = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            nanoseconds += int(file.read_text().split()[1])
    return nanoseconds / 1e9


def busy_in_words(waiting: float) -> str:
    """Return a sentence about cores that other programs use; empty if the measurements hardly waited for them.

    Args:
        waiting: the result of `CoreWatch.waiting`.
    """
    if waiting < BUSY:
        return ""
    return (
        f"Other programs use the cores: the measurements waited for a core for {waiting:.0%} of their time, and every "
        "time here is too long. Try again when the cores are idle."
    )
