"""Listing the files of a folder. Pipes, sockets, broken links and links to folders are refused and named."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from dcube.errors import DcubeError, abbreviated

DEEPEST = 100  # nested folders; some functions of Python's library recurse into each
KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def given_path(path: str | Path) -> Path:
    """Return the path that a user gives.

    Raises:
        DcubeError: if it is empty, like a shell variable without a value, because it would mean the current folder.
    """
    if not str(path).strip():
        raise DcubeError("a path is empty: give one, or . for this folder")
    return Path(path)


def refuse_special(path: Path) -> None:
    """Raise `DcubeError` unless the path is a file, a folder, or a link to one of them."""
    if problem := _problem(path):
        raise DcubeError(f"{path} {problem}: give a file or a folder")


def regular_files(folder: Path, is_skipped: Callable[[str], bool]) -> list[Path]:
    """List all files below a folder, including links to files, in no particular order; a file gives an empty list.

    Args:
        is_skipped: returns whether a file or folder with this name is skipped.

    Raises:
        DcubeError: if there are broken links, links to folders, pipes, sockets, unreadable folders or too deep ones;
            the message names them.
    """
    files, special = [], []
    for path in _entries(folder, is_skipped):
        if problem := "is a link to a folder" if path.is_dir() else _problem(path):
            special.append(f"{path.relative_to(folder)} {problem}")
        else:
            files.append(path)
    if special:
        raise DcubeError(f"{folder}: {abbreviated(sorted(special))}: remove these, or put copies of the files there")
    return files


def refuse_too_deep(container: Path, inside: PurePath) -> None:
    """Raise `DcubeError` if a path inside a folder or archive has more than `DEEPEST` parts."""
    if len(inside.parts) > DEEPEST:
        raise DcubeError(f"{container} holds folders inside of {DEEPEST} others: move the images up")


def _entries(folder: Path, is_skipped: Callable[[str], bool]) -> Iterator[Path]:
    """Yield all entries except folders and skipped ones; links to folders are yielded, not followed (cycles)."""
    for root, folders, files in os.walk(folder, onerror=_refuse_unreadable):
        parent = Path(root)
        refuse_too_deep(folder, parent.relative_to(folder))
        yield from (parent / name for name in files if not is_skipped(name))
        folders[:] = [name for name in folders if not is_skipped(name)]
        yield from (path for name in folders if (path := parent / name).is_symlink())


def _problem(path: Path) -> str:
    """Return what the path is instead of a file or folder; empty if it is one of them."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            return "is a broken link"
        return "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    return f"is {KINDS[kind]}" if (kind := stat.S_IFMT(mode)) in KINDS else ""


def _refuse_unreadable(error: OSError) -> None:
    if not isinstance(error, NotADirectoryError):
        raise DcubeError(f"{error.filename} cannot be read: {error.strerror}")
