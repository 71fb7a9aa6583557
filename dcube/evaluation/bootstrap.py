"""Bootstrap confidence intervals: the patients of the test set are resampled with replacement.

Images of one patient are similar, so whole patients are resampled if they are known; resampling images would
underestimate the uncertainty.
"""

from collections.abc import Callable, Iterator

import numpy as np

from dcube.engine.seeds import numpy_generator
from dcube.evaluation.metrics import MetricValues

ENTRIES_AT_ONCE = 4_000_000  # entries of a chunk of the weight matrix, to limit memory


def resample_weights(groups: np.ndarray, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield chunks of the (samples, n) matrix of how often image i is in resample b.

    Args:
        groups: (n,) patient number of every image, 0…g-1 without gaps.
        samples: number of resamples.
    """
    count = int(groups.max()) + 1
    generator = numpy_generator(seed, "bootstrap")
    rows = max(1, ENTRIES_AT_ONCE // len(groups))
    for start in range(0, samples, rows):
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=min(rows, samples - start))
        yield drawn[:, groups].astype(np.float64)


def bootstrap(
    statistics: Callable[[np.ndarray], MetricValues], groups: np.ndarray, samples: int, seed: int
) -> dict[str, np.ndarray]:
    """Return name → (samples,) resampled values of `statistics`, which maps (b, n) weights to name → (b,)."""
    chunks = [statistics(weights) for weights in resample_weights(groups, samples, seed)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of (samples,) resampled values.

    Undefined values (NaN), from resamples that lack a class, are left out. If all values are NaN, the interval is
    (NaN, NaN).
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def two_sided_p(differences: np.ndarray) -> float:
    """Return twice the share of resamples on the other side of zero; never 0, because resamples are finite."""
    defined = differences[~np.isnan(differences)]
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(defined) + 1)))
