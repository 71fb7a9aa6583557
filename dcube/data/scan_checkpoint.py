"""Checkpoint of an interrupted `prepare`, from which the next one continues."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dcube.config.schema import Data
from dcube.data.array_file import ArrayFile
from dcube.data.image_summary import ImageSummary
from dcube.data.layouts.raw_files import visible_files

KEY, SUMMARIES = "key", "summaries.jsonl"
NOT_ABOUT_PIXELS = {
    "name", "identifiers", "group_by", "subgroups", "seed", "test_fraction", "validation_fraction", "folds", "fold",
    "train_fraction", "imbalance",
}  # fmt: skip


class ScanCheckpoint:
    """The arrays `images-SIZE.npy` of one pass over the raw images, and the summaries of the images scanned so far.

    Each line of `summaries.jsonl` is a block of images, written after their rows are on the disk.

    Args:
        folder: folder of the checkpoint; emptied if it was written with another `key`.
        key: hash of everything that defines the arrays.
        images: number of images, the length of the arrays.
    """

    def __init__(self, folder: Path, key: str, images: int, data: Data) -> None:
        self.folder = folder
        if not (folder / KEY).exists() or (folder / KEY).read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self._arrays = {
            size: ArrayFile(self.array_file(size), (images, data.channels, size, size))
            for size in sorted({data.image_size, data.diffusion_image_size})
        }
        (folder / KEY).write_text(key)

    def array_file(self, size: int) -> Path:
        return self.folder / f"images-{size}.npy"

    def load_summaries(self) -> list[ImageSummary]:
        """Return the summaries of the images that an earlier pass has stored."""
        file = self.folder / SUMMARIES
        file.touch()
        content = file.read_bytes()
        complete = content[: content.rfind(b"\n") + 1]  # the process may have been killed while it wrote a line
        file.write_bytes(complete)
        stored = [summary for line in complete.splitlines() for summary in json.loads(line)]
        return [ImageSummary.from_json(one) for one in stored]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self._arrays)

    def write(self, size: int, row: int, pixels: np.ndarray) -> None:
        """Store one image. Thread-safe."""
        self._arrays[size].write(row, pixels)

    def commit(self, summaries: Sequence[ImageSummary]) -> None:
        """Record that the next `len(summaries)` images are stored."""
        for array in self._arrays.values():
            array.sync()
        block = [one.as_json() for one in summaries]
        with (self.folder / SUMMARIES).open("a") as file:
            file.write(json.dumps(block) + "\n")

    def close(self) -> None:
        for array in self._arrays.values():
            array.close()


@contextmanager
def scan_checkpoint(folder: Path, raw: Path, images: int, data: Data) -> Iterator[ScanCheckpoint]:
    """Open the checkpoint beside the output `folder`; it is deleted at the end unless the process is killed."""
    beside = folder.with_name(f".{folder.name}.unfinished")
    try:
        checkpoint = ScanCheckpoint(beside, _key(raw, data), images, data)
        try:
            yield checkpoint
        finally:
            checkpoint.close()
    except Exception:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    shutil.rmtree(beside)


def hash_of_preprocessing(data: Data) -> bytes:
    """Hash what defines the arrays besides the files: the parameters and the code of `dcube.data`."""
    digest = hashlib.sha256(data.model_dump_json(exclude=NOT_ABOUT_PIXELS).encode())
    for module in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.digest()


def _key(raw: Path, data: Data) -> str:
    """Hash everything that defines the arrays: the raw files by name, size and time, the parameters, the code."""
    digest = hashlib.sha256(hash_of_preprocessing(data))
    for file in [raw / file for file in visible_files(raw)] if raw.is_dir() else [raw]:
        state = file.stat()
        digest.update(json.dumps([str(file), state.st_size, state.st_mtime_ns]).encode())
    return digest.hexdigest()
