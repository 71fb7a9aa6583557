"""`data.subgroups`: columns of `metadata.csv` that define subgroups for metrics, and checks whether they may be kept.

The kept columns leave the raw data. So a column may only name a few groups of patients and must identify nobody.
"""

import re

import pandas as pd

from dcube.artifacts.schemas.dataset import SUBGROUP, UNKNOWN
from dcube.data.grouping_errors import SubgroupError
from dcube.data.layouts.raw_dataset import RawDataset

MOST_VALUES = 12
LONGEST_VALUE = 40  # characters; a longer value is free text
DATE = re.compile(
    r"(?<!\d)(\d{1,4}[-./ ]\d{1,2}[-./ ]\d{1,4}|(19|20)\d\d[-./](0[1-9]|1[0-2])|(19|20)\d{6})(?!\d)"
    r"|\b(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?"
    r"|dec(ember)?)\b\.?[ -]*\d",
    re.IGNORECASE,
)


def refuse_unfit(dataset: RawDataset) -> None:
    """Raise `SubgroupError` if a column of subgroups has dates, free text, identifiers or too many values."""
    table = dataset.table()
    owners = table["patient"].where(table["patient"] != "", table["file"])
    for name in dataset.subgroups:
        if problem := _problem(table[SUBGROUP + name], owners):
            raise SubgroupError(f"data.subgroups: the column {name!r} {problem}")


def _problem(column: pd.Series, owners: pd.Series) -> str:
    """Return why the column may not be kept; empty if it may.

    Args:
        owners: the patient of each image, or its file if the patient is unknown.
    """
    known = column[column != UNKNOWN]
    values = set(known)
    if any(DATE.search(value) for value in values):
        return "holds dates: give bands instead, such as 40-59 for ages"
    if any(len(value) > LONGEST_VALUE for value in values):
        return f"holds free text (more than {LONGEST_VALUE} characters): give short names of groups"
    of_value = owners[known.index].groupby(known).nunique()
    if 2 * int((of_value == 1).sum()) > owners.nunique():
        return "has a value of its own for most patients, as identifiers have: give names of groups"
    if len(values) > MOST_VALUES:
        return f"has {len(values)} values, and at most {MOST_VALUES} are accepted: give fewer groups, such as bands"
    return ""
