"""Visibility of patch borders in generated images, a fault that Fréchet distances hardly show."""

import numpy as np


def blockiness(images: np.ndarray, patch_size: int) -> float:
    """Return the mean jump between neighbouring pixels across patch borders, divided by that inside patches.

    The ratio is about 1 for images made without patches (a little less if borders are in smooth regions). It is 1 if
    nothing can be compared: patches of one pixel, a single patch, or flat images.

    Args:
        images: (n, C, S, S) uint8, n at least 1.
        patch_size: side of a patch in pixels.
    """
    across, inside = [], []
    for axis in (2, 3):
        jumps = _mean_jumps(np.asarray(images), axis)  # (S - 1,)
        is_border = np.arange(1, len(jumps) + 1) % patch_size == 0
        across.append(jumps[is_border])
        inside.append(jumps[~is_border])
    across_borders, inside_patches = np.concatenate(across), np.concatenate(inside)
    if not (across_borders.size and inside_patches.size and inside_patches.mean() > 0):
        return 1.0
    return float(across_borders.mean() / inside_patches.mean())


def _mean_jumps(images: np.ndarray, axis: int) -> np.ndarray:
    """Return (S - 1,) mean absolute differences of neighbouring rows (axis 2) or columns (axis 3)."""
    differences = np.abs(np.diff(images.astype(np.int16), axis=axis))
    return differences.mean(axis=tuple(i for i in range(4) if i != axis))
