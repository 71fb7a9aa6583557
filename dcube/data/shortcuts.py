"""Shortcuts: storage properties of the images, not medical findings, that predict the class.

If the images of one class are JPEG files from a journal and those of the other are PNG files from a hospital, a
classifier learns this difference, and no test split of the same images shows it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dcube.data.image_summary import ImageSummary
from dcube.data.layouts.raw_dataset import RawDataset

SIZES = 10  # bins with equal numbers of images
PERMUTATIONS = 50
LEAST_GAIN = 0.1  # in balanced accuracy, over the best permutation


def describe_shortcuts(labels: pd.Series, properties: Mapping[str, pd.Series]) -> list[str]:
    """Return one sentence about the properties that predict the class much better than by chance, or an empty list.

    Args:
        labels: label of each labelled image, with at least two classes.
        properties: name of the property → its value for each of these images.
    """
    rng, telling = np.random.default_rng(0), []
    classes = pd.factorize(labels)[0]
    for name, values in properties.items():
        codes = pd.factorize(values)[0]
        found = balanced_accuracy(classes, codes)
        by_chance = max(balanced_accuracy(rng.permutation(classes), codes) for _ in range(PERMUTATIONS))
        if found > by_chance + LEAST_GAIN:
            telling.append(f"{name} (balanced accuracy {found:.2f}, by chance at most {by_chance:.2f})")
    if not telling:
        return []
    return [
        f"what tells the classes apart by itself: {', '.join(telling)}. A model may learn how images were stored or "
        "acquired instead of what they show: store all alike, or find out how the classes were collected"
    ]


def shortcut_warnings(dataset: RawDataset, table: pd.DataFrame, summaries: Sequence[ImageSummary]) -> list[str]:
    """Warn if the storage of the usable images predicts their class. The sentence names no file.

    Args:
        table: result of `tabulate`, whose index refers to `summaries`.
    """
    labelled = table[(table["label"] != "") & (table["sha256"] != "")]
    if labelled["label"].nunique() < 2:
        return []
    return describe_shortcuts(labelled["label"], _storage_of(dataset, labelled.index, summaries))


def _storage_of(dataset: RawDataset, rows: pd.Index, summaries: Sequence[ImageSummary]) -> dict[str, pd.Series]:
    """Return the storage properties of the images: name → value for each of the rows."""
    images = [summaries[row] for row in rows]
    area = pd.Series([one.width * one.height for one in images], index=rows)
    formats = {"file format": pd.Series([dataset.formats[row] for row in rows], index=rows)} if dataset.formats else {}
    return {
        **formats,
        "colour mode or bit depth": pd.Series([one.mode for one in images], index=rows),
        "modality": pd.Series([one.modality for one in images], index=rows),
        "size in pixels": (area.rank(method="max", pct=True) * SIZES).apply(np.ceil),
    }


def balanced_accuracy(labels: np.ndarray, values: np.ndarray) -> float:
    """Return the balanced accuracy of predicting the class in which a value is most frequent among the other images.

    Args:
        labels, values: (n,) integers from 0 without gaps. If k classes are tied, a prediction counts as 1/k.
    """
    classes = labels.max() + 1
    counts = np.zeros((values.max() + 1, classes))
    np.add.at(counts, (values, labels), 1)
    sizes = counts.sum(axis=0)
    recalls = []
    for own in range(classes):
        without = np.eye(classes)[own]  # (classes,)
        frequencies = (counts - without) / np.maximum(sizes - without, 1)
        best = frequencies == frequencies.max(axis=1, keepdims=True)
        recalls.append(counts[:, own] @ (best[:, own] / best.sum(axis=1)) / sizes[own])
    return float(np.mean(recalls))
