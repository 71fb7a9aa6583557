"""Kolmogorov–Smirnov test of Eq. (6): distance of feature maps from a Gaussian, for many maps at once."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import ndtr
from scipy.stats import kstwo

KNOTS = 513
TRUSTED_ERROR = 1e-7
# P(√n D > 4) < 3e-14 for every n: the tail beyond is negligible.
LARGEST_SCALED_STATISTIC = 4.0


class Gaussianity(NamedTuple):
    """D and p-value of each map. A small p-value means that the map is not Gaussian."""

    statistic: np.ndarray
    p_value: np.ndarray


def gaussianity(maps: np.ndarray) -> Gaussianity:
    """Test every standardised map against the standard normal distribution, as the paper does.

    Standardising each map by its own mean and deviation makes p too large (Lilliefors 1967); `random_field` has the
    correct null. A constant map has D = 0 and p = 1.

    Args:
        maps: (n_maps, n_values), n_values at least 2.

    Returns:
        D and the exact two-sided p-value of each map, (n_maps,) float64 each.
    """
    statistic = map_statistics(maps)
    return Gaussianity(statistic, ks_p_value(statistic, maps.shape[1]))


def map_statistics(maps: np.ndarray) -> np.ndarray:
    """Standardise each map and return its D, (n_maps, n_values) to (n_maps,). D of a constant map is 0."""
    values = standardised_maps(maps)
    return np.where(values.any(axis=1), ks_statistic(values), 0.0)


def standardised_maps(maps: np.ndarray) -> np.ndarray:
    """Standardise each row of (n_maps, n_values) to zero mean and unit variance in float64; constant rows to zeros."""
    values = maps.astype(np.float64)
    mean = values.mean(axis=1, keepdims=True)
    values -= mean
    deviation = np.sqrt(np.square(values).mean(axis=1, keepdims=True))
    varies = deviation > 1e-12 * np.abs(mean)
    return np.where(varies, values / np.where(varies, deviation, 1.0), 0.0)


def ks_statistic(values: np.ndarray) -> np.ndarray:
    """Return D = sup |F(f) - Φ(f)| of each row, (n_rows, n_values) float64 to (n_rows,)."""
    n = values.shape[1]
    normal_cdf = ndtr(np.sort(values, axis=1))
    # The empirical CDF jumps by 1/n at each value, so the supremum is the distance to the jump's middle plus 0.5/n.
    middle_of_jump = (np.arange(n) + 0.5) / n
    return np.abs(normal_cdf - middle_of_jump).max(axis=1) + 0.5 / n


def ks_p_value(statistic: np.ndarray, n: int) -> np.ndarray:
    """Return P(D_n ≥ statistic) for samples of n values, within 1e-6 of `scipy.stats.kstwo.sf`.

    The exact p-value is slow and depends only on (n, D): it is tabulated once for each n and interpolated.
    """
    table = _p_value_table(n)
    clipped = np.clip(statistic, table.knots[0], table.knots[-1])
    p = table.spline(clipped)
    cell = np.clip(np.searchsorted(table.knots, clipped) - 1, 0, KNOTS - 2)
    doubtful = ~table.trusted[cell]
    if doubtful.any():
        p[doubtful] = kstwo.sf(clipped[doubtful], n)
    return np.clip(p, 0.0, 1.0)


class _Table(NamedTuple):
    knots: np.ndarray
    spline: CubicSpline
    trusted: np.ndarray  # (KNOTS - 1,) bool, one for each cell between two knots


@lru_cache(maxsize=32)
def _p_value_table(n: int) -> _Table:
    """Return knots over the whole range of D, and the cells in which interpolation is accurate.

    It is inaccurate where the exact function has a kink (n below about 20) or where scipy changes its algorithm (a jump
    of up to 3e-6 between n = 141 and 300). In these cells p is computed instead.
    """
    knots = np.linspace(0.5 / n, min(1.0, LARGEST_SCALED_STATISTIC / np.sqrt(n)), KNOTS)
    spline = CubicSpline(knots, kstwo.sf(knots, n))
    between = knots[:-1] + np.diff(knots) * np.array([[1 / 3], [2 / 3]])
    error = np.abs(spline(between) - kstwo.sf(between, n)).max(axis=0)
    return _Table(knots, spline, error < TRUSTED_ERROR)
