"""Safe unpacking of untrusted archives: no paths outside the folder, no links, no devices, no full disk."""

import errno
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from dcube.data.readers.foreign_content import PACKED, foreign_content
from dcube.data.readers.limits import limits
from dcube.data.readers.walking import refuse_too_deep
from dcube.data.readers.zip_members import is_last_part, name_of
from dcube.errors import DcubeError

EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
MOST_HEADER_BYTES = 2**20
ENCRYPTED = 1  # flag bit of a zip member


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip or a tar into a folder.

    Raises:
        DcubeError: if the archive is damaged, or is not safe to unpack.
    """
    try:
        if zipfile.is_zipfile(path):
            _unpack_zip(path, folder)
        elif _is_tar(path):
            _unpack_tar(path, folder)
        else:
            held = foreign_content(path, "archive")
            mend = f"it is {held}, and give the folder" if held in PACKED else "give one of these"
            raise DcubeError(f"{path} is neither a folder nor an .npz, a zip or a tar archive: {mend}")
    except DcubeError:
        raise
    except Exception as error:  # damaged archives cause errors of any type
        reason = " ".join(str(error).split()) or "it is damaged"
        raise DcubeError(f"{path} cannot be unpacked: {reason}") from None


def is_archive(path: Path) -> bool:
    return zipfile.is_zipfile(path) or _is_tar(path)


def _is_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, tarinfo=_SmallHeader):
            return True
    except tarfile.TarError:
        return False
    except Exception:  # `unpack` then reports the error
        return True


class _SmallHeader(tarfile.TarInfo):
    """Member header with a size limit: `tarfile` reads extended headers whole, and a malicious one may have 3 GB."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in EXTENDED_HEADERS and self.size > MOST_HEADER_BYTES:
            raise RuntimeError(f"a header of {self.size / 1e6:.1f} MB")
        return super()._proc_member(archive)  # type: ignore[misc]


def _unpack_zip(path: Path, folder: Path) -> None:
    with _open_zip(path) as archive:
        members = archive.infolist()
        for member in members:
            if (name := name_of(member)) is None:
                raise DcubeError(
                    f"{path}: the name {member.filename!r} and perhaps others are in an unknown encoding: pack the "
                    "folder again with names in UTF-8, or unpack it where it was made, and give the folder"
                )
            member.filename = name.replace("\\", "/")  # some Windows programs write backslashes
        if len(members) > (limit := limits().max_archive_files):
            raise DcubeError(f"{path} holds more files than DCUBE_MAX_ARCHIVE_FILES={limit}")
        _refuse_unsafe(path, folder, ((m.filename, stat.S_ISLNK(m.external_attr >> 16), m.file_size) for m in members))
        if any(member.flag_bits & ENCRYPTED for member in members):
            raise DcubeError(f"{path} is encrypted: unpack it with its password, and give the folder")
        _refuse_repeated(path, [(member.filename, member.is_dir()) for member in members])
        archive.extractall(folder, members)


def _open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip; raise `DcubeError` if only its last part is there."""
    try:
        archive = zipfile.ZipFile(path)
        if not is_last_part(path) and all(member.header_offset >= 0 for member in archive.infolist()):
            return archive
        archive.close()
    except (OSError, zipfile.BadZipFile) as error:
        is_cut = getattr(error, "errno", None) == errno.EINVAL or "Bad offset" in str(error)  # a place before the start
        if not is_cut:
            raise
    raise DcubeError(
        f"{path} lacks its beginning: fetch it again, or, if it came in parts (.z01, .z02 …), put them together "
        "(zip -s 0 PARTS.zip --out WHOLE.zip)"
    )


def _unpack_tar(path: Path, folder: Path) -> None:
    with tarfile.open(path, tarinfo=_SmallHeader) as archive:
        limit = limits().max_archive_files
        for count, _ in enumerate(archive, 1):  # counted before all headers are in memory
            if count > limit:
                raise DcubeError(f"{path} holds more files than DCUBE_MAX_ARCHIVE_FILES={limit}")
        members = archive.getmembers()
        _refuse_unsafe(path, folder, ((m.name, not (m.isfile() or m.isdir()), m.size) for m in members))
        _refuse_repeated(path, [(member.name, member.isdir()) for member in members])
        archive.extractall(folder, filter="data")


def _refuse_unsafe(path: Path, folder: Path, members: Iterable[tuple[str, bool, int]]) -> None:
    """Refuse paths outside `folder`, links, devices, and more bytes than the disk has free.

    Args:
        members: (name, whether it is a link or a device, size in bytes) of each member.
    """
    total = 0
    for name, special, size in members:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in (parts.parts or ("",))[0]:
            raise DcubeError(f"{path} holds {name!r}, which points outside the archive: refused")
        refuse_too_deep(path, parts)
        if special:
            raise DcubeError(f"{path} holds the link or device {name!r}: refused, pack the files themselves")
        total += size
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DcubeError(f"{path} needs {total / 1e9:.1f} GB unpacked, and {free / 1e9:.1f} GB are free")


def _refuse_repeated(path: Path, members: Sequence[tuple[str, bool]]) -> None:
    """Refuse two members that unpack to the same file, because one would be lost.

    Args:
        members: (name, whether it is a folder) of each member.
    """
    paths = [(PurePosixPath(name), is_folder) for name, is_folder in members]  # `./a` and `a//b` are `a` and `a/b`
    folders = {parent for name, _ in paths for parent in name.parents} | {
        name for name, is_folder in paths if is_folder
    }
    seen: set[PurePosixPath] = set()
    for name in (name for name, is_folder in paths if not is_folder):
        if name in seen or name in folders:
            twice = "twice" if name in seen else "as a file and as a folder"
            raise DcubeError(f"{path} holds {name.as_posix()!r} {twice}, and one would be lost: pack the folder again")
        seen.add(name)
