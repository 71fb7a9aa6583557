"""What a killed `prepare` leaves behind, and the next one goes on from."""

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dcube.config.schema import Data
from dcube.data.array_file import Rows
from dcube.data.layouts.listing import visible_files
from dcube.data.layouts.source import Seen

KEY, SEEN = "key", "seen.jsonl"
LATER = {  # decide nothing about a pixel
    "name", "identifiers", "seed", "test_fraction", "validation_fraction", "train_fraction", "imbalance",
}  # fmt: skip


class Unfinished:
    """One pass over a raw set: `images-SIZE.npy` by size, and what has been seen of the first so many images.

    A line of `seen.jsonl` is a block of images, written once their rows are on the disk.

    Args:
        folder: what an earlier pass with the same `key` left there is taken up; anything else is removed.
    """

    def __init__(self, folder: Path, key: str, images: int, data: Data) -> None:
        self.folder = folder
        if not (folder / KEY).exists() or (folder / KEY).read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self._arrays = {
            size: Rows(self.array_file(size), (images, data.channels, size, size))
            for size in sorted({data.image_size, data.diffusion_image_size})
        }
        (folder / KEY).write_text(key)

    def array_file(self, size: int) -> Path:
        return self.folder / f"images-{size}.npy"

    def seen(self) -> list[Seen]:
        """What an earlier pass has noted."""
        file = self.folder / SEEN
        file.touch()
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # the kill may have come while a line was written
        file.write_bytes(whole)
        noted = [one for line in whole.splitlines() for one in json.loads(line)]
        return [Seen(**{**one, "thumbnail": base64.b64decode(one["thumbnail"])}) for one in noted]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self._arrays)

    def write(self, size: int, row: int, pixels: np.ndarray) -> None:
        """Store one image. Safe to call from several threads."""
        self._arrays[size].write(row, pixels)

    def note(self, seen: Sequence[Seen]) -> None:
        """The next so many images are stored."""
        for rows in self._arrays.values():
            rows.sync()
        noted = [{**asdict(one), "thumbnail": base64.b64encode(one.thumbnail).decode()} for one in seen]
        with (self.folder / SEEN).open("a") as file:
            file.write(json.dumps(noted) + "\n")

    def close(self) -> None:
        for rows in self._arrays.values():
            rows.close()


@contextmanager
def unfinished(folder: Path, raw: Path, images: int, data: Data) -> Iterator[Unfinished]:
    """The pass that makes `folder`, kept beside it where a kill ends it, and only then."""
    beside = folder.with_name(f".{folder.name}.unfinished")
    try:
        work = Unfinished(beside, _key(raw, data), images, data)
        try:
            yield work
        finally:
            work.close()
    except Exception:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    shutil.rmtree(beside)


def _key(raw: Path, data: Data) -> str:
    """Hash of everything that defines the arrays: the raw files by name, size and time, the parameters, the code."""
    digest = hashlib.sha256(data.model_dump_json(exclude=LATER).encode())
    for file in [raw / file for file in visible_files(raw)] if raw.is_dir() else [raw]:
        state = file.stat()
        digest.update(json.dumps([str(file), state.st_size, state.st_mtime_ns]).encode())
    for module in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()
