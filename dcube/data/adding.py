"""Bringing a raw data set under `data/`: checked first, and whole or not at all."""

import hashlib
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import replace as replace_fields
from pathlib import Path, PurePosixPath

from dcube.config import Data
from dcube.data.inspection import Report, inspect
from dcube.data.phantom import PHANTOM, write_phantom
from dcube.engine.publish import published
from dcube.errors import DcubeError

DAMAGED = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, RuntimeError)


def add(data: Data, path: Path | None, folder: Path, replace: bool = False) -> Report:
    """Copy, unpack, fetch or draw the raw set `data.name` into `folder`.

    Args:
        path: a folder, an `.npz`, a zip or a tar; None draws the phantom or fetches a MedMNIST set by its name.
        folder: where the set will stand. The same content there already is fine; other content needs `replace`.

    Raises:
        DcubeError: for an unsafe archive, for what `prepare` would refuse, for other content in `folder`.
    """
    if path is not None and data.name == PHANTOM:
        raise DcubeError(f"the name {PHANTOM!r} belongs to the invented data set: choose another, or give no PATH")
    if path is not None and not path.exists():
        raise DcubeError(f"{path} does not exist")
    with published(folder) as incoming:
        _fill(incoming, data.name, path)
        report = _inspect_as(path or folder, incoming, data)
        if report.problem:
            raise DcubeError(f"{data.name} was not added: {report.problem}")
        if folder.exists() and not replace and digest(folder) != digest(incoming):
            raise DcubeError(f"{folder} holds other content: choose another name, or give --replace")
    return report


def digest(folder: Path) -> str:
    """sha256 over the names and bytes of all files below `folder`."""
    total = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        with file.open("rb") as content:
            total.update(file.relative_to(folder).as_posix().encode("utf-8", "surrogateescape") + b"\0")
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def _fill(folder: Path, name: str, path: Path | None) -> None:
    if path is None and name == PHANTOM:
        write_phantom(folder)
    elif path is None:
        from dcube.data.medmnist import download

        download(name, folder)
    elif path.is_dir():
        shutil.copytree(path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__MACOSX"))
    elif path.suffix.lower() == ".npz":
        shutil.copyfile(path, folder / path.name)
    else:
        _unpack(path, folder)


def _inspect_as(shown: Path, folder: Path, data: Data) -> Report:
    """Inspect `folder`, and call it `shown` in the report and in errors."""
    try:
        return replace_fields(inspect(folder, data), path=str(shown))
    except DcubeError as error:
        raise DcubeError(str(error).replace(str(folder), str(shown))) from None


def _unpack(path: Path, folder: Path) -> None:
    """Unpack an archive; a single folder around everything is taken off."""
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
    """Members are (name, is a link or a device, size in bytes). Nothing may land outside `folder` or fill the disk."""
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
