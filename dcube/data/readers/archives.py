"""Unpacking archives from untrusted sources: no path outside the folder, no link, no device, no full disk."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from dcube.errors import DcubeError

DAMAGED = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, RuntimeError)


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip or a tar into a folder, without the single folder that may be around everything.

    Raises:
        DcubeError: it is damaged, or not safe to unpack.
    """
    unpacked = folder / ".unpacked"
    unpacked.mkdir()
    try:
        if zipfile.is_zipfile(path):
            _unpack_zip(path, unpacked)
        elif tarfile.is_tarfile(path):
            _unpack_tar(path, unpacked)
        else:
            raise DcubeError(f"{path} is neither a folder nor an .npz, a zip or a tar archive")
    except DAMAGED as error:
        raise DcubeError(f"{path} cannot be unpacked: {error}") from None
    root = unpacked
    while len(entries := [entry for entry in root.iterdir() if entry.name != "__MACOSX"]) == 1 and entries[0].is_dir():
        root = entries[0]
    for entry in list(root.iterdir()):
        entry.rename(folder / entry.name)
    shutil.rmtree(unpacked)


def _unpack_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _refuse_unsafe(path, folder, ((m.filename, stat.S_ISLNK(m.external_attr >> 16), m.file_size) for m in members))
        archive.extractall(folder)


def _unpack_tar(path: Path, folder: Path) -> None:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        _refuse_unsafe(path, folder, ((m.name, not (m.isfile() or m.isdir()), m.size) for m in members))
        archive.extractall(folder, filter="data")


def _refuse_unsafe(path: Path, folder: Path, members: Iterable[tuple[str, bool, int]]) -> None:
    """Members are (name, is a link or a device, size in bytes). Nothing may leave `folder` or fill the disk."""
    total = 0
    for name, special, size in members:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in (parts.parts or ("",))[0]:
            raise DcubeError(f"{path} holds {name!r}, which points outside the archive: refused")
        if special:
            raise DcubeError(f"{path} holds the link or device {name!r}: refused, pack the files themselves")
        total += size
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DcubeError(f"{path} needs {total / 1e9:.1f} GB unpacked, and {free / 1e9:.1f} GB are free")
