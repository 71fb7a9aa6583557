"""Image arrays on disk, written row by row.

Rows are written with `pwrite` and not through a memory map, so that the memory of the process stays small.
"""

import os
from pathlib import Path

import numpy as np

ROWS_AT_ONCE = 256


class ArrayFile:
    """An `.npy` file of uint8 whose first axis is the image; a missing file is created with its full length."""

    def __init__(self, file: Path, shape: tuple[int, ...]) -> None:
        if not file.exists():
            _reserve(file, shape)
        stored = np.load(file, mmap_mode="r")
        if stored.shape != shape or stored.dtype != np.uint8:
            raise ValueError(f"{file} is {stored.dtype} {stored.shape} instead of uint8 {shape}")
        self.file, self._start, self._length = file, stored.offset, stored.nbytes // max(len(stored), 1)
        self._descriptor = os.open(file, os.O_WRONLY)

    def write(self, row: int, pixels: np.ndarray) -> None:
        """Write `pixels` to the rows that start at `row`. Thread-safe."""
        os.pwrite(self._descriptor, pixels.tobytes(), self._start + row * self._length)

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def keep_rows(file: Path, kept: np.ndarray) -> None:
    """Rewrite an `.npy` file so that it contains only the rows `kept` (indices), in that order."""
    stored = np.load(file, mmap_mode="r")
    shorter = ArrayFile(file.with_suffix(".partial"), (len(kept), *stored.shape[1:]))
    for start in range(0, len(kept), ROWS_AT_ONCE):
        stored = np.load(file, mmap_mode="r")  # opened again: the pages of an older map would stay in memory
        shorter.write(start, stored[kept[start : start + ROWS_AT_ONCE]])
    shorter.sync()
    shorter.close()
    shorter.file.replace(file)


def _reserve(file: Path, shape: tuple[int, ...]) -> None:
    """Create the file and reserve its disk space: a full disk then raises `OSError` here, not a crash later."""
    np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    with file.open("r+b") as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
