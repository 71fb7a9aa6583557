"""What may stand for patients where none are given: folders, prefixes and numbers in the paths of the images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from dcube.data.checks.nearest_images import nearest_images
from dcube.data.grouping import groups_of, numbered
from dcube.data.splits import linked_groups

BY_IMAGE, BY_PATIENT = "image", "patient"
DEEPEST_FOLDER = 4
RUNS = (10, 50)
FEWEST_GROUPS = 3  # of a class: one for each split
LARGEST_SHARE = 0.25  # of the images that one group may have
MOST_PROPOSALS = 6
LEAK = 0.02  # of accuracy, by which groups must fall below groups drawn at random,
SPREADS = 3  # and by how many standard deviations of these: of 173 sets without a leak one is said to have one
END = r"\.\w+$"


@dataclass(frozen=True)
class GroupCheck:
    """What would be kept together, and how well the nearest image predicts the class then.

    Attributes:
        by: image, patient, or a value of `data.group_by`.
        smallest, median, largest: images of a group.
        accuracy, at_random, spread, own_group: as in `NearestImages`; None where thumbnails were not made.
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

    @property
    def fall(self) -> float:
        """Of accuracy against groups drawn at random; 0 where it may be chance, and for images on their own."""
        if self.accuracy is None or self.at_random is None or self.spread is None or self.by == BY_IMAGE:
            return 0.0
        fall = self.at_random - self.accuracy
        return fall if fall >= max(LEAK, SPREADS * self.spread) else 0.0


def check_groups(
    table: pd.DataFrame, thumbnails: Sequence[bytes], groupings: Mapping[str, pd.Series]
) -> list[GroupCheck]:
    """One result for each image on its own, and one for each of `groupings`; copies stay together in all.

    Args:
        table: labelled images with the columns file, label, patient, split, sha256, picture.
        thumbnails: of each of its rows.
        groupings: what keeps images together → the group of each image.
    """
    names = {BY_IMAGE: pd.Series("", index=table.index), **groupings}
    linked = [linked_groups(table.assign(patient=groups)) for groups in names.values()]
    found: Sequence[dict] = [{}] * len(linked)
    if len(table) > 1 and all(thumbnails):
        pixels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(table), -1)
        found = [asdict(one) for one in nearest_images(pixels, pd.factorize(table["label"])[0], linked)]
    return [GroupCheck(by, *_sizes(groups), **one) for by, groups, one in zip(names, linked, found, strict=True)]


def propose_groups(table: pd.DataFrame) -> dict[str, pd.Series]:
    """`data.group_by` → the group of each image; values that give the same groups, or useless ones, are left out."""
    files = list(table["file"])
    found: dict[bytes, tuple[str, pd.Series]] = {}
    for group_by in _candidates(files, has_split=bool(table["split"].ne("").any())):
        groups = pd.Series(groups_of(files, group_by), index=table.index)
        numbers = pd.factorize(groups)[0]
        if _is_useful(groups, table["label"]):
            found.setdefault(numbers.tobytes(), (group_by, groups))
    return dict(list(found.values())[:MOST_PROPOSALS])


def describe_leak(checks: Sequence[GroupCheck]) -> list[str]:
    """One sentence if the nearest image predicts the class clearly worse where groups stay together."""
    worst = max(checks, key=lambda check: check.fall, default=None)
    if not worst or not worst.fall:
        return []
    return [
        f"a split by image leaks: where groups by {worst.by} stay together, the nearest image by pixels has the right "
        f"class for {worst.accuracy:.1%} of the images; where groups drawn at random do, for {worst.at_random:.1%}"
    ]


def _candidates(files: Sequence[str], has_split: bool) -> Iterator[str]:
    """From the finest to the coarsest of a kind. With a split of its own a patient may be below two folders."""
    for level in range(DEEPEST_FOLDER, 0, -1):
        yield f"folder:{level}"
    start = "([^/]+?)" if has_split else "^(.+?)"
    yield r"pattern:(?i)((?:patient|person|subject|sub|case|pat)[_ -]?[0-9]+)"
    yield rf"pattern:{start}(?:_[0-9]+)?{END}"
    yield rf"pattern:{start}(?:[_-][0-9]+)?{END}"
    yield rf"pattern:{start}(?:[_-][0-9]+)*{END}"
    yield r"pattern:([^/0-9]*[0-9]+)[^/]*$" if has_split else r"pattern:^((?:.*/)?[^/0-9]*[0-9]+)[^/]*$"
    if _are_consecutive(files):
        yield from (f"run:{length}" for length in RUNS)


def _are_consecutive(files: Sequence[str]) -> bool:
    """Whether most images have a number whose successor is there too."""
    found = {numbered(file) for file in files} - {None}
    followed = sum((one[0], one[1] + 1) in found for one in found if one)
    return 2 * followed > len(files)


def _is_useful(groups: pd.Series, labels: pd.Series) -> bool:
    if groups.eq("").any() or groups.nunique() == len(groups):
        return False
    enough = groups.groupby(labels).nunique().min() >= FEWEST_GROUPS
    return bool(enough and groups.value_counts().iloc[0] <= LARGEST_SHARE * len(groups))


def _sizes(groups: np.ndarray) -> tuple[int, int, float, int]:
    sizes = np.bincount(groups)
    return len(sizes), int(sizes.min()), float(np.median(sizes)), int(sizes.max())
