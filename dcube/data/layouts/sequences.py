"""Detection of NIfTI volumes of one case: `case_t1.nii.gz` beside `case_flair.nii.gz`, or `case_0000` and `case_0001`.

NIfTI names no patient, so each file counts as one, and the sequences of a person would be in several splits.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

from dcube.data.layouts.view_words import are_views
from dcube.data.readers.stored_images import StoredImage
from dcube.errors import DcubeError, abbreviated

NIFTI = re.compile(r"\.nii(?:\.gz)?$", re.IGNORECASE)
AT_THE_END = re.compile(r"(?:^|[\s._-])([^\W_]+)$")
CHANNEL = re.compile(r"000\d")  # nnU-Net numbers the channels of a case


def refuse_mixed_sequences(patients: Mapping[StoredImage, str], where: str) -> None:
    """Refuse several volumes of one case that count as patients of their own, judged by their names.

    Args:
        patients: the patient of each image; only NIfTI files that stand in for their patient are compared.

    Raises:
        DcubeError: if there are such volumes; the message names those of the first case.
    """
    cases: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for file in {one.file for one, patient in patients.items() if one.stands_in and patient == one.file}:
        cases[_case(PurePosixPath(file))].add(file)
    mixed = [sorted(files) for _, files in sorted(cases.items()) if len(files) > 1]
    if mixed:
        noun = "case has" if len(mixed) == 1 else "cases have"
        raise DcubeError(
            f"{where}: {len(mixed)} {noun} volumes of several sequences or views ({abbreviated(mixed[0], 2)}), and "
            "each would count as a patient of its own: keep one sequence, or give patient_id in metadata.csv"
        )


def _case(file: PurePosixPath) -> tuple[str, ...]:
    """Return the path without the name of its sequence, which is the end of the file name or a folder."""
    top, *inner = file.parts[:-1] or ("",)
    stem = NIFTI.sub("", file.name)
    found = AT_THE_END.search(stem)
    if found and (are_views(found[1]) or CHANNEL.fullmatch(found[1])):
        return tuple(folder.replace(found[1], "") for folder in (top, *inner, stem))
    return (top, *("" if are_views(folder) else folder for folder in inner), stem)
