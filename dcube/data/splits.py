"""Who goes into training, validation and test.

The official split is kept where there is one. Else images are split stratified by class, and everything that
belongs together stays together: the images of one patient, images with the same pixels, and copies of one picture.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dcube.artifacts.schemas.dataset import DroppedDuplicate, NearDuplicates
from dcube.config.schema import Data
from dcube.data.naming import some
from dcube.data.prepared import SPLITS
from dcube.errors import DcubeError


@dataclass(frozen=True)
class SplitPlan:
    """The outcome.

    Attributes:
        table: the kept rows of the input in their order and with their index, `split` filled.
        origin: whether the set came with its split.
        dropped: copies that an official split had put into two places.
    """

    table: pd.DataFrame
    origin: Literal["official", "generated"]
    dropped: list[DroppedDuplicate]


def plan_splits(table: pd.DataFrame, data: Data) -> SplitPlan:
    """Assign every image to a split. Deterministic in the table and `data`.

    Args:
        table: columns file, label, patient, split (each empty where unknown), sha256 (of the pixels), picture (equal
            for near duplicates).

    Raises:
        DcubeError: naming the files, where no valid split exists.
    """
    _refuse_single_class(table)
    labelled = table["label"] != ""
    official = bool((table["split"][labelled] != "").any())
    dropped: list[DroppedDuplicate] = []
    if official:
        _refuse_incomplete_split(table[labelled])
        table = _place_unlabelled(table)
        table, dropped = _drop_copies(table)
        fractions = {"train": 1 - data.validation_fraction, "validation": data.validation_fraction}
        open_ = (table["split"] == "train") & ("validation" not in set(table["split"].unique()))
    else:
        _refuse_contradictions(table)
        held_out = {"validation": data.validation_fraction, "test": data.test_fraction}
        fractions = {"train": 1 - sum(held_out.values()), **held_out}
        open_ = pd.Series(True, index=table.index)
    table = table.copy()
    table.loc[open_, "split"] = _allot(table[open_], fractions, data.seed)
    verify_splits(table)
    return SplitPlan(table, "official" if official else "generated", dropped)


def verify_splits(table: pd.DataFrame) -> None:
    """Assert what every comparison rests on.

    Raises:
        DcubeError: naming the files, where a patient or the same pixels stand in two splits, one image has two labels,
            a class misses in a split, or there are fewer than two classes.
    """
    _refuse_single_class(table)
    for column, what in (("patient", "patient"), ("sha256", "image content")):
        known = table[table[column] != ""]
        for value in known.loc[_elsewhere(known, column), column].sort_values().head(1):
            rows = known[known[column] == value]
            where = " and ".join(split for split in SPLITS if split in set(rows["split"]))
            raise DcubeError(
                f"{what} {value!r} stands in {where}: {some(list(rows['file']), 6)}: put them into one split"
            )
    _refuse_contradictions(table)
    labelled = table[table["label"] != ""]
    for name, rows in labelled.groupby("label"):
        present = set(rows["split"].unique())
        missing = " and ".join(split for split in SPLITS if split not in present)
        if missing:
            raise DcubeError(
                f"class {name!r} has no image in {missing} (it has {len(rows)}: {some(list(rows['file']))}): "
                "add images (at least three patients, or three different images), or correct the label"
            )


def _elsewhere(table: pd.DataFrame, column: str) -> np.ndarray:
    """(n,) whether the last row with the same value stands in another split."""
    values, splits = pd.factorize(table[column])[0], pd.factorize(table["split"])[0]
    last = np.zeros(len(table), dtype=int)
    last[values] = splits
    return last[values] != splits


def duplicate_groups(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows that share their pixels, a frame a group."""
    repeated = table[table.duplicated("sha256", keep=False)]
    return [rows for _, rows in repeated.groupby("sha256", sort=False)]


def near_duplicate_groups(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows that show one picture in several files' bytes, a frame a group; not those of one known patient."""
    repeated = table[table.duplicated("picture", keep=False)]
    found = repeated.groupby("picture", sort=False)
    explained = (found["sha256"].nunique() == 1) | ((found["patient"].nunique() == 1) & (found["patient"].min() != ""))
    unexplained = repeated[repeated["picture"].isin(explained.index[~explained])]
    return [rows for _, rows in unexplained.groupby("picture", sort=False)]


def describe_near_duplicates(table: pd.DataFrame) -> NearDuplicates:
    """How many there are, and the files of the groups that stand in several splits, or have several labels."""
    groups = near_duplicate_groups(table)
    return NearDuplicates(
        images=sum(map(len, groups)),
        groups=len(groups),
        in_several_splits=[list(rows["file"]) for rows in groups if rows["split"].nunique() > 1],
        with_several_labels=[list(rows["file"]) for rows in groups if len(set(rows["label"]) - {""}) > 1],
    )


def _refuse_single_class(table: pd.DataFrame) -> None:
    classes = sorted(set(table["label"].unique()) - {""})
    if len(classes) < 2:
        raise DcubeError(f"at least two classes are needed, and this set has {classes or 'none'}: add images of others")


def _refuse_incomplete_split(labelled: pd.DataFrame) -> None:
    without = labelled[labelled["split"] == ""]
    if len(without):
        raise DcubeError(f"no split is given for {some(list(without['file']))}: give one for every image, or for none")
    for split in ("train", "test"):
        if split not in set(labelled["split"].unique()):
            raise DcubeError(f"the set comes with splits, and without {split!r}: add it, or give no split at all")


def _refuse_contradictions(table: pd.DataFrame) -> None:
    for rows in duplicate_groups(table):
        if len(set(rows["label"]) - {""}) > 1:
            labelled = [f"{file} ({label})" for file, label in zip(rows["file"], rows["label"], strict=True)]
            raise DcubeError(f"the same image has several labels: {some(labelled)}: correct or remove them")


def _place_unlabelled(table: pd.DataFrame) -> pd.DataFrame:
    """Unlabelled images without a split follow their patient, else they go to training."""
    placed = table[(table["split"] != "") & (table["patient"] != "")]
    home = placed.drop_duplicates("patient").set_index("patient")["split"]
    followed = table["patient"].map(home).fillna("train")
    return table.assign(split=table["split"].where(table["split"] != "", followed))


def _drop_copies(table: pd.DataFrame) -> tuple[pd.DataFrame, list[DroppedDuplicate]]:
    """Of copies in two splits the one nearer to training goes; of training copies with two labels, all go."""
    dropped: dict[Hashable, DroppedDuplicate] = {}
    for rows in duplicate_groups(table):
        last = max(rows["split"], key=SPLITS.index)
        keep = rows[rows["split"] == last]
        reason = f"copy of an image in {last}"
        if last == "train" and len(set(rows["label"]) - {""}) > 1:
            keep, reason = rows[:0], "the same image has several labels"
        for index, row in rows.drop(keep.index).iterrows():
            dropped[index] = DroppedDuplicate(
                file=row["file"], split=row["split"], reason=reason, kept=list(keep["file"])
            )
    return table.drop(index=list(dropped)), [dropped[index] for index in table.index if index in dropped]


def linked_groups(table: pd.DataFrame) -> np.ndarray:
    """(n,) group numbers: rows are in one group when a chain of equal patients, pixels or pictures joins them."""
    joining = [table["patient"].where(table["patient"] != "", table["file"]), table["sha256"], table["picture"]]
    rows, nodes = np.arange(len(table)), len(table)
    joined = []
    for column in joining:
        joined.append(nodes + pd.factorize(column)[0])
        nodes = joined[-1].max() + 1
    edges = (np.tile(rows, len(joined)), np.concatenate(joined))
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][: len(table)]


def _allot(table: pd.DataFrame, fractions: dict[str, float], seed: int) -> Sequence[str]:
    """Largest groups first (ties by lot), each to the split whose share of the group's classes is least filled.

    A class thus reaches every split as soon as it has as many groups, and no split gets more of a class than its
    share and one group. Groups without a label join the training images.
    """
    if table.empty:
        return []
    names = list(fractions)
    groups = linked_groups(table)
    classes = pd.factorize(table["label"].where(table["label"] != "", None))[0]
    known = classes >= 0
    shape = (groups.max() + 1, max(classes.max() + 1, 1))
    counts = coo_array((np.ones(known.sum()), (groups[known], classes[known])), shape=shape).tocsr()
    shares = np.outer(list(fractions.values()), counts.sum(axis=0)).tolist()
    filled = np.zeros((len(names), shape[1])).tolist()  # plain lists: a million groups in seconds
    starts, columns, numbers = (array.tolist() for array in (counts.indptr, counts.indices, counts.data))
    lot = np.random.default_rng(seed).permutation(shape[0])
    home = [0] * shape[0]
    for group in lot[np.argsort(-counts.sum(axis=1)[lot], kind="stable")].tolist():
        own = range(starts[group], starts[group + 1])
        fullness = [
            sum(has[columns[i]] / to[columns[i]] * numbers[i] for i in own)
            for has, to in zip(filled, shares, strict=True)
        ]
        home[group] = fullness.index(min(fullness))
        for i in own:
            filled[home[group]][columns[i]] += numbers[i]
    return [names[home[group]] for group in groups.tolist()]
