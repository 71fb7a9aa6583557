"""Damaged copies of files; a random generator decides every change."""

import gzip
import io
import struct
import zipfile
import zlib

import numpy as np

HEAD = 1024  # bytes at the start of a file that decide how the rest is read
TAR_BLOCK, TAR_CHECKSUM = 512, slice(148, 156)
EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\x01\0\0\0"]


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """Apply one or a few changes; in packed files half of the time to what is inside."""
    if generator.random() < 0.5:
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(damaged(gzip.decompress(content), generator), 1)
        if content[:2] == b"PK":
            return _damaged_member(content, generator)
    changed = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        size = len(changed)
        if size == 0:
            break
        start = int(generator.integers(min(size, HEAD) if generator.random() < 0.6 else size))
        length = int(generator.integers(1, 64))
        match generator.integers(6):
            case 0:
                changed[start] ^= 1 << int(generator.integers(8))
            case 1:
                changed[start : start + 4] = EXTREMES[generator.integers(len(EXTREMES))]
            case 2:
                changed[start : start + length] = generator.bytes(length)
            case 3:
                del changed[start : start + length]
            case 4:
                changed[start:start] = changed[start : start + length]
            case _:
                del changed[start:]
    return _with_checksums(bytes(changed)) if generator.random() < 0.5 else bytes(changed)


def _with_checksums(content: bytes) -> bytes:
    """Correct the checksums of PNG and tar: a wrong one would hide the damage behind it from the reader."""
    if content[:4] == b"\x89PNG":
        chunks, at = [content[:8]], 8
        while at + 12 <= len(content):
            size = struct.unpack(">I", content[at : at + 4])[0]
            chunk = content[at + 4 : at + 8 + size]
            chunks.append(content[at : at + 4] + chunk + struct.pack(">I", zlib.crc32(chunk)))
            at += 12 + size
        return b"".join([*chunks, content[at:]])
    changed = bytearray(content)
    for at in range(0, len(content) - TAR_BLOCK, TAR_BLOCK):
        if content[at + 257 : at + 262] == b"ustar":
            block = changed[at : at + TAR_BLOCK]
            block[TAR_CHECKSUM] = b" " * 8
            block[TAR_CHECKSUM] = b"%06o\0 " % sum(block)
            changed[at : at + TAR_BLOCK] = block
    return bytes(changed)


def _damaged_member(content: bytes, generator: np.random.Generator) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        victim = old.namelist()[generator.integers(len(old.namelist()))]
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, damaged(member, generator) if name == victim else member)
    return packed.getvalue()
