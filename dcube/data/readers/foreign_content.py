"""The real content of a file with a wrong suffix, for the error text after reading it has failed."""

import re
from pathlib import Path

from dcube.data.readers.file_kinds import PACKED_STARTS, PICTURE_STARTS, first_bytes

GZIP = "compressed data: unpack it, or call it .nii.gz if it is NIfTI"
PACKED = {f"{what}: unpack it": start for what, start in PACKED_STARTS.items()}
NIFTI = "NIfTI that is not compressed: call it .nii"
DICOM = "DICOM: call it .dcm"
PICTURE = {f"a {name}: call it .{name.lower()}": start for name, start in PICTURE_STARTS.items()}
CONTENTS = {
    "a Git LFS pointer in place of the file: fetch it with `git lfs pull`": rb"version https://git-lfs",
    "a git-annex pointer in place of the file: fetch it with `git annex get`": rb"/annex/objects/",
    "a web page in place of the file: download it again": rb"\s*<(!doctype|html)",
    "a GIF: convert it to PNG": rb"GIF8",
    "a JPEG 2000: convert it to PNG": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "HEIC or AVIF: convert it to PNG": rb"....ftyp(hei|mif|avi)",
    "a PDF: convert its pictures to PNG": rb"%PDF",
    "SVG, a drawing: convert it to PNG": rb"\s*(<\?xml[^>]*>\s*)?(<!doctype svg[^>]*>\s*)?<svg",
    "NRRD: convert it to DICOM or NIfTI": rb"NRRD\d{4}",
    "MetaImage: convert it to DICOM or NIfTI": rb"(ObjectType|NDims)\s*=",
    "HDF5 or MATLAB: convert it to PNG": rb"\x89HDF|MATLAB ",
    "a NumPy array: convert it to PNG": rb"\x93NUMPY",
    "JPEG-LS: convert it to PNG": rb"\xff\xd8\xff(\xf7|\xe8)",
    "nothing but zeros: fetch it again": rb"\0{1024}",
    GZIP: rb"\x1f\x8b",
    **PACKED,
    DICOM: rb".{128}DICM",
    NIFTI: rb".{344}n\+1\0|....n\+2\0",
    **PICTURE,
    "empty file: fetch it again": rb"\Z",
    "text in place of the file: fetch it again": rb"[\t\n\r -~]+\Z",  # e.g. a server's error; must be the last
}
PATTERNS = {what: re.compile(start, re.DOTALL | re.IGNORECASE) for what, start in CONTENTS.items()}


def foreign_content(path: Path, kind: str) -> str:
    """Return what the file is and what to do, if it begins like another kind of file; else an empty string.

    Args:
        kind: the kind according to the suffix.
    """
    content = first_bytes(path)
    found = next((what for what, pattern in PATTERNS.items() if pattern.match(content)), "")
    return "" if _is_own(found, path, kind) else found


def _is_own(found: str, path: Path, kind: str) -> bool:
    """Return whether the reader of this kind can read the found content."""
    if kind == "NIfTI":
        return found == (GZIP if path.suffix.lower() == ".gz" else NIFTI)
    return found == DICOM if kind == "DICOM" else found in PICTURE
