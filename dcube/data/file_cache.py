"""A database of facts about files, valid as long as the files do not change."""

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MOST_BYTES = 2**32  # a larger database is deleted and started again
UNSETTLED_SECONDS = 2.0  # a file may change twice within the resolution of its timestamp
KEYS_AT_ONCE = 500


class FileCache:
    """Stored facts about files; the key is the device, inode, size, mtime and ctime of the file.

    The ctime matters most: unpacked files have the mtime that the archive recorded, and a new file of the same size may
    get the inode of a removed one. If the database cannot be used, nothing is stored and no error is raised.

    Args:
        file: an SQLite database, created on first use; None stores nothing.
        defining: bytes that identify everything else that the facts depend on.
    """

    def __init__(self, file: Path | None, defining: bytes) -> None:
        self._defining = defining
        self._database = _open(file) if file else None

    def recall(self, files: Iterable[Path]) -> dict[Path, Any]:
        """Return the facts that `remember` stored about these files, without files that have changed since."""
        keys = {file: key for file in files if (key := self.key_of(file))}
        found = self.read(list(keys.values()))
        return {file: json.loads(found[key]) for file, key in keys.items() if key in found}

    def remember(self, facts: Mapping[Path, Any]) -> None:
        """Store facts about whole files; each fact must be serialisable as JSON."""
        self.write({key: json.dumps(fact).encode() for file, fact in facts.items() if (key := self.key_of(file))})

    def key_of(self, file: Path, *part: str) -> bytes:
        """Return the key of a file or of a part of it; empty if the file is too new or missing."""
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
        """Return the stored values of these keys; unknown keys are left out."""
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
        """Store values under their keys."""
        with self._using() as database:
            if database and values:
                with database:
                    database.executemany("INSERT OR REPLACE INTO found VALUES (?, ?)", values.items())

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection | None]:
        """Yield the database; after any SQLite error it is not used any more."""
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
        database.execute("PRAGMA synchronous = OFF")  # lost facts are only computed again
        database.execute("CREATE TABLE IF NOT EXISTS found (key BLOB PRIMARY KEY, value BLOB)")
        return database
    except (OSError, sqlite3.Error):
        return None
