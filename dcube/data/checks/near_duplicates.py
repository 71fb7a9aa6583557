"""Near duplicates: copies of one picture that were re-encoded, resized, brightened or cropped slightly.

Archives collected from many sources contain pictures twice, and a test on a copy of a training image measures memory.
The search has two steps, both on thumbnails: a perceptual hash (the lowest frequencies, compared with their median)
proposes pairs, and the correlation of their detail confirms them. Detail is the image minus its blurred version: two
patients' chest films are alike at low resolution (correlation above 0.95), but not in detail (below 0.85).

The thresholds are measured (`docs/how-to/paper-data.md`): of PneumoniaMNIST's 17 million pairs only the exact copies
pass; of COVID-CT's pairs of different patients two pass, and both really are one picture. Of crops by 1 % per side, two
thirds are found; larger crops, shifts and mirrored copies are not.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dcube.config.schema import Fit
from dcube.data.checks.lookalikes import frequency_bits
from dcube.data.preprocessing import to_square

SIDE = 32
FREQUENCIES = 8
HASH_DISTANCE = 8  # of 64 bits
BLUR = 1.0  # pixels of the thumbnail
DETAIL_CORRELATION = 0.9
ROWS_AT_ONCE = 128


def thumbnail(image: Image.Image, fit: Fit) -> np.ndarray:
    """Return a (SIDE, SIDE) uint8 thumbnail of the square that networks see, in grey."""
    return to_square(image, SIDE, 1, fit)[0]


def group_near_duplicates(thumbnails: Sequence[bytes]) -> np.ndarray:
    """Group the images that show the same picture.

    Every image is compared with every other, so the time grows with the square of their number. Each image takes 4 kB
    of memory.

    Args:
        thumbnails: the bytes of each result of `thumbnail`.

    Returns:
        (n,) group numbers, equal for images that are joined by a chain of near duplicates.
    """
    n = len(thumbnails)
    pixels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(n, SIDE, SIDE)
    details = np.empty((n, SIDE * SIDE), np.float32)
    for of_block, block in zip(_blocks(details), _blocks(pixels), strict=True):
        of_block[:] = _detail(block)
    groups = np.arange(n)
    for near in _candidates(pixels):
        groups = _join_groups(groups, _confirmed(details, near))
    return groups


def _join_groups(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return (n,) group numbers after the groups of the two images of every pair (pairs, 2) are merged."""
    if not len(pairs):
        return groups
    edges = groups[pairs]
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(groups), len(groups)))
    return connected_components(graph, directed=False)[1][groups]


def _candidates(thumbnails: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (pairs, 2) indices, first < second, of images whose hashes differ in few bits, for a block of rows each."""
    hashes = np.concatenate([np.empty(0, np.uint64), *(_hashes(block) for block in _blocks(thumbnails))])
    for start in range(0, len(hashes), ROWS_AT_ONCE):
        differing = np.bitwise_count(hashes[start : start + ROWS_AT_ONCE, None] ^ hashes[None, start:])
        first, second = np.nonzero(differing <= HASH_DISTANCE)
        yield start + np.stack([first, second], axis=1)[first < second]


def _hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Return (n,) uint64 hashes: each bit says whether one of the lowest frequencies is above their median."""
    return np.packbits(frequency_bits(thumbnails, FREQUENCIES), axis=1).view(np.uint64)[:, 0]


def _confirmed(details: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the pairs whose details correlate by at least `DETAIL_CORRELATION`."""
    kept = [np.empty((0, 2), int)]
    for block in _blocks(pairs):
        correlation = np.einsum("ij,ij->i", details[block[:, 0]], details[block[:, 1]])
        kept.append(block[correlation >= DETAIL_CORRELATION])
    return np.concatenate(kept)


def _detail(thumbnails: np.ndarray) -> np.ndarray:
    """Return the detail (n, SIDE²), float32 rows of length 1: the image minus its blurred version."""
    values = thumbnails.astype(np.float32)
    sharp = (values - gaussian_filter(values, (0, BLUR, BLUR))).reshape(len(values), -1)
    sharp -= sharp.mean(axis=1, keepdims=True)
    return sharp / np.maximum(np.linalg.norm(sharp, axis=1, keepdims=True), 1e-6)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + 16 * ROWS_AT_ONCE] for start in range(0, len(rows), 16 * ROWS_AT_ONCE))
