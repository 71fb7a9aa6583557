"""What tells the classes apart and is no finding: how the images are stored.

A classifier of images of which one class are JPEG files of a journal and the others a hospital's PNG learns the
difference between the two, and no test split of the same images shows it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dcube.data.image_summary import ImageSummary
from dcube.data.layouts.raw_dataset import RawDataset

SIZES = 10  # bins of equal numbers of images
PERMUTATIONS = 50
LEAST_GAIN = 0.1  # of balanced accuracy, over the best of the permutations


def describe_shortcuts(labels: pd.Series, properties: Mapping[str, pd.Series]) -> list[str]:
    """A sentence, if any, about the properties that each tell an image's class much more often than by chance.

    Args:
        labels: of the labelled images, of two classes at least.
        properties: name → a value of each of these images.
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
    """The same for the usable images of a table (`tabulate`), whose index counts the summaries. Names no file."""
    labelled = table[(table["label"] != "") & (table["sha256"] != "")]
    if labelled["label"].nunique() < 2:
        return []
    return describe_shortcuts(labelled["label"], _storage_of(dataset, labelled.index, summaries))


def _storage_of(dataset: RawDataset, rows: pd.Index, summaries: Sequence[ImageSummary]) -> dict[str, pd.Series]:
    """How each image is stored, by the name of the property."""
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
    """Of the class in which a value is most frequent, each image judged by all others; a tie counts its share.

    Args:
        labels, values: (n,) numbers from 0 without gaps.
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
