"""What earlier checks have found out about images whose files have not changed since: a second check is fast."""

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dcube.config.schema import Data
from dcube.data.checks.near_duplicates import group_near_duplicates
from dcube.data.image_summary import ImageSummary
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.scan_checkpoint import hash_of_preprocessing

MOST_BYTES = 2**32  # a file that has grown beyond is begun again
UNSETTLED_SECONDS = 2.0  # a file may change twice in one tick of the clock
KEYS_AT_ONCE = 500


class ScanCache:
    """Summaries by device, inode, size and times of the image's file, and by what defines the pixels.

    Of the times the inode's own (ctime) counts most: unpacked files bring the times of an archive along, and what was
    removed leaves its inode to a file of the same size. There are no names and patients, but thumbnails. A database
    that cannot be used is no error: nothing is remembered then.

    Args:
        file: an SQLite database, made on first use; None: nothing is remembered.
        root: the folder that the records' files are relative to.
    """

    def __init__(self, file: Path | None, root: Path, dataset: RawDataset, data: Data) -> None:
        self._root, self._dataset = root, dataset
        self._defining = hash_of_preprocessing(data)
        self._database = _open(file) if file and dataset.has_paths else None

    def find(self, rows: Sequence[int]) -> dict[int, ImageSummary]:
        """What is known of these records, by row."""
        keys = {row: key for row in rows if (key := self._key(row))}
        found = self._read(list(keys.values()))
        return {row: ImageSummary.from_json(json.loads(found[key])) for row, key in keys.items() if key in found}

    def add(self, summaries: Mapping[int, ImageSummary]) -> None:
        """Remember what was found out, by row. A refusal is none: another limit, or another reader, may lift it."""
        self._write(
            {
                key: json.dumps(summary.as_json()).encode()
                for row, summary in summaries.items()
                if not summary.problem and (key := self._key(row))
            }
        )

    def group_near_duplicates(self, thumbnails: Sequence[bytes]) -> np.ndarray:
        """As the function of that name, which takes minutes for 100,000 images."""
        digest = hashlib.sha256(self._defining)
        for one in thumbnails:
            digest.update(one)
        key = digest.digest()
        if known := self._read([key]).get(key):
            return np.frombuffer(known, np.int64)
        groups = group_near_duplicates(thumbnails).astype(np.int64)
        self._write({key: groups.tobytes()})
        return groups

    def _key(self, row: int) -> bytes:
        """Empty where the file is too new, or is not there."""
        if self._database is None:
            return b""
        record, place = self._dataset.records[row], self._dataset.places[row] if self._dataset.places else ""
        file, _, number = record.file.partition("#")
        try:
            state = (self._root / file).stat()
        except OSError:
            return b""
        if time.time() - state.st_ctime < UNSETTLED_SECONDS:
            return b""
        file_state = [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        identity = [*file_state, number, place]
        return hashlib.sha256(self._defining + json.dumps(identity).encode()).digest()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        with self._using() as database:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                if database is None:
                    break
                some = keys[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(database.execute(f"SELECT key, value FROM found WHERE key IN ({marks})", some))
        return found

    def _write(self, values: Mapping[bytes, bytes]) -> None:
        with self._using() as database:
            if database and values:
                with database:
                    database.executemany("INSERT OR REPLACE INTO found VALUES (?, ?)", values.items())

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection | None]:
        """Anything wrong with the database ends its use."""
        try:
            yield self._database
        except sqlite3.Error:
            self._database = None


def _open(file: Path) -> sqlite3.Connection | None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and file.stat().st_size > MOST_BYTES:
            file.unlink()
        file.touch(mode=0o600)
        database = sqlite3.connect(file, timeout=10)
        database.execute("PRAGMA synchronous = OFF")  # what is lost is found out again
        database.execute("CREATE TABLE IF NOT EXISTS found (key BLOB PRIMARY KEY, value BLOB)")
        return database
    except (OSError, sqlite3.Error):
        return None
