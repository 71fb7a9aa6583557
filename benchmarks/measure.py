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
class Timing:
    """Seconds of plain and of ours, measured in pairs, one after the other."""

    plain: tuple[float, ...]
    ours: tuple[float, ...]

    def ratios(self, amount: tuple[float, float]) -> list[float]:
        """How many times more ours did a second, pair by pair, where they did so much work."""
        return [amount[1] / ours / (amount[0] / plain) for plain, ours in zip(self.plain, self.ours, strict=True)]


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        plain, ours: in `unit`.
        ratio: how many times better ours is.
        spread: the smallest and the largest ratio of the pairs; None where there is one.
    """

    lever: str
    size: str
    plain: float
    ours: float
    unit: str
    ratio: float
    spread: tuple[float, float] | None = None
    target: float | None = None
    remark: str = ""

    def row(self) -> str:
        cells = (
            self.lever,
            self.size,
            f"{self.plain:.3g}",
            f"{self.ours:.3g}",
            self.unit,
            f"{self.ratio:.3g} ×",
            f"{self.spread[0]:.3g} … {self.spread[1]:.3g}" if self.spread else "",
            f"≥ {self.target:g}" if self.target else "",
        )
        return f"| {' | '.join(cells)} | {self.remark} |"


def speed(
    lever: str, size: str, unit: str, amount: tuple[float, float], timing: Timing,
    target: float | None = None, remark: str = "",
) -> Result:  # fmt: skip
    """A row of rates: medians of what plain and ours did a second, and of their ratios."""
    plain, ours = amount[0] / median(timing.plain), amount[1] / median(timing.ours)
    ratios = timing.ratios(amount)
    spread = min(ratios), max(ratios)
    return Result(lever, size, plain, ours, f"{unit}/s", median(ratios), spread, target, remark)


def interleaved(
    plain: Callable[[], object],
    ours: Callable[[], object],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> Timing:
    """Both in turns, so that a busy machine slows both, after one unmeasured call each.

    Args:
        clock: CPU time of this process, unless several threads are to be compared with one.
    """
    plain(), ours()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for work, times in zip((plain, ours), seconds, strict=True):
            start = clock()
            work()
            times.append(clock() - start)
    return Timing(tuple(seconds[0]), tuple(seconds[1]))


HEADER = """| optimisation | image | plain | ours | unit | ratio | of single pairs | target | |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
