"""Numbers that begin again in each class: equal names in two classes may then be different patients."""

import re
from collections.abc import Sequence

import pandas as pd

from dcube.config.guessed import rule_of
from dcube.data.grouping import groups_of

PATIENT_WORDS = "pattern:(?i)("
FEWEST_PRESENT = 0.9  # of the numbers of a class, from its first to its last


def kept_apart(files: Sequence[str], labels: Sequence[str], group_by: str) -> str:
    """Return the value of `data.group_by` that tells equal names in different classes apart, if numbers begin again.

    It is empty if no group is in two classes, if a class's numbers do not begin with 0 or 1 or have gaps, or if the
    paths do not tell the classes apart.
    """
    apart = _with_folders(rule_of(group_by))
    if not apart:
        return ""
    table = pd.DataFrame({"label": labels, "group": groups_of(files, group_by), "apart": groups_of(files, apart)})
    table = table[table["group"] != ""]
    in_several = table.groupby("group")["label"].nunique().gt(1).any()
    tells_apart = table.groupby("apart")["label"].nunique().eq(1).all()
    counts = all(_counts_from_the_start(names) for _, names in table.groupby("label")["group"])
    return apart if in_several and tells_apart and counts else ""


def _with_folders(group_by: str) -> str:
    """Return the same rule with all folders before the name that it finds; empty for other rules."""
    if group_by.startswith(PATIENT_WORDS):
        return f"pattern:(?i)^(.*?{group_by.removeprefix(PATIENT_WORDS)}"
    form, _, level = group_by.partition(":")
    return rf"pattern:^((?:[^/]+/){{{level}}})" if form == "folder" else ""


def _counts_from_the_start(names: pd.Series) -> bool:
    found = {int(number[0]) for name in names if (number := re.search(r"[0-9]{1,18}$", name))}
    return bool(found) and min(found) <= 1 < len(found) and len(found) >= FEWEST_PRESENT * (max(found) - min(found) + 1)
