"""Substitutes for missing patient ids: groups of images by the folders, prefixes and numbers in their paths."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from dcube.data.checks.nearest_images import nearest_images
from dcube.data.grouping import MOST_STRAYS, fits_most, groups_of, numbered
from dcube.data.layouts.columns import PERSON
from dcube.data.restarting_numbers import PATIENT_WORDS, kept_apart
from dcube.data.splits import linked_groups

BY_IMAGE, BY_PATIENT = "image", "patient"
DEEPEST_FOLDER = 4
RUNS = (10, 50)
FEWEST_GROUPS = 3  # per class: one for each split
LARGEST_SHARE = 0.25  # of all images, in one group
MOST_PROPOSALS = 8
# A leak is reported if the accuracy falls below that of random groups by both of these amounts.
LEAK = 0.02  # of accuracy
SPREADS = 3  # standard deviations of the random groups; 1 of 173 sets without a leak is reported
END = r"\.\w+$"
SHARED_NAMES = f"pattern:([^/]+){END}"
PATIENT_WORD = re.compile(rf"((?:{PERSON}|sub|pat|fall)s?)[_ -]?[0-9]", re.IGNORECASE)
MOST_WORDS = 4


@dataclass(frozen=True)
class GroupCheck:
    """One way to group the images, and how well the nearest image predicts the class under it.

    Attributes:
        by: `image`, `patient`, or a value of `data.group_by`.
        groups: the number of groups.
        smallest, median, largest: images per group.
        accuracy, at_random, spread, own_group: as in `NearestImages`; None if there are no thumbnails.
        strays: the files that belong to no group, each of which is a group of its own.
        apart: where numbers begin again in each class, the value of `data.group_by` that keeps equal ones apart.
    """

    by: str
    groups: int
    smallest: int
    median: float
    largest: int
    accuracy: float | None = None
    at_random: float | None = None
    spread: float | None = None
    own_group: float | None = None
    strays: tuple[str, ...] = ()
    apart: str = ""

    @property
    def fall(self) -> float:
        """How far the accuracy is below that of random groups; 0 if this may be chance, and for single images."""
        if self.accuracy is None or self.at_random is None or self.spread is None or self.by == BY_IMAGE:
            return 0.0
        fall = self.at_random - self.accuracy
        return fall if fall >= max(LEAK, SPREADS * self.spread) else 0.0


def check_groups(
    table: pd.DataFrame, thumbnails: Sequence[bytes], groupings: Mapping[str, pd.Series]
) -> list[GroupCheck]:
    """Check single images and each of `groupings`; copies of an image are always in one group.

    Args:
        table: labelled images with the columns file, label, patient, split, sha256, picture.
        thumbnails: the thumbnail of each row, as bytes.
        groupings: name of the grouping → the group of each image; empty for an image on its own.

    Returns:
        The result for single images, followed by one result per grouping.
    """
    names = {BY_IMAGE: pd.Series("", index=table.index), **groupings}
    linked = [linked_groups(table.assign(patient=groups)) for groups in names.values()]
    found: Sequence[dict] = [{}] * len(linked)
    if len(table) > 1 and all(thumbnails):
        pixels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(table), -1)
        found = [asdict(one) for one in nearest_images(pixels, pd.factorize(table["label"])[0], linked)]
    files, labels = list(table["file"]), list(table["label"])
    strays = [() if by == BY_IMAGE else tuple(table["file"][groups == ""]) for by, groups in names.items()]
    return [
        GroupCheck(by, *_sizes(groups), **one, strays=alone, apart=kept_apart(files, labels, by))
        for by, groups, one, alone in zip(names, linked, found, strays, strict=True)
    ]


def propose_groups(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Propose values of `data.group_by`, each with the group of each image, which is empty for at most `MOST_STRAYS`.

    A value is left out if its groups are useless or equal to those of an earlier value.
    """
    files = list(table["file"])
    found: dict[bytes, tuple[str, pd.Series]] = {}
    for group_by in _candidates(files, list(table["label"]), has_split=bool(table["split"].ne("").any())):
        groups = pd.Series(groups_of(files, group_by), index=table.index)
        kept_together = groups.where(groups != "", table["file"])
        if fits_most(list(groups)) and _is_useful(kept_together, table["label"]):
            found.setdefault(pd.factorize(kept_together)[0].tobytes(), (group_by, groups))
    return dict(list(found.values())[:MOST_PROPOSALS])


def describe_leak(checks: Sequence[GroupCheck]) -> list[str]:
    """Return one sentence if the nearest image predicts the class clearly worse when groups stay together, else []."""
    worst = max(checks, key=lambda check: check.fall, default=None)
    if not worst or not worst.fall:
        return []
    return [
        f"a split by image leaks: where groups by {worst.by} stay together, the nearest image by pixels has the right "
        f"class for {worst.accuracy:.1%} of the images; where groups drawn at random do, for {worst.at_random:.1%}"
    ]


def describe_restart(checks: Sequence[GroupCheck]) -> list[str]:
    """Return one sentence if the numbers of a grouping begin again in each class, else []."""
    return [
        f"the numbers of {check.by} begin again in each class: equal ones may be different patients. If they are, set "
        f"data.group_by to {check.apart}"
        for check in checks
        if check.apart
    ][:1]


def describe_few_patients(files: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return a sentence per class whose paths name fewer patients than there are splits, if another's name enough.

    No sentence names a file or a patient.
    """
    label_of = pd.Series(labels)
    for group_by in (*_by_patient_words(files), *_by_folders()):
        groups = groups_of(files, group_by)
        of_class = pd.Series(groups)[label_of != ""].groupby(label_of).nunique()
        few = of_class[of_class < FEWEST_GROUPS]
        if fits_most(groups) and 0 < len(few) < len(of_class):
            return [_few_patients(str(name), int(count), group_by) for name, count in few.items()]
    return []


def _few_patients(name: str, count: int, group_by: str) -> str:
    known_by = "by the names of the files" if names_patients(group_by) else "if each folder is a patient"
    return (
        f"{known_by}, the class {name!r} has {count} patient{'' if count == 1 else 's'}, and a split by patient needs "
        f"{FEWEST_GROUPS}: the class cannot be judged by patient, and its metrics say nothing about other patients. "
        "Add images of more patients"
    )


def _candidates(files: Sequence[str], labels: Sequence[str], has_split: bool) -> Iterator[str]:
    """Yield values of `data.group_by`: patients by words for them, then the finest of each kind first.

    One patient may be in two folders. The patterns ignore the folder, too, if few names are in several folders, as
    names that are numbers in each class are, and they always ignore it if the data set has its own split.
    """
    yield from _by_patient_words(files)
    if not has_split and _names_are_shared(files, labels):
        yield SHARED_NAMES
    yield from _by_folders()
    names = {PurePosixPath(file).name for file in files}
    starts = [] if has_split else [("^(.+?)", "^((?:.*/)?")]
    if has_split or len(names) >= (1 - MOST_STRAYS) * len(files):
        starts.append(("([^/]+?)", "("))
    for start, start_of_number in starts:
        yield rf"pattern:{start}(?:_[0-9]+)?{END}"
        yield rf"pattern:{start}(?:[_-][0-9]+)?{END}"
        yield rf"pattern:{start}(?:[_-][0-9]+)*{END}"
        yield rf"pattern:{start_of_number}[^/0-9]*[0-9]+)[^/]*$"
    yield r"pattern:(?:^|/)([^/0-9 _.-]+)[ _.-][^/]*$"
    if _are_consecutive(files):
        yield from (f"run:{length}" for length in RUNS)


def _by_patient_words(files: Sequence[str]) -> Iterator[str]:
    if words := _patient_words(files):
        word = words[0] if len(words) == 1 else f"(?:{'|'.join(words)})"
        yield rf"{PATIENT_WORDS}{word}[_ -]?[0-9]+)"


def _by_folders() -> Iterator[str]:
    yield from (f"folder:{level}" for level in range(DEEPEST_FOLDER, 0, -1))


def names_patients(group_by: str) -> bool:
    """Return whether this proposal groups by a word for a patient and a number, or by names in several classes."""
    return group_by.startswith(PATIENT_WORDS) or group_by == SHARED_NAMES


def _names_are_shared(files: Sequence[str], labels: Sequence[str]) -> bool:
    """Return whether many names are in several classes, once in each, and are not numbers that begin again."""
    names = [PurePosixPath(file).stem for file in files]
    repeated = len(names) - len(set(names)) > MOST_STRAYS * len(names)
    return repeated and len(set(zip(names, labels, strict=True))) == len(names) and not _are_consecutive(files)


def _patient_words(files: Sequence[str]) -> list[str]:
    """Return the words for patients that stand before a number in a path, the most frequent first."""
    found = Counter(word.casefold() for file in files for word in PATIENT_WORD.findall(file))
    return [word for word, _ in found.most_common(MOST_WORDS)]


def _are_consecutive(files: Sequence[str]) -> bool:
    """Return whether most images have a number whose successor exists too."""
    found = {numbered(file) for file in files} - {None}
    followed = sum((one[0], one[1] + 1) in found for one in found if one)
    return 2 * followed > len(files)


def _is_useful(groups: pd.Series, labels: pd.Series) -> bool:
    if groups.nunique() == len(groups):
        return False
    enough = groups.groupby(labels).nunique().min() >= FEWEST_GROUPS
    return bool(enough and groups.value_counts().iloc[0] <= LARGEST_SHARE * len(groups))


def _sizes(groups: np.ndarray) -> tuple[int, int, float, int]:
    sizes = np.bincount(groups)
    return len(sizes), int(sizes.min()), float(np.median(sizes)), int(sizes.max())
