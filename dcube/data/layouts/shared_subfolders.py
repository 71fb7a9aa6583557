"""Detection of folders above the real classes: splits, hospitals or organs that would become the classes.

`hospital/CLASS` and `CLASS/hospital` cannot be distinguished, so both are for people to decide, unless outer folders
say an outcome (`benign`). Folders of patients, of series or visits of patients, and of views, are no classes.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath

from dcube.data.layouts.generic_names import say_nothing
from dcube.data.layouts.raw_dataset import ImageRecord
from dcube.data.layouts.spelling import look_like_people
from dcube.data.readers.stored_images import StoredImage

FEWEST_BELOW = 2
MOST_BELOW = 12  # more folders without a number are patients called by their initials
FEWEST_NUMBERS = 5  # so many folders with only a number as name are patients; fewer may be classes
MOSTLY = 0.5
OUTCOME = re.compile(
    r"(ab)?normals?|benign|malignant|malignancy|positives?|negatives?|pos|neg|healthy|ill|sick|well|diseased|controls?"
    r"|no|non|yes|with|without"
)  # a word that only names a class has
OUTCOME_ALONE = re.compile(r"(ab)?normal|benign|malignant|positive|negative|healthy|diseased")  # the whole name
VIEW = re.compile(
    r"t1|t2|pd|flair|dwi|adc|swi|dce|axial|coronal|sagittal|ax|cor|sag|left|right|od|os|cc|mlo|ap|pa|lat|lateral|frontal"
    r"|anterior|posterior|pre|post|contrast|arterial|venous|portal|delayed|native|baseline|follow|up|rest|stress|ct|mri?|us"
    r"|pet|xray|dicom|series|study|scan|visit|session"
)


@dataclass
class _Below:
    """The folders below the folder of one label.

    Attributes:
        images: number of images by the first folder that says something, in lower case; `""` for none.
        patients: for each of these folders, the patients that the files of its images name.
    """

    images: Counter[str] = field(default_factory=Counter)
    patients: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def names(self) -> set[str]:
        return set(self.images) - {""}

    def hold_most(self, names: Collection[str]) -> bool:
        return sum(self.images[name] for name in names) > MOSTLY * self.images.total()

    def agree_with_patients(self) -> bool:
        """Return whether each folder holds one patient, or most patients have images in several folders."""
        people = Counter(patient for patients in self.patients.values() for patient in patients)
        return all(len(patients) < 2 for patients in self.patients.values()) or (
            sum(count > 1 for count in people.values()) > MOSTLY * len(people)
        )


def shared_subfolders(records: Mapping[StoredImage, ImageRecord]) -> list[str]:
    """Return the subfolders that the folders of all labels share and that contain most of their images.

    Subfolders that are splits or say nothing are skipped. The result is empty if the subfolders look like patients or
    views, or agree with the patients that all images name, or if a label says an outcome and no subfolder does.
    """
    below = _below_labels(records)
    shared = set.intersection(*(folder.names for folder in below)) if len(below) > 1 else set()
    numbers = sum(folder.isdigit() for folder in shared)
    if len(shared) < FEWEST_BELOW or look_like_people(shared) or numbers == len(shared) >= FEWEST_NUMBERS:
        return []
    if say_nothing(sorted(shared)) or _are_of_patients(records, below) or all(map(_is_view, shared)):
        return []
    if any(map(_says_outcome, _labels(records))) and not any(map(_says_outcome, shared)):
        return []
    return sorted(shared) if all(folder.hold_most(shared) for folder in below) else []


def inner_classes(records: Mapping[StoredImage, ImageRecord]) -> list[str]:
    """Return the subfolders if each label has at least two that may be classes, as in `colon/{cancer,polyp}`.

    Subfolders that are called like outcomes may also be missing below some labels, as in a hospital without a class.

    The result is empty if a label says an outcome (`benign`, `no_tumor`), or if the subfolders look like patients,
    series or views.
    """
    below = _below_labels(records)
    names = [folder.names for folder in below]
    found = sorted(set().union(*names))
    fewest = 1 if len(found) >= FEWEST_BELOW and any(map(OUTCOME_ALONE.fullmatch, found)) else FEWEST_BELOW
    if len(below) < 2 or any(not fewest <= len(some) <= MOST_BELOW for some in names):
        return []
    if (
        any(map(_says_outcome, _labels(records)))
        or any(map(_may_be_of_a_patient, found))
        or _are_of_patients(records, below)
    ):
        return []
    return found if all(folder.hold_most(folder.names) for folder in below) else []


def _below_labels(records: Mapping[StoredImage, ImageRecord]) -> Sequence[_Below]:
    below: dict[str, _Below] = defaultdict(_Below)
    says_nothing = cache(lambda folder: say_nothing([folder]))  # a million images have few folders
    for image, record in records.items():
        if record.label:
            folders = PurePosixPath(image.file).parts[:-1]
            inner = folders[folders.index(record.label) + 1 :] if record.label in folders else ()
            name = next((folder.casefold() for folder in inner if not says_nothing(folder)), "")
            below[record.label].images[name] += 1
            below[record.label].patients[name].update(_named_patient(image))
    return list(below.values())


def _named_patient(image: StoredImage) -> set[str]:
    return {image.patient} if image.patient and not image.stands_in else set()


def _are_of_patients(records: Mapping[StoredImage, ImageRecord], below: Sequence[_Below]) -> bool:
    return all(map(_named_patient, records)) and all(folder.agree_with_patients() for folder in below)


def _labels(records: Mapping[StoredImage, ImageRecord]) -> set[str]:
    return {record.label for record in records.values() if record.label}


def _says_outcome(label: str) -> bool:
    return any(OUTCOME.fullmatch(word) for word in re.findall(r"[^\W\d_]+", label.casefold()))


def _may_be_of_a_patient(folder: str) -> bool:
    return any(letter.isdigit() for letter in folder) or _is_view(folder)


def _is_view(folder: str) -> bool:
    return all(map(VIEW.fullmatch, re.findall(r"[^\W_]+", folder.casefold())))
