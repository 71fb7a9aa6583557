"""`data.group_by`: groups of images by their paths, for data sets without patient ids."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import pandas as pd

from dcube.artifacts.schemas.dataset import Grouping
from dcube.config.guessed import is_guessed, rule_of
from dcube.config.path_pattern import SECONDS, PathPattern
from dcube.config.schema import Data
from dcube.data.grouping_errors import GroupingError
from dcube.data.layouts.raw_dataset import RawDataset

MOST_STRAYS = 0.1  # of the images may be in no group


def group_images(dataset: RawDataset, group_by: str) -> RawDataset:
    """Return the same data set with each image's group as its patient, which stays empty for an image without a group.

    Raises:
        GroupingError: if some patients are known, or if more than `MOST_STRAYS` of the paths belong to no group.
    """
    known = sum(bool(record.patient) for record in dataset.records)
    if known:
        raise GroupingError(
            f"data.group_by is for images without patients, and {known} of {len(dataset.records)} name theirs: "
            "set data.group_by to null"
        )
    groups = groups_of([record.file for record in dataset.records], group_by)
    if not fits_most(groups):
        raise GroupingError(
            f"data.group_by {group_by} finds no group for {groups.count('')} of {len(groups)} images: choose one that "
            f"fits {1 - MOST_STRAYS:.0%} of them; `dcube data check` names the others",
            rows=[row for row, group in enumerate(groups) if not group],
        )
    grouped = [replace(record, patient=group) for record, group in zip(dataset.records, groups, strict=True)]
    return replace(dataset, records=grouped)


def fits_most(groups: Sequence[str]) -> bool:
    """Return whether at most `MOST_STRAYS` of the images have no group."""
    return groups.count("") <= MOST_STRAYS * len(groups)


def grouping_of(table: pd.DataFrame, data: Data) -> Grouping:
    """Return what keeps the labelled images of a table (columns label and patient) in one split.

    Unlabelled images do not count, because they are never tested.
    """
    if data.group_by:
        return "guessed" if is_guessed(data.group_by) else "group_by"
    known = table["patient"] != ""
    return "patients" if known.any() and known[table["label"] != ""].all() else "none"


def count_without_patient(table: pd.DataFrame) -> int:
    """Return how many labelled images (columns label and patient) name no patient; 0 if none of them names one."""
    unknown = table.loc[table["label"] != "", "patient"] == ""
    return 0 if unknown.all() else int(unknown.sum())


def groups_of(files: Sequence[str], group_by: str) -> list[str]:
    """Return the group of each path; empty for a path without a group.

    Args:
        group_by: a value of the parameter `data.group_by`.

    Raises:
        GroupingError: if matching the pattern takes too long.
    """
    form, _, value = rule_of(group_by).partition(":")
    if form == "folder":
        return [_folder(file, int(value)) for file in files]
    if form == "run":
        return [_run(file, int(value)) for file in files]
    try:
        return PathPattern(value).matches(files)
    except TimeoutError:
        raise GroupingError(f"data.group_by {group_by} takes more than {SECONDS:g} s: simplify the pattern") from None


def _folder(file: str, level: int) -> str:
    """Return the name of the folder at this level (1 is the topmost): equal names in two classes are one group."""
    folders = PurePosixPath(file).parts[:-1]
    return folders[level - 1] if len(folders) >= level else ""


def _run(file: str, length: int) -> str:
    """Return the run of numbers that the file belongs to: 0 to 9, 10 to 19 and so on for a length of 10."""
    found = numbered(file)
    return f"{found[0]}{found[1] // length * length}" if found else ""


def numbered(file: str) -> tuple[str, int] | None:
    """Return the folder and name before the last number of a file name, and that number; None without a number."""
    path = PurePosixPath(file)
    found = re.match(r"(.*?)([0-9]{1,18})[^0-9]*$", path.stem)
    return (f"{path.parent}/{found[1]}", int(found[2])) if found else None
