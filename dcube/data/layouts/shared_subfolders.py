"""Detection of folders that all contain the same subfolders: probably splits or hospitals, above the real classes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from dcube.data.layouts.raw_dataset import ImageRecord
from dcube.data.layouts.spelling import look_like_people

FEWEST_SHARED = 2
FEWEST_NUMBERS = 5  # so many folders with only a number as name are patients; fewer may be classes
MOSTLY = 0.5


def shared_subfolders(records: Iterable[ImageRecord]) -> list[str]:
    """Return the subfolders that the folders of all labels share and that contain most of their images.

    The result is empty if the subfolders look like patients, or if every image names its patient. `hospital/CLASS` and
    `CLASS/view` cannot be distinguished.
    """
    images: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    records = list(records)
    if all(record.patient for record in records):
        return []
    for record in records:
        if record.label:
            folders = PurePosixPath(record.file).parts[:-1]
            below = folders[folders.index(record.label) + 1 :] if record.label in folders else ()
            images[record.label][below[0].casefold() if below else ""] += 1
    shared = set.intersection(*(set(folders) for folders in images.values())) - {""} if len(images) > 1 else set()
    numbers = sum(folder.isdigit() for folder in shared)
    if len(shared) < FEWEST_SHARED or look_like_people(shared) or numbers == len(shared) >= FEWEST_NUMBERS:
        return []
    return sorted(shared) if all(_hold_most(shared, folders) for folders in images.values()) else []


def _hold_most(shared: set[str], folders: Mapping[str, int]) -> bool:
    return sum(folders[folder] for folder in shared) > MOSTLY * sum(folders.values())
