"""Random seeds as a pure function of (seed, purpose, position): a resumed run needs no replay and no stored state."""

import hashlib

import numpy as np


def derived_seed(seed: int, *position: str | int) -> int:
    """Return a 63-bit seed for one purpose and position, e.g. `derived_seed(0, "noise", step)`."""
    digest = hashlib.blake2b(repr((seed, *position)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(seed: int, *position: str | int) -> np.random.Generator:
    return np.random.default_rng(derived_seed(seed, *position))
