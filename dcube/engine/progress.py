"""Progress of long work: a bar on a terminal, plain lines in a log, JSON lines for an orchestrator.

JSON lines are written to the file that the orchestrator names in `DCUBE_PROGRESS_FILE`.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dcube.artifacts.schemas.progress import ProgressUpdate
from dcube.printable import unguarded
from dcube.runtime.settings import read_settings

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPDATES = 1.0
SECONDS_BETWEEN_SAMPLES = 3.0
SAMPLES = 20  # the rate is measured over these: a minute, or more if steps are slow

Advance = Callable[..., None]


class _Meter:
    """Counter of completed units, which also measures the rate and limits how often it is reported."""

    def __init__(self, description: str, total: int, unit: str, completed: int) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.completed = completed
        self.start = time.monotonic()
        self.samples = deque([(self.start, completed)], maxlen=SAMPLES)
        self.values: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def count(self, count: int) -> None:
        self.completed += count
        if self.due("sample", SECONDS_BETWEEN_SAMPLES):
            self.samples.append((time.monotonic(), self.completed))

    def rate(self) -> float:
        """Return units per second over the last samples only, so that the time left follows a change of speed."""
        since, completed = self.samples[0]
        return (self.completed - completed) / max(time.monotonic() - since, 1e-9)

    def remaining_seconds(self) -> float | None:
        rate = self.rate()
        return (self.total - self.completed) / rate if rate > 0 else None

    def due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if self.completed < self.total and now - self.last.get(what, self.start) < seconds:
            return False
        self.last[what] = now
        return True

    def text(self) -> str:
        values = "".join(f"  {name} {value:.4g}" for name, value in self.values.items())
        remaining = self.remaining_seconds()
        left = f", {timedelta(seconds=round(remaining))} left" if remaining else ""
        rate = f"{self.rate():,.0f}" if self.rate() >= 100 else f"{self.rate():.3g}"
        return f"{rate} {self.unit}/s{values}{left}"

    def line(self) -> str:
        return f"{self.description}: {self.completed}/{self.total} {self.unit}, {self.text()}"

    def as_update(self) -> ProgressUpdate:
        return ProgressUpdate(
            description=self.description, completed=self.completed, total=self.total, unit=self.unit,
            rate=self.rate(), remaining_s=self.remaining_seconds(), values=self.values,
        )  # fmt: skip


@contextmanager
def progress(description: str, total: int, unit: str, completed: int = 0) -> Iterator[Advance]:
    """Yield `advance(count=1, **values)`; `values` (e.g. a loss) are shown beside the rate and the time left.

    Args:
        completed: units that an interrupted run has completed; if not 0, a line says so at the start.
    """
    meter = _Meter(description, total, unit, completed)
    updates_file = read_settings().progress_file
    if completed:
        print(f"{description}: resumed at {unit.removesuffix('s')} {completed} of {total}", file=sys.stderr, flush=True)
    bar = _bar(meter) if sys.stderr.isatty() else None
    if bar:
        bar.start()

    def advance(count: int = 1, **values: float) -> None:
        meter.count(count)
        meter.values.update(values)
        if bar:
            bar.update(bar.task_ids[0], completed=meter.completed, text=meter.text())
        elif meter.due("line", SECONDS_BETWEEN_LINES):
            print(meter.line(), file=sys.stderr, flush=True)
        if updates_file and meter.due("update", SECONDS_BETWEEN_UPDATES):
            with updates_file.open("a", encoding="utf-8") as file:
                file.write(meter.as_update().model_dump_json() + "\n")

    try:
        yield advance
    finally:
        if bar:
            bar.stop()


def _bar(meter: _Meter) -> Progress:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(meter.unit),
        TextColumn("{task.fields[text]}"),
    )  # fmt: skip
    bar = Progress(*columns, console=Console(file=unguarded(sys.stderr)))
    bar.add_task(meter.description, total=meter.total, completed=meter.completed, text="")
    return bar
