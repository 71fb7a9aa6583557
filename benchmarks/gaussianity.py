"""The Kolmogorov–Smirnov test: one vectorised call against a loop over scipy."""

import numpy as np
from scipy import stats

from benchmarks.measure import Result, Setting, interleaved, speed
from dcube.features.gaussianity import gaussianity

MAPS, VALUES = 512, 256  # 256 values: the patch grid of 128 pixels in patches of 8


def benchmark(setting: Setting) -> list[Result]:
    maps = np.random.default_rng(0).gamma(4.0, size=(MAPS, VALUES)).astype(np.float32)
    reference, ours = plain(maps), gaussianity(maps)
    errors = (np.abs(a - b).max() for a, b in zip(reference, ours, strict=True))
    remark = "largest difference from scipy {:.0e} in D, {:.0e} in p".format(*errors)
    timing = interleaved(lambda: plain(maps), lambda: gaussianity(maps), setting.repeats)
    return [speed("KS test, D and exact p", f"n = {VALUES}", "maps", (MAPS, MAPS), timing, 40, remark)]


def plain(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tested = []
    for values in maps.astype(np.float64):
        tested.append(stats.kstest((values - values.mean()) / values.std(), "norm"))
    return np.array([t.statistic for t in tested]), np.array([t.pvalue for t in tested])
