"""Duplicates and leaks between splits, which make a test measure memory instead of generalisation."""

from typing import Literal

import numpy as np
import pandas as pd

from dcube.artifacts.schemas.dataset import ABSTAIN, SET_SEPARATOR, SPLITS, NearDuplicates
from dcube.errors import DcubeError, abbreviated

Owner = Literal["patient", "group"]  # images of one owner stay in one split

FEWEST_VALUES = 10  # fewer labels may be the classes of a small data set
MOST_NAMED = 3  # of the copies of one image
RESERVED = (ABSTAIN, "refused")  # predictions contain these words instead of a class
REMEDIES = {
    "patient": "add images (at least three patients, or three different images), or correct the label",
    "group": "choose a data.group_by that makes at least three groups of each class, or correct the label",
}


def verify_splits(table: pd.DataFrame, owner: Owner = "patient") -> None:
    """Check that no patient and no image is in two splits, and that every class is in every split.

    Args:
        owner: what the column `patient` contains, for error texts.

    Raises:
        DcubeError: if a patient or the same pixels are in two splits, one image has two labels, a class is missing in
            a split, a class has a reserved name, or there are fewer than two classes; the message names the files.
    """
    refuse_unusable_classes(table)
    for column, what in (("patient", owner), ("sha256", "image content")):
        known = table[table[column] != ""]
        for value in known.loc[_in_other_split(known, column), column].sort_values().head(1):
            rows = known[known[column] == value]
            where = " and ".join(split for split in SPLITS if split in set(rows["split"]))
            raise DcubeError(
                f"{what} {value!r} is in {where}: {abbreviated(list(rows['file']), 6)}: put them into one split"
            )
    refuse_contradictory_labels(table)
    labelled = table[table["label"] != ""]
    for name, rows in labelled.groupby("label"):
        present = set(rows["split"].unique())
        missing = " and ".join(split for split in SPLITS if split not in present)
        if missing:
            raise DcubeError(
                f"class {name!r} has no image in {missing} (it has {len(rows)}: {abbreviated(list(rows['file']))}): "
                f"{REMEDIES[owner]}"
            )


def _in_other_split(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return (n,) booleans: whether the last row with the same value is in another split."""
    values, splits = pd.factorize(table[column])[0], pd.factorize(table["split"])[0]
    last = np.zeros(len(table), dtype=int)
    last[values] = splits
    return last[values] != splits


def refuse_unusable_classes(table: pd.DataFrame) -> None:
    classes = sorted(set(table["label"].unique()) - {""})
    if taken := [name for name in classes if name.casefold() in RESERVED]:
        raise DcubeError(f"a class is called {taken[0]!r}, which stands for predictions without a decision: rename it")
    if divided := [name for name in classes if SET_SEPARATOR in name]:
        raise DcubeError(
            f"a class is called {divided[0]!r}, and {SET_SEPARATOR} separates those of a prediction set: rename it"
        )
    labelled = int((table["label"] != "").sum())
    if len(classes) >= FEWEST_VALUES and 2 * len(classes) > labelled:
        raise DcubeError(
            f"there are {len(classes)} labels for {labelled} images ({abbreviated(classes)}), as measurements and "
            "identifiers are: give each image one of a few classes"
        )
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise DcubeError(
            f"at least two classes are needed, and this data set has {found}: add images of other classes, or give the "
            "labels in a metadata.csv"
        )


def refuse_few_patients(table: pd.DataFrame, owner: Owner = "patient") -> None:
    """Raise `DcubeError` if all labelled images belong to fewer patients (or groups) than there are splits."""
    owners = sorted(set(table.loc[table["label"] != "", "patient"]))
    if "" in owners or len(owners) >= len(SPLITS):
        return
    named = f"{len(owners)} {owner}{'' if len(owners) == 1 else 's'} ({', '.join(map(repr, owners))})"
    mend = {
        "patient": "give each image its own patient, or none where patients are not known",
        "group": "choose a data.group_by that makes at least three",
    }
    raise DcubeError(f"all labelled images are of {named}, and each is in one split of {len(SPLITS)}: {mend[owner]}")


def describe_lone_owners(table: pd.DataFrame, owner: Owner) -> list[str]:
    """Return one sentence if all test images of a class belong to one patient (or group), else []."""
    test = table[(table["split"] == "test") & (table["label"] != "")]
    owners = test["patient"].where(test["patient"] != "", test["file"]).groupby(test["label"]).nunique()
    if not (lone := sorted(owners.index[owners < 2])):
        return []
    which = abbreviated([repr(name) for name in lone])
    return [f"test has images of one {owner} (or one image) only of {which}: intervals of its rates have no width"]


def refuse_contradictory_labels(table: pd.DataFrame) -> None:
    """Raise one `DcubeError` with the first images that have several labels and their number, if there are any."""
    found = [rows for rows in duplicate_groups(table) if len(set(rows["label"]) - {""}) > 1]
    if not found:
        return
    copies = [" = ".join((rows["file"] + " (" + rows["label"] + ")")[:MOST_NAMED]) for rows in found]
    which = "the same image has" if len(found) == 1 else f"each of {len(found)} images has"
    raise DcubeError(f"{which} several labels: {abbreviated(copies)}: correct or remove them")


def duplicate_groups(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows that have equal pixels, one table for each group."""
    repeated = table[table.duplicated("sha256", keep=False)]
    return [rows for _, rows in repeated.groupby("sha256", sort=False)]


def near_duplicate_groups(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows that show the same picture with different pixels, one table for each group.

    Groups whose images all belong to one known patient are left out.
    """
    repeated = table[table.duplicated("picture", keep=False)]
    found = repeated.groupby("picture", sort=False)
    explained = (found["sha256"].nunique() == 1) | ((found["patient"].nunique() == 1) & (found["patient"].min() != ""))
    unexplained = repeated[repeated["picture"].isin(explained.index[~explained])]
    return [rows for _, rows in unexplained.groupby("picture", sort=False)]


def describe_near_duplicates(table: pd.DataFrame) -> NearDuplicates:
    """Count the near duplicates, and list the files of groups that are in several splits or have several labels."""
    groups = near_duplicate_groups(table)
    return NearDuplicates(
        images=sum(map(len, groups)),
        groups=len(groups),
        in_several_splits=[list(rows["file"]) for rows in groups if rows["split"].nunique() > 1],
        with_several_labels=[list(rows["file"]) for rows in groups if len(set(rows["label"]) - {""}) > 1],
    )
