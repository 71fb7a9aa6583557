"""What `zipfile` leaves open about a zip: the encoding of its names, and whether the file is one part of several."""

import struct
import zlib
from pathlib import Path
from zipfile import ZipInfo

UTF8 = 0x800  # flag bit of a member
UNICODE_PATH = 0x7075  # extra field of Info-ZIP
END, LONGEST_END = b"PK\5\6", 22 + 2**16  # end of central directory, with a comment
UNKNOWN_DISK = 0xFFFF


def name_of(member: ZipInfo) -> str | None:
    """Return the name of a member, or None if its encoding is not known.

    Without a flag, the format says code page 437, which hardly any program writes: macOS writes UTF-8, and Windows the
    code page of its country. One cannot tell these apart, because letters of one are letters of another.
    """
    if member.flag_bits & UTF8 or member.orig_filename.isascii():
        return member.filename
    stored = member.orig_filename.encode("cp437")
    try:
        return _unicode_path(member.extra, stored) or stored.decode()
    except UnicodeDecodeError:
        return None


def _unicode_path(extra: bytes, stored: bytes) -> str:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == UNICODE_PATH and extra[5:9] == struct.pack("<I", zlib.crc32(stored)):
            return extra[9 : 4 + size].decode()
        extra = extra[4 + size :]
    return ""


def is_last_part(path: Path) -> bool:
    """Return whether a zip is the last part of several (`set.z01`, `set.z02`, `set.zip`), by its last record."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LONGEST_END))
        tail = file.read()
    at = tail.rfind(END)
    (disk,) = struct.unpack_from("<H", tail, at + 4) if 0 <= at <= len(tail) - 6 else (0,)
    return disk not in (0, UNKNOWN_DISK)
