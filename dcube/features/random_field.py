"""How large D of Eq. (6) is by chance: for Gaussian random fields with the autocorrelation of the maps themselves.

A map is standardised by its own mean and deviation, and its patches resemble their neighbours. Both change the
distribution of D, and the plain Kolmogorov–Smirnov test knows neither. With independent patches this is Lilliefors'
test (J. Am. Stat. Assoc. 62, 1967). Fields are drawn as their Fourier transform: they are periodic.
"""

import numpy as np

from dcube.features.gaussianity import ks_statistic, standardised_maps

# p has a standard error of 0.003 at 0.05; the smallest p is 0.0002.
DRAWS = 4999


def power_spectrum(maps: np.ndarray) -> np.ndarray:
    """Mean |FFT|² of standardised maps (n, h, w), constant ones left out: (h, w // 2 + 1)."""
    n, height, width = maps.shape
    fields = standardised_maps(maps.reshape(n, -1)).reshape(maps.shape)
    varying = fields.any(axis=(1, 2))
    if not varying.any():
        return np.ones((height, width // 2 + 1))
    return np.square(np.abs(np.fft.rfft2(fields[varying]))).mean(axis=0)


def null_statistics(spectrum: np.ndarray, side: int, generator: np.random.Generator) -> np.ndarray:
    """D of random Gaussian fields (side, side) with a power spectrum, each standardised: (`DRAWS`,), ascending."""
    noise = np.fft.rfft2(generator.normal(size=(DRAWS, side, side)))
    fields = np.fft.irfft2(np.sqrt(spectrum) * noise, s=(side, side))
    return np.sort(ks_statistic(standardised_maps(fields.reshape(DRAWS, -1))))


def p_value_under(null: np.ndarray, statistic: float) -> float:
    """P(D ≥ statistic) under the null, with the observed map counted among the draws: never zero."""
    larger = len(null) - np.searchsorted(null, statistic)
    return float((1 + larger) / (1 + len(null)))
