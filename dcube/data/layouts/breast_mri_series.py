"""Selection of the first series after the contrast agent in Duke Breast Cancer MRI.

For 917 of 922 patients the archive's series name tells it: `ax dyn 1st pass`, `1st ax dyn` or `Ph1/ax dynamic`. Four
patients have no such series, but two or more dynamic series without a number. The first of these was acquired before
the contrast agent, unless another one is called `pre`; the next one is used. One patient has only `pre`, `2nd pass` and
`3rd pass`.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

FOLDER = re.compile(r"(?P<number>\d+(?:\.\d+)?)-(?P<name>.*)")
FIRST = re.compile(r"(?<![a-z\d])1st(?![a-z])|(?<![a-z])ph1(?!\d)|post_1(?!\d)", re.IGNORECASE)
LATER = re.compile(r"(?<![a-z\d])(2nd|[3-9](rd|th))(?![a-z])|(?<![a-z])ph[2-9]|post_[2-9]", re.IGNORECASE)
BEFORE = re.compile(r"(?<![a-z])pre(?![a-z])", re.IGNORECASE)
DYNAMIC = re.compile(r"dyn|vibrant", re.IGNORECASE)
SEGMENTATION = re.compile(r"(?<![a-z])segmentation", re.IGNORECASE)


def is_segmentation(folder: str) -> bool:
    return bool(SEGMENTATION.search(PurePosixPath(folder).name))


def first_after_contrast(folders: Sequence[str]) -> str | None:
    """Return the folder of the first series after the contrast agent; None if no name tells it.

    A patient's only series is used whatever its name is.
    """
    if len(folders) == 1:
        return folders[0]
    named = [folder for folder in folders if FIRST.search(PurePosixPath(folder).name)]
    if named:
        return named[0] if len(named) == 1 else None
    dynamic = [folder for folder in folders if DYNAMIC.search(PurePosixPath(folder).name)]
    before = [folder for folder in dynamic if BEFORE.search(PurePosixPath(folder).name)]
    plain = [folder for folder in dynamic if folder not in before and not LATER.search(PurePosixPath(folder).name)]
    return next(iter(sorted(plain, key=_number)[0 if before else 1 :]), None)


def _number(folder: str) -> float:
    found = FOLDER.match(PurePosixPath(folder).name)
    return float(found["number"]) if found else 0.0
