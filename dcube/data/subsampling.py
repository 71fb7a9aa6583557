"""Subsampling of the training images, for curves over the amount of data or over class imbalance.

All validation and test images are kept, so that every point of a curve is measured on the same images.
"""

import numpy as np
import pandas as pd

from dcube.config.schema import Data
from dcube.data.splits import linked_groups
from dcube.engine.seeds import numpy_generator
from dcube.errors import DcubeError


def is_subsampled(data: Data) -> bool:
    return data.train_fraction < 1 or data.imbalance is not None


def subsample(table: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return the rows that are used, in the same order and with the same index.

    Args:
        table: the table of a `SplitPlan`.

    Raises:
        DcubeError: if a class would lose its last training image.
    """
    if data.train_fraction < 1:
        train = table[table["split"] == "train"]
        table = _without(table, train.index[~_in_fraction(train, data.train_fraction, data.seed)])
    if data.imbalance is not None:
        labelled = table[(table["split"] == "train") & (table["label"] != "")]
        table = _without(table, labelled.index[~_imbalanced(labelled["label"], data.imbalance, data.seed)])
    return table


def _without(table: pd.DataFrame, left_out: pd.Index) -> pd.DataFrame:
    return table[~table.index.isin(left_out)]


def _in_fraction(train: pd.DataFrame, fraction: float, seed: int) -> np.ndarray:
    """Return (n,) booleans: whether each training image is used.

    Whole groups are used, and of every class the fraction to within half a group. The random order of the groups is
    the same for every fraction, and the first groups are used, so the images of a smaller fraction are among those of
    a larger one. The first group of every class is always used. A group of several classes counts as its rarest class;
    groups without a label count as a separate class.
    """
    groups = linked_groups(train)
    order = numpy_generator(seed, "training images left out").permutation(groups.max() + 1)
    frequency = train["label"].map(train["label"].value_counts()).where(train["label"] != "", len(train) + 1)
    rows = pd.DataFrame({"label": train["label"].to_numpy(), "frequency": frequency.to_numpy(), "order": order[groups]})
    of_group = rows.sort_values(["order", "frequency", "label"]).groupby("order")
    group = pd.DataFrame({"label": of_group["label"].first(), "images": of_group.size()})
    images = group.groupby("label")["images"]
    middle = images.cumsum() - group["images"] / 2
    used = middle <= fraction * images.transform("sum")
    firsts = rows[rows["label"] != ""].groupby("label")["order"].min()
    return (used | used.index.isin(firsts))[rows["order"]].to_numpy()


def _imbalanced(labels: pd.Series, ratio: float, seed: int) -> np.ndarray:
    """Return (n,) booleans: whether each labelled training image is used.

    `ratio` times as many images of the most frequent class are used as of each other class.
    """
    available = labels.value_counts().sort_index()
    frequent, most = available.idxmax(), int(available.max())
    others = min(int(available.drop(frequent).min()), int(most // ratio))
    if others == 0:
        raise DcubeError(
            f"data.imbalance: {ratio:g} leaves no training image of the other classes, since {frequent!r} has only "
            f"{most}: choose at most {most}"
        )
    wanted = labels.map(lambda label: min(most, round(ratio * others)) if label == frequent else others)
    order = numpy_generator(seed, "images of an imbalance").permutation(len(labels))
    rank = pd.Series(order, index=labels.index).groupby(labels).rank(method="first")
    return (rank <= wanted).to_numpy()
