"""A database of facts about files that have not changed since they were found out."""

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MOST_BYTES = 2**32  # a file that has grown beyond is begun again
UNSETTLED_SECONDS = 2.0  # a file may change twice in one tick of the clock
KEYS_AT_ONCE = 500


class FileCache:
    """Facts by device, inode, size and times of the file.

    Of the times the inode's own (ctime) counts most: unpacked files bring the times of an archive along, and what was
    removed leaves its inode to a file of the same size. A database that cannot be used is no error: nothing is
    remembered then.

    Args:
        file: an SQLite database, made on first use; None: nothing is remembered.
        defining: what else the facts depend on.
    """

    def __init__(self, file: Path | None, defining: bytes) -> None:
        self._defining = defining
        self._database = _open(file) if file else None

    def recall(self, files: Iterable[Path]) -> dict[Path, Any]:
        """What `remember` was given about these files, but for those that have changed."""
        keys = {file: key for file in files if (key := self.key_of(file))}
        found = self.read(list(keys.values()))
        return {file: json.loads(found[key]) for file, key in keys.items() if key in found}

    def remember(self, facts: Mapping[Path, Any]) -> None:
        """Facts about whole files that JSON can hold."""
        self.write({key: json.dumps(fact).encode() for file, fact in facts.items() if (key := self.key_of(file))})

    def key_of(self, file: Path, *part: str) -> bytes:
        """The key of a file or a part of it; empty where it is too new, or is not there."""
        if self._database is None:
            return b""
        try:
            state = file.stat()
        except OSError:
            return b""
        if time.time() - state.st_ctime < UNSETTLED_SECONDS:
            return b""
        identity = [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns, *part]
        return hashlib.sha256(self._defining + json.dumps(identity).encode()).digest()

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are known."""
        found: dict[bytes, bytes] = {}
        with self._using() as database:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                if database is None:
                    break
                some = keys[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(database.execute(f"SELECT key, value FROM found WHERE key IN ({marks})", some))
        return found

    def write(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values by key."""
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
