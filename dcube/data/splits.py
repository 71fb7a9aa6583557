"""Assignment of images to the training, validation and test splits.

An official split is kept, unless `data.folds` asks for cross-validation. Otherwise the split is stratified by class,
and images that belong together stay together: images of one patient or group (`data.group_by`), images with the same
pixels, and near duplicates.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dcube.artifacts.schemas.dataset import SPLITS, DroppedDuplicate, SplitOrigin
from dcube.config.schema import Data
from dcube.data.checks.leaks import (
    Owner,
    duplicate_groups,
    refuse_contradictory_labels,
    refuse_few_patients,
    refuse_unusable_classes,
    verify_splits,
)
from dcube.errors import DcubeError, abbreviated


@dataclass(frozen=True)
class SplitPlan:
    """The split of every image.

    Attributes:
        table: the kept rows of the input, in the same order and with the same index, with the column `split` filled.
        origin: whether the split is official (came with the data set) or generated.
        dropped: copies that an official split had in two splits, or that have several labels.
    """

    table: pd.DataFrame
    origin: SplitOrigin
    dropped: list[DroppedDuplicate]


def plan_splits(table: pd.DataFrame, data: Data) -> SplitPlan:
    """Assign every image to a split. The same table and `data` always give the same split.

    Args:
        table: columns file, label, patient, split (an empty string if unknown), sha256 (of the pixels), picture
            (equal for near duplicates).

    Raises:
        DcubeError: if no valid split exists; the message names the files.
    """
    owner: Owner = "group" if data.group_by else "patient"
    refuse_unusable_classes(table)
    refuse_few_patients(table, owner)
    if data.folds is None and (table["split"][table["label"] != ""] != "").any():
        plan = _official(table, data)
    else:
        refuse_contradictory_labels(table)
        held_out = {"validation": data.validation_fraction, "test": data.test_fraction}
        shares = {"train": 1 - sum(held_out.values()), **held_out}
        split = _assign(table, shares, data.seed) if data.folds is None else _of_fold(table, data.folds, data)
        plan = SplitPlan(table.assign(split=split), "generated", [])
    verify_splits(plan.table, owner)
    return plan


def count_by_class(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count labelled images by split and class, with the splits in the order of `SPLITS`."""
    labelled = table[table["label"] != ""]
    counts = {str(split): dict(Counter(sorted(rows["label"]))) for split, rows in labelled.groupby("split")}
    return {split: counts[split] for split in ("", *SPLITS) if split in counts}


def _official(table: pd.DataFrame, data: Data) -> SplitPlan:
    """Keep the data set's own split; if it has no validation split, take one from the training images."""
    labelled = table[table["label"] != ""]
    _refuse_incomplete_split(labelled)
    _refuse_other_classes(labelled)
    table, dropped = _drop_copies(_assign_unlabelled(table))
    if "validation" not in set(table["split"].unique()):
        table, train = table.copy(), table["split"] == "train"
        shares = {"train": 1 - data.validation_fraction, "validation": data.validation_fraction}
        table.loc[train, "split"] = _assign(table[train], shares, data.seed)
    return SplitPlan(table, "official", dropped)


def _of_fold(table: pd.DataFrame, folds: int, data: Data) -> np.ndarray:
    """Return (n,) splits for cross-validation.

    Fold number `data.fold` is the test split and the next fold is validation. All other groups, and groups without a
    label, are training.
    """
    groups, labelled = linked_groups(table), (table["label"] != "").to_numpy()
    for name, members in pd.Series(groups[labelled]).groupby(table["label"][labelled].to_numpy()):
        if (known := members.nunique()) < folds:
            raise DcubeError(
                f"class {name!r} has images of {known} patients or groups, fewer than data.folds ({folds}): use fewer "
                "folds (at least 3), or one split (data.folds: null)"
            )
    fold = np.array(_assign(table, {str(number): 1 / folds for number in range(folds)}, data.seed)).astype(int)
    ahead = np.where(np.isin(groups, groups[labelled]), (fold - data.fold) % folds, folds)
    return np.select([ahead == 0, ahead == 1], ["test", "validation"], "train")


def _refuse_incomplete_split(labelled: pd.DataFrame) -> None:
    without = labelled[labelled["split"] == ""]
    if len(without):
        raise DcubeError(
            f"no split is given for {abbreviated(list(without['file']))}: give one for every image, or for none"
        )
    for split in ("train", "test"):
        if split not in set(labelled["split"].unique()):
            raise DcubeError(f"the data set comes with splits, but without {split!r}: add it, or give no split at all")


def _refuse_other_classes(labelled: pd.DataFrame) -> None:
    """Refuse splits that each have a class which another one lacks: the class has another name there."""
    classes = {split: set(labelled["label"][labelled["split"] == split]) for split in SPLITS}
    classes = {split: names for split, names in classes.items() if names}
    if not any(one - other and other - one for one, other in combinations(classes.values(), 2)):
        return
    common = set.intersection(*classes.values())
    own = [f"{split} has {abbreviated(sorted(map(repr, names - common)))}" for split, names in classes.items()]
    raise DcubeError(
        f"the splits have classes of other names ({'; '.join(own)}): call each class the same in all splits"
    )


def _assign_unlabelled(table: pd.DataFrame) -> pd.DataFrame:
    """Assign unlabelled images without a split to the split of their patient, or else to training."""
    placed = table[(table["split"] != "") & (table["patient"] != "")]
    split_of_patient = placed.drop_duplicates("patient").set_index("patient")["split"]
    followed = table["patient"].map(split_of_patient).fillna("train")
    return table.assign(split=table["split"].where(table["split"] != "", followed))


def _drop_copies(table: pd.DataFrame) -> tuple[pd.DataFrame, list[DroppedDuplicate]]:
    """Drop copies in earlier splits than the last one (order of `SPLITS`), and training copies with several labels."""
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
    """Return (n,) group numbers: rows are in one group if a chain of equal patients, pixels or pictures joins them."""
    joining = [table["patient"].where(table["patient"] != "", table["file"]), table["sha256"], table["picture"]]
    rows, nodes = np.arange(len(table)), len(table)
    joined = []
    for column in joining:
        joined.append(nodes + pd.factorize(column)[0])
        nodes = joined[-1].max() + 1
    edges = (np.tile(rows, len(joined)), np.concatenate(joined))
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][: len(table)]


def _assign(table: pd.DataFrame, fractions: dict[str, float], seed: int) -> Sequence[str]:
    """Assign groups to splits, the largest first (ties in random order), and return the split of each row.

    Each group goes to the split that has the smallest part of its share of the group's classes so far. A class is
    therefore in every split if it has at least as many groups as there are splits, and no split gets more of a class
    than its share plus one group. Groups without a label go to the first split.
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
    filled = np.zeros((len(names), shape[1])).tolist()  # lists are faster here: a million groups in seconds
    starts, columns, numbers = (array.tolist() for array in (counts.indptr, counts.indices, counts.data))
    order = np.random.default_rng(seed).permutation(shape[0])
    assigned = [0] * shape[0]
    for group in order[np.argsort(-counts.sum(axis=1)[order], kind="stable")].tolist():
        own = range(starts[group], starts[group + 1])
        fullness = [
            sum(has[columns[i]] / to[columns[i]] * numbers[i] for i in own)
            for has, to in zip(filled, shares, strict=True)
        ]
        assigned[group] = fullness.index(min(fullness))
        for i in own:
            filled[assigned[group]][columns[i]] += numbers[i]
    return [names[assigned[group]] for group in groups.tolist()]
