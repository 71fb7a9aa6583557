"""Files with a checksum file beside them, which is written last.

A file without its checksum, or with another one, is incomplete.
"""

import hashlib
import json
from pathlib import Path

from dcube.artifacts.atomic import atomic_write


def checksum_of(path: Path) -> Path:
    """Return the path of a file's checksum."""
    return path.with_suffix(".sha256")


def write_checksummed(path: Path, content: bytes) -> None:
    atomic_write(path, content)
    atomic_write(checksum_of(path), hashlib.sha256(content).hexdigest().encode())


def has_checksum(path: Path) -> bool:
    return checksum_of(path).exists()


def is_whole(path: Path) -> bool:
    """Return whether a file agrees with its checksum, which must exist."""
    return sha256_of(path) == checksum_of(path).read_text()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """Return relative path → sha256 of every file below `folder`, except those in `__pycache__`."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}


def dvc_hash(path: Path) -> str | None:
    """Return the hash that DVC records for a file or a folder; None if the path does not exist."""
    if path.is_file():
        return _md5_of(path)
    if not path.is_dir():
        return None
    files = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    hashes = {file.relative_to(path).as_posix(): _md5_of(file) for file in files}
    listing = [{"md5": hashes[name], "relpath": name} for name in sorted(hashes)]
    return f"{_md5(json.dumps(listing, sort_keys=True).encode())}.dir"


def remove(path: Path) -> None:
    path.unlink()
    checksum_of(path).unlink(missing_ok=True)


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
