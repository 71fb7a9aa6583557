"""Atomic writing of files and folders: an output appears complete or not at all."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcube.errors import DcubeError

OLD = ".old.partial"
AT_CURRENT_FOLDER, EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `folder` on success and is removed on failure.

    At every instant `folder` is the old one or the new one. Where the system cannot exchange two folders (macOS, some
    network file systems), two renames do it; if the process is killed between them, the next call restores the old one.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    old = folder.with_name(f".{folder.name}{OLD}")
    _restore(folder, old)
    _remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        if not (folder.exists() and _exchange(partial, folder)):
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
    finally:
        _restore(folder, old)
        _remove(partial)


def set_aside(parent: Path) -> list[Path]:
    """Return the folders in `parent` that a killed process set aside without putting the new ones in their place."""
    folders = [old.with_name(old.name.removeprefix(".").removesuffix(OLD)) for old in parent.glob(f".*{OLD}")]
    return sorted(folder for folder in folders if not folder.exists())


def restore(folder: Path) -> None:
    """Put a folder that was set aside back into its place."""
    _restore(folder, folder.with_name(f".{folder.name}{OLD}"))


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one instant, and return whether the system can do that."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = (AT_CURRENT_FOLDER, os.fsencode(one), AT_CURRENT_FOLDER, os.fsencode(other))
    return rename is not None and rename(*paths, EXCHANGE) == 0


def _restore(folder: Path, old: Path) -> None:
    if old.exists() and not folder.exists():
        old.rename(folder)
    _remove(old)


def _remove(folder: Path) -> None:
    if folder.is_symlink():  # to the folder on another disk, which stays
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


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
