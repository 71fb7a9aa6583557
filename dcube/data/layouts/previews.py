"""Pictures among DICOM and NIfTI files: previews of these files, and logos and screenshots of a viewer."""

from collections.abc import Iterable, Mapping

from dcube.data.readers import nifti
from dcube.data.readers.dicom_header import SUFFIXES as DICOM_SUFFIXES
from dcube.data.readers.file_kinds import Kind

PREVIEW = "preview of a DICOM or NIfTI file"
AMONG_MEDICAL = "pictures among DICOM or NIfTI, perhaps of a viewer or a report: remove them if they are"
MEDICAL_SUFFIXES = (*sorted(DICOM_SUFFIXES), *sorted(nifti.SUFFIXES, reverse=True))


def previews(kinds: Mapping[str, Kind]) -> set[str]:
    """Return the pictures named like a medical file beside them: `a.jpg` or `a.dcm.png` beside `a.dcm` or `a`."""
    pictures = _pictures(kinds)
    medical = {name for file in kinds if file not in pictures for name in (file, _without_suffix(file))}
    return {file for file in pictures if file.rpartition(".")[0] in medical}


def pictures_among_medical(kinds: Mapping[str, Kind], files: Iterable[str]) -> tuple[str, ...]:
    """Return the pictures among the files if some other files are medical, else an empty tuple."""
    files = tuple(files)
    pictures = _pictures(kinds)
    found = tuple(file for file in files if file in pictures)
    return found if len(found) < len(files) else ()


def _pictures(kinds: Mapping[str, Kind]) -> set[str]:
    return {file for file, kind in kinds.items() if kind == "picture"}


def _without_suffix(file: str) -> str:
    suffix = next((suffix for suffix in MEDICAL_SUFFIXES if file.lower().endswith(suffix)), "")
    return file.removesuffix(file[len(file) - len(suffix) :])
