"""Detection of folders above the real classes: splits, hospitals or organs that would become the classes.

`hospital/CLASS` and `CLASS/hospital` cannot be distinguished, so both are for people to decide, unless outer folders
say an outcome (`benign`). Folders of patients, of series or visits of patients, and of views, are no classes.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Self

from dcube.data.layouts.generic_names import say_nothing
from dcube.data.layouts.raw_dataset import ImageRecord
from dcube.data.layouts.spelling import look_like_people
from dcube.data.layouts.view_words import are_views
from dcube.data.readers.stored_images import StoredImage

FEWEST_BELOW = 2
MOST_BELOW = 12  # more folders without a number are patients called by their initials
FEWEST_NUMBERS = 5  # so many folders with only a number as name are patients; fewer may be classes
MOSTLY = 0.5
OUTCOME = re.compile(
    r"(ab)?normals?|benign|malignant|malignancy|positives?|negatives?|pos|neg|healthy|ill|sick|well|diseased|controls?"
    r"|no|non|yes|with|without"
)  # a word that only names a class has
OUTCOME_ALONE = r"(?:ab)?normal|benign|malignant|positive|negative|healthy|diseased"
CALLED_OUTCOME = re.compile(OUTCOME_ALONE)
OUTCOME_IN_PATH = re.compile(rf"(?<![^\W\d_])(?:{OUTCOME_ALONE})(?![^\W\d_])")  # as a whole word


@dataclass
class _Below:
    """The folders below the folder of one label.

    Attributes:
        images: number of images by the folders that say something, the outermost first.
        patients: for each of these paths, the patients that the files of its images name.
        outcomes: number of images by the outcome (`positive`) that a folder below or the file name says.
    """

    images: Counter[tuple[str, ...]] = field(default_factory=Counter)
    patients: dict[tuple[str, ...], set[str]] = field(default_factory=lambda: defaultdict(set))
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, image: StoredImage, folders: tuple[str, ...], outcome: str) -> None:
        self.images[folders] += 1
        self.patients[folders].update(_named_patient(image))
        self.outcomes[outcome] += 1

    def by_folder(self) -> Mapping[str, tuple[int, set[str]]]:
        """Return the number of images, and the patients, by the first folder after those that all images share.

        The folder is `""` for images without one.
        """
        shared = len(list(takewhile(lambda level: len(set(level)) == 1, zip(*self.images, strict=False))))
        depth = min(shared, max(0, min(map(len, self.images)) - 1))
        found: dict[str, tuple[int, set[str]]] = defaultdict(lambda: (0, set()))
        for folders, count in self.images.items():
            name = folders[depth] if len(folders) > depth else ""
            found[name] = found[name][0] + count, found[name][1] | self.patients[folders]
        return found


@dataclass(frozen=True)
class FoldersBelow:
    """The folders below the folders of all labels.

    Attributes:
        labels: the labels.
        are_of_patients: whether all images name patients, with whom the folders agree.
    """

    labels: Collection[str]
    are_of_patients: bool
    _images: tuple[Counter[str], ...]
    _outcomes: tuple[Counter[str], ...]

    @classmethod
    def of(cls, records: Mapping[StoredImage, ImageRecord]) -> Self:
        below: dict[str, _Below] = defaultdict(_Below)
        says_nothing = cache(lambda folder: say_nothing([folder]))  # a million images have few folders
        for image, record in records.items():
            if record.label:
                *folders, file = PurePosixPath(image.file).parts
                inner = folders[folders.index(record.label) + 1 :] if record.label in folders else []
                told = tuple(folder for folder in inner if not says_nothing(folder))
                below[record.label].add(image, told, _outcome_in("/".join((*inner, file))))
        found = [one.by_folder() for one in below.values()]
        return cls(
            below.keys(),
            all(map(_named_patient, records)) and all(map(_agree_with_patients, found)),
            tuple(Counter({name: count for name, (count, _) in folders.items()}) for folders in found),
            tuple(one.outcomes for one in below.values()),
        )

    def shared(self) -> list[str]:
        """Return the folders that the folders of all labels share and that contain most of their images.

        Folders that are splits or say nothing are skipped. The result is empty if the folders look like patients or
        views, or agree with the patients that all images name, or if a label says an outcome and no folder does.
        """
        shared = _shared(self._images) if len(self._images) > 1 else {}
        numbers = sum(folder.isdigit() for folder in shared)
        if len(shared) < FEWEST_BELOW or look_like_people(shared.keys()) or numbers == len(shared) >= FEWEST_NUMBERS:
            return []
        if say_nothing(sorted(shared)) or self.are_of_patients or all(map(are_views, shared)):
            return []
        if any(map(_says_outcome, self.labels)) and not any(map(_says_outcome, shared)):
            return []
        return sorted(shared.values()) if self._hold_most(lambda name: name.casefold() in shared) else []

    def inner(self) -> list[str]:
        """Return the folders if each label has some that may be classes, as in `colon/{cancer,polyp}`.

        One label at least has two of them, or some are called like outcomes, as in two hospitals with a class each.

        The result is empty if a label says an outcome (`benign`, `no_tumor`), or if the folders look like patients,
        series or views.
        """
        names = [images.keys() - {""} for images in self._images]
        found = sorted(set().union(*names))
        several = any(len(some) >= FEWEST_BELOW for some in names)
        told = len(found) >= FEWEST_BELOW and any(CALLED_OUTCOME.fullmatch(name.casefold()) for name in found)
        if len(names) < 2 or not (several or told) or any(not 1 <= len(some) <= MOST_BELOW for some in names):
            return []
        if (
            any(map(_says_outcome, self.labels))
            or sum(map(_may_be_of_a_patient, found)) >= MOSTLY * len(found)
            or self.are_of_patients
        ):
            return []
        return found if self._hold_most(bool) else []

    def outcomes(self) -> list[str]:
        """Return the outcomes that folders below the labels, or file names, say, as in `wrist/P1/study1_positive`.

        The result is empty if they say one alone, or do not for most images of each label, or if a label says one.
        """
        found = sorted(set().union(*self._outcomes) - {""})
        told = all(one.total() - one[""] > MOSTLY * one.total() for one in self._outcomes)
        return found if len(found) > 1 and told and not any(map(_says_outcome, self.labels)) else []

    def _hold_most(self, is_meant: Callable[[str], bool]) -> bool:
        return all(
            sum(count for name, count in images.items() if is_meant(name)) > MOSTLY * images.total()
            for images in self._images
        )


def _shared(images: Collection[Counter[str]]) -> dict[str, str]:
    """Return the names that all have, in lower case → as the first folder is called."""
    names = [{name.casefold(): name for name in one if name} for one in images]
    return {name: shown for name, shown in names[0].items() if all(name in other for other in names)} if names else {}


def _named_patient(image: StoredImage) -> set[str]:
    return {image.patient} if image.patient and not image.stands_in else set()


def _agree_with_patients(folders: Mapping[str, tuple[int, set[str]]]) -> bool:
    """Return whether each folder holds one patient, or most patients have images in several folders."""
    people = Counter(patient for _, patients in folders.values() for patient in patients)
    return all(len(patients) < 2 for _, patients in folders.values()) or (
        sum(count > 1 for count in people.values()) > MOSTLY * len(people)
    )


def _says_outcome(label: str) -> bool:
    return any(map(OUTCOME.fullmatch, re.findall(r"[^\W\d_]+", label.casefold())))


def _outcome_in(path: str) -> str:
    """Return the outcome that a path says; empty if it says none or several."""
    found = set(OUTCOME_IN_PATH.findall(path.casefold()))
    return found.pop() if len(found) == 1 else ""


def _may_be_of_a_patient(folder: str) -> bool:
    return any(letter.isdigit() for letter in folder) or are_views(folder)
