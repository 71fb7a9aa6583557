"""The kind of a file, by its name if possible, else by its first bytes."""

import re
from pathlib import Path
from typing import Literal

from dcube.data.readers import images, nifti
from dcube.data.readers.dicom_header import SUFFIXES as DICOM_SUFFIXES
from dcube.data.readers.dicom_header import is_dataset_start

Kind = Literal["picture", "DICOM", "NIfTI"]
MEDICAL = ("DICOM", "NIfTI")  # kinds that can identify a person

BYTES_READ = 1024  # enough to recognise the kind
PICTURE_STARTS = {
    "PNG": rb"\x89PNG\r\n",
    "JPEG": rb"\xff\xd8\xff",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM....\0\0\0\0",
    "WebP": rb"RIFF....WEBP",
}
PICTURE_START = re.compile(b"|".join((*PICTURE_STARTS.values(), rb"P[1-6]\s+(#|\d)")), re.DOTALL)
PACKED_STARTS = {
    "a zip archive": rb"PK\x03\x04",
    "a 7z archive": rb"7z\xbc\xaf\x27\x1c",
    "a RAR archive": rb"Rar!\x1a\x07",
    "data that gzip has compressed": rb"\x1f\x8b",
    "data that xz has compressed": rb"\xfd7zXZ\0",
    "data that bzip2 has compressed": rb"BZh[1-9]1AY&SY",
    "data that Zstandard has compressed": rb"\x28\xb5\x2f\xfd",
}
PACKED_START = re.compile(b"|".join(PACKED_STARTS.values()))
NOT_READ = re.compile(
    r"\.(gif|hei[cf]|jp[2cxm]|j2[kc]|jls|jxl|jxr|avif|svgz?|pdf|eps|psd|xcf|tga|pcx|ico|dib|exr|pfm|pam|dng|cr[23]|nef|arw|orf|raf|rw2|x3f"
    r"|svs|ndpi|mrxs|scn|vsi|czi|lif|lsm|nd2|oi[bf]|zvi|stk|fits?|mha|mhd|nrrd|nhdr|mgz|mgh|mnc|par|rec|hdr|img|raw|vtk"
    r"|np[yz]|mat|h5|hdf5|pkl|tfrecord|avi|mp4|m4v|mov|mpe?g|mkv|wmv|webm)"
)
COMPRESSED = re.compile(r"\.(zip|gz|tgz|tar|bz2|xz|7z|rar|zst)")
# Files left by browsers, copy programs and editors. Plain `.old` is not among them: `normal.old` may be a class folder.
LEFTOVER = re.compile(
    r"(?:.+\.(?:part|partial|filepart|crdownload|download|opdownload|!ut|aria2|te?mp|sw[op]|ba?k)|~\$.+|#.+#|.+~"
    r"|.+\.(?:png|jpe?g|bmp|tiff?|p[gnp]m|webp|dcm|dicom|ima|nii|gz)\.(?:old|orig|save|backup|copy|lock))(?:\.\d+)?"
)
OFFICE = re.compile(r"\.(xlsx|docx|pptx|od[stp])")  # these are zip files too


def kind_of(path: Path) -> Kind | None:
    """Return the kind of a file; None if it is of a kind that is not read."""
    suffix = path.suffix.lower()
    if is_leftover(path):
        return None
    if suffix in images.SUFFIXES:
        return "picture"
    if nifti.is_nifti(path):
        return "NIfTI"
    if suffix in DICOM_SUFFIXES:
        return "DICOM"
    if path.name.upper() == "DICOMDIR":
        return None
    start = first_bytes(path)
    if is_dataset_start(start):
        return "DICOM"
    return "picture" if PICTURE_START.match(start) else None


def is_leftover(path: Path) -> bool:
    return LEFTOVER.fullmatch(path.name.lower()) is not None


def why_not_read(path: Path) -> str:
    """Return the reason why a file is left out for which `kind_of` is None, with a remedy if there is one."""
    suffix = path.suffix.lower()
    if is_leftover(path):
        return "left by a download, an editor or a backup: rename it if it is an image"
    if path.name.upper() == "DICOMDIR":
        return "index of a DICOM medium"
    start = first_bytes(path)
    if not start:
        return "empty file"
    if start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0":
        return "NIfTI without the suffix .nii: rename it"
    if NOT_READ.fullmatch(suffix):
        return "format that is not read: convert it to PNG, DICOM or NIfTI"
    if COMPRESSED.fullmatch(suffix) or (PACKED_START.match(start) and not OFFICE.fullmatch(suffix)):
        return "compressed file: unpack it"
    return "not an image"


def first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BYTES_READ)
