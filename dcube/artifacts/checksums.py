"""Files with their checksum beside them, written after them: a file without it, or of other bytes, is not whole."""

import hashlib
import json
from pathlib import Path

from dcube.artifacts.atomic import atomic_write


def checksum_of(path: Path) -> Path:
    """Where the checksum of a file stands."""
    return path.with_suffix(".sha256")


def write_checksummed(path: Path, content: bytes) -> None:
    atomic_write(path, content)
    atomic_write(checksum_of(path), hashlib.sha256(content).hexdigest().encode())


def has_checksum(path: Path) -> bool:
    return checksum_of(path).exists()


def is_whole(path: Path) -> bool:
    """Whether a file that has a checksum agrees with it."""
    return sha256_of(path) == checksum_of(path).read_text()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """Path below the folder → sha256 of every file, without Python's caches of compiled code."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}


def dvc_hash(path: Path) -> str | None:
    """The hash that DVC records of a file or a folder; None where there is nothing."""
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
