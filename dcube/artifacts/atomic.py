"""Atomic writing of files and folders: an output appears complete or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcube.errors import DcubeError


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `folder` on success and is removed on failure.

    The old folder is removed last. If the process is killed between the two renames, the next call restores it.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    old = folder.with_name(f".{folder.name}.old.partial")
    _restore(folder, old)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    finally:
        _restore(folder, old)
        shutil.rmtree(partial, ignore_errors=True)


def _restore(folder: Path, old: Path) -> None:
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def refuse_unwritable_folder(folder: Path) -> None:
    """Raise `DcubeError` unless `folder` is a folder with write permission, or can be created."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise DcubeError(f"{nearest} is not a folder: name another folder than {folder}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise DcubeError(f"no permission to write in {nearest}: name another folder than {folder}")


def refuse_unwritable_file(file: Path) -> None:
    """Raise `DcubeError` unless `file` is a file with write permission, or can be created, with its folder."""
    if file.is_dir():
        raise DcubeError(f"{file} is a folder: name a file")
    if not file.exists():
        refuse_unwritable_folder(file.parent)
    elif not os.access(file, os.W_OK):
        raise DcubeError(f"no permission to write {file}: name another file")


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that at every instant `path` has either its old or its new content."""
    if path.exists() and not path.is_file():  # a device or a pipe, `/dev/null` for example, must not be replaced
        path.write_bytes(content)
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
