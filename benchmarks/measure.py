"""Interleaved timing, and the table it ends in."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Setting:
    """What the command line asks for.

    Attributes:
        sizes: image sizes in pixels.
        repeats: timings whose median counts.
        prepared, weights: a working copy's data set and trained diffusion model, for the Fréchet comparison.
        samples: images that each sampler makes for it.
    """

    sizes: tuple[int, ...]
    repeats: int
    prepared: Path
    weights: Path
    samples: int


@dataclass(frozen=True)
class Result:
    """One row of the table. `plain` and `ours` are in `unit`; `ratio` is how many times better ours is."""

    lever: str
    size: str
    plain: float
    ours: float
    unit: str
    ratio: float
    target: float | None = None
    remark: str = ""

    def row(self) -> str:
        target = f"≥ {self.target:g}" if self.target else ""
        cells = (
            self.lever,
            self.size,
            f"{self.plain:.3g}",
            f"{self.ours:.3g}",
            self.unit,
            f"{self.ratio:.3g} ×",
            target,
        )
        return f"| {' | '.join(cells)} | {self.remark} |"


def speed(
    lever: str, size: str, unit: str, amount: tuple[float, float], seconds: tuple[float, float],
    target: float | None = None, remark: str = "",
) -> Result:  # fmt: skip
    """A row of rates: amounts of work done by plain and by ours in so many seconds."""
    plain, ours = amount[0] / seconds[0], amount[1] / seconds[1]
    return Result(lever, size, plain, ours, f"{unit}/s", ours / plain, target, remark)


def interleaved(plain: Callable[[], object], ours: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of both, timed in turns so that a busy machine slows both, after one unmeasured call each."""
    plain(), ours()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for work, times in zip((plain, ours), seconds, strict=True):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return median(seconds[0]), median(seconds[1])


HEADER = """| lever | image | plain | ours | unit | ratio | target | |
| --- | --- | --- | --- | --- | --- | --- | --- |"""
