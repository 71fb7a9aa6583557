"""Image arrays on the disk, written row by row.

They are written through the file and not through a memory map, so that the process stays small.
"""

import os
from pathlib import Path

import numpy as np

ROWS_AT_ONCE = 256


class ArrayFile:
    """An `.npy` file of uint8 whose first axis counts images; created in its full length where it is missing."""

    def __init__(self, file: Path, shape: tuple[int, ...]) -> None:
        if not file.exists():
            _reserve(file, shape)
        stored = np.load(file, mmap_mode="r")
        if stored.shape != shape or stored.dtype != np.uint8:
            raise ValueError(f"{file} is {stored.dtype} {stored.shape} instead of uint8 {shape}")
        self.file, self._start, self._length = file, stored.offset, stored.nbytes // max(len(stored), 1)
        self._descriptor = os.open(file, os.O_WRONLY)

    def write(self, row: int, pixels: np.ndarray) -> None:
        """Store rows from `row` on. Thread-safe."""
        os.pwrite(self._descriptor, pixels.tobytes(), self._start + row * self._length)

    def sync(self) -> None:
        """Return once everything is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def keep_rows(file: Path, kept: np.ndarray) -> None:
    """Replace a file by one with these rows only."""
    stored = np.load(file, mmap_mode="r")
    shorter = ArrayFile(file.with_suffix(".partial"), (len(kept), *stored.shape[1:]))
    for start in range(0, len(kept), ROWS_AT_ONCE):
        stored = np.load(file, mmap_mode="r")  # anew: pages of an old map would stay in memory
        shorter.write(start, stored[kept[start : start + ROWS_AT_ONCE]])
    shorter.sync()
    shorter.close()
    shorter.file.replace(file)


def _reserve(file: Path, shape: tuple[int, ...]) -> None:
    """With its space reserved, a full disk is an `OSError` here, and would be a crash later."""
    np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    with file.open("r+b") as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
